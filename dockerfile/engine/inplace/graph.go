//go:build linux

package inplace

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	srctypes "github.com/moby/buildkit/source/types"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
)

// errNotLinear is what a graph is refused with that needs more than one root
// filesystem.
var errNotLinear = errors.New("in place there is one root filesystem, and steps can only follow each other on it: no stages that part or meet, no merges")

// gate is a gRPC interceptor that looks at every graph before BuildKit does: what
// cannot be done in place is refused before anything runs.
func gate(base baseImage, root string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		var defs []*pb.Definition
		switch req := req.(type) {
		case *gwpb.SolveRequest:
			defs = append(defs, req.Definition)
		case *controlapi.SolveRequest:
			defs = append(defs, req.Definition)
		}
		for _, def := range defs {
			if def == nil {
				continue
			}
			volumes, err := findVolumes(root)
			if err != nil {
				return nil, err
			}
			if err := checkGraph(def, base, volumes); err != nil {
				return nil, err
			}
		}
		resp, err := handler(ctx, req)
		if pong, ok := resp.(*gwpb.PongResponse); ok {
			pong.LLBCaps = withoutMerge(pong.LLBCaps)
		}
		return resp, err
	}
}

// withoutMerge takes the capability to merge states away from what is offered:
// COPY --link is then an ordinary COPY.
func withoutMerge[T interface{ GetID() string }](caps []T) []T {
	var kept []T
	for _, c := range caps {
		if id := c.GetID(); id != string(pb.CapMergeOp) && id != string(pb.CapDiffOp) {
			kept = append(kept, c)
		}
	}
	return kept
}

// graph is a build graph that is being checked.
type graph struct {
	def     *pb.Definition
	base    baseImage
	volumes *volumes
	// states are the outputs that are states of the root filesystem.
	states map[output]bool
	// next are the steps that continue from a state.
	next map[output]digest.Digest
}

// output is one output of a step.
type output struct {
	digest digest.Digest
	index  int64
}

// checkGraph refuses what cannot be done in place. The error leads to the line of the
// step that it is about.
func checkGraph(def *pb.Definition, base baseImage, volumes *volumes) error {
	g := &graph{def: def, base: base, volumes: volumes, states: map[output]bool{}, next: map[output]digest.Digest{}}
	for _, data := range def.Def { // each comes after those that it depends on
		var op pb.Op
		if err := op.UnmarshalVT(data); err != nil {
			return fmt.Errorf("read the build graph: %w", err)
		}
		dgst := digest.FromBytes(data)
		if err := g.check(dgst, &op); err != nil {
			return g.locate(dgst, err)
		}
	}
	return nil
}

func (g *graph) check(dgst digest.Digest, op *pb.Op) error {
	inputs := make([]output, len(op.Inputs))
	for n, in := range op.Inputs {
		inputs[n] = output{digest.Digest(in.Digest), in.Index}
	}
	switch kind := op.Op.(type) {
	case nil: // the result
		return nil
	case *pb.Op_Source:
		return g.source(dgst, kind.Source)
	case *pb.Op_Exec:
		return g.exec(dgst, kind.Exec, inputs)
	case *pb.Op_File:
		return g.file(dgst, kind.File, inputs)
	}
	return errNotLinear
}

func (g *graph) source(dgst digest.Digest, op *pb.SourceOp) error {
	scheme, ref, _ := strings.Cut(op.Identifier, "://")
	if scheme != srctypes.DockerImageScheme && scheme != srctypes.OCIScheme {
		return nil
	}
	g.states[output{dgst, 0}] = true
	return g.base.is(ref)
}

