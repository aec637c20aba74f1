package chain

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/graft-cnb/graft/dockerfile"
)

// printLLB writes the graph as `buildctl build` reads it, or line by line, as
// `buildctl debug dump-llb` shows it.
func (r *run) printLLB(ctx context.Context, w io.Writer, form dockerfile.Form) error {
	for _, c := range r.plan.converted {
		for _, name := range slices.Sorted(maps.Keys(c.unknown)) {
			return c.step.problem(c.step.fromLine, fmt.Sprintf(
				"%s is %s, which only an engine can look up, and the graph depends on it; end the Dockerfile before with USER and numbers, or print another form",
				name, c.unknown[name]), nil)
		}
	}
	def, err := r.plan.state.Marshal(ctx, llb.Platform(r.base.Platform()))
	if err != nil {
		return fmt.Errorf("write the build graph: %w", err)
	}
	if err := r.mountCA(def); err != nil {
		return err
	}
	r.rename(def)
	if hint := r.buildctlInputs(); len(hint) > 0 {
		r.log(r.Info, "buildctl build needs, beside the graph: %s", strings.Join(hint, " "))
	}
	if form == dockerfile.FormLLB {
		return llb.WriteTo(def, w)
	}
	encoder := json.NewEncoder(w)
	for _, data := range def.Def {
		var op pb.Op
		if err := op.Unmarshal(data); err != nil {
			return fmt.Errorf("read the build graph: %w", err)
		}
		dgst := digest.FromBytes(data)
		if err := encoder.Encode(struct {
			Op         *pb.Op
			Digest     digest.Digest
			OpMetadata *pb.OpMetadata
		}{&op, dgst, def.Metadata[dgst].ToPB()}); err != nil {
			return err
		}
	}
	return nil
}

// buildctlInputs are the flags of buildctl that give it what the graph takes from the
// client.
func (r *run) buildctlInputs() []string {
	var flags []string
	for _, name := range slices.Sorted(maps.Keys(r.plan.contexts)) {
		flags = append(flags, "--local", shellWord(name+"="+r.plan.contexts[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(r.plan.stores)) {
		flags = append(flags, "--oci-layout", shellWord(name+"="+layoutOf(r.plan.stores[name])))
	}
	flags = append(append(flags, r.secretFlags()...), r.sshFlags()...)
	if len(r.RunCA) > 0 && r.plan.runStep != nil {
		flags = append(flags, "--secret", "id="+caSecret+",src=FILE")
	}
	return flags
}