// exec looks at a RUN.
func (g *graph) exec(dgst digest.Digest, op *pb.ExecOp, inputs []output) error {
	if op.Network == pb.NetMode_NONE {
		return errors.New("RUN --network=none cannot be done in place: nothing keeps a command from the container's network; leave the flag out, or use an engine that isolates")
	}
	for _, m := range op.Mounts {
		var err error
		switch {
		case m.Dest == pb.RootMount:
			err = g.rootOf(dgst, m, inputs)
		case m.MountType == pb.MountType_SSH:
			err = errors.New("RUN --mount=type=ssh cannot be done in place: the agent's socket would be open to every process in the container; use an engine that isolates, or a secret")
		case m.MountType == pb.MountType_BIND && m.Readonly && !isHeredoc(m):
			err = fmt.Errorf("RUN --mount=type=bind,target=%s is read-only, and in place nothing can keep a command from writing there: add rw to the mount (what is written is thrown away), or use COPY", m.Dest)
		case m.Input >= 0 && int(m.Input) < len(inputs) && g.states[inputs[m.Input]]:
			err = errNotLinear
		}
		if err == nil && m.Dest != pb.RootMount {
			err = g.volumes.refuseAt(m.Dest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// heredocs is where the scripts of a RUN are that are written in its Dockerfile and name
// their interpreter.
const heredocs = "/dev/pipes"

// isHeredoc tells whether a mount holds such scripts. The Dockerfile does not ask for
// that mount: nobody writes there.
func isHeredoc(m *pb.Mount) bool { return path.Clean(m.Dest) == heredocs }

// rootOf follows a RUN's root filesystem.
func (g *graph) rootOf(dgst digest.Digest, m *pb.Mount, inputs []output) error {
	if m.Input < 0 || int(m.Input) >= len(inputs) || !g.states[inputs[m.Input]] {
		return errors.New("a RUN on anything but the base image cannot be done in place")
	}
	if m.Readonly {
		return errors.New("a RUN with a read-only root filesystem cannot be done in place")
	}
	return g.follow(inputs[m.Input], output{dgst, m.Output})
}

// file looks at a COPY, ADD or WORKDIR.
func (g *graph) file(dgst digest.Digest, op *pb.FileOp, inputs []output) error {
	// An action's input is one of the step's, or what an action before it made.
	states := make([]bool, len(inputs), len(inputs)+len(op.Actions))
	from := make([]output, len(inputs), len(inputs)+len(op.Actions))
	for n, in := range inputs {
		states[n], from[n] = g.states[in], in
	}
	at := func(n int64) bool { return n >= 0 && int(n) < len(states) && states[n] }
	for _, a := range op.Actions {
		if at(a.SecondaryInput) {
			return errNotLinear
		}
		if to := destination(a); to != "" {
			if err := g.volumes.refuseFile(to); err != nil {
				return err
			}
		}
		state, origin := at(a.Input), output{}
		if state {
			origin = from[a.Input]
		}
		states, from = append(states, state), append(from, origin)
		if !state || a.Output < 0 {
			continue
		}
		if err := g.follow(origin, output{dgst, a.Output}); err != nil {
			return err
		}
	}
	return nil
}

// destination is where an action makes a file, if it names one.
func destination(a *pb.FileAction) string {
	switch kind := a.Action.(type) {
	case *pb.FileAction_Copy:
		return kind.Copy.Dest
	case *pb.FileAction_Mkfile:
		return kind.Mkfile.Path
	}
	return ""
}

// follow notes that a step makes one state of another. Only one step can.
func (g *graph) follow(from, to output) error {
	if by, ok := g.next[from]; ok && by != to.digest {
		return errNotLinear
	}
	g.next[from] = to.digest
	if to.index >= 0 {
		g.states[to] = true
	}
	return nil
}

// locate adds the lines that a step comes from.
func (g *graph) locate(dgst digest.Digest, err error) error {
	if g.def.Source == nil {
		return err
	}
	locations := g.def.Source.Locations[dgst.String()]
	if locations == nil {
		return err
	}
	for _, l := range locations.Locations {
		if n := int(l.SourceIndex); n >= 0 && n < len(g.def.Source.Infos) {
			err = errdefs.WithSource(err, &errdefs.Source{Info: g.def.Source.Infos[n], Ranges: l.Ranges})
		}
	}
	return err
}
