package result

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/graft-cnb/graft/dockerfile/base"
)

const (
	layoutPrefix   = base.LayoutPrefix
	archivePrefix  = base.OCIArchivePrefix
	registryPrefix = "registry:"
)

// Output is one destination of a whole image; one of its fields is set.
type Output struct {
	// Layout is the absolute path of an OCI image layout.
	Layout string
	// Archive is the absolute path of a tar file that holds an OCI image layout.
	Archive string
	// Reference is a reference in a registry.
	Reference string
}

// ParseOutput reads "oci:DIR", "oci-archive:FILE" or "registry:REFERENCE", and
// refuses a directory that holds something else.
func ParseOutput(s string, insecureRegistries []string) (Output, error) {
	if dir, ok := strings.CutPrefix(s, layoutPrefix); ok && dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return Output{}, fmt.Errorf("output %q: %w", s, err)
		}
		return Output{Layout: abs}, checkLayoutTarget(abs)
	}
	if file, ok := strings.CutPrefix(s, archivePrefix); ok && file != "" {
		abs, err := filepath.Abs(file)
		if err != nil {
			return Output{}, fmt.Errorf("output %q: %w", s, err)
		}
		return Output{Archive: abs}, checkArchiveTarget(abs)
	}
	if ref, ok := strings.CutPrefix(s, registryPrefix); ok && ref != "" {
		if _, err := base.ParseReference(ref, insecureRegistries); err != nil {
			return Output{}, fmt.Errorf("output %q: %w", s, err)
		}
		return Output{Reference: ref}, nil
	}
	return Output{}, fmt.Errorf("output %q: write oci:DIRECTORY, oci-archive:FILE or registry:REFERENCE", s)
}

// Destinations say where an image goes.
type Destinations struct {
	// Extended is the directory <extended>/<kind>. Empty: not wanted. The stage
	// must be on its file system.
	Extended string
	// Outputs get the whole image.
	Outputs []Output
	// Registry says how to reach registries.
	Registry base.Options
}

// Deliver verifies the image and brings it to every destination: first what can
// fail for long, pushing and copying, and then, with everything prepared, the
// renames that make the results visible. When it fails, results of earlier runs
// are as they were, but for references that were pushed already.
func (i *Image) Deliver(ctx context.Context, stage *Stage, to Destinations) error {
	if err := i.Verify(ctx); err != nil {
		return err
	}
	var files []pending
	delivered := false
	defer func() {
		if !delivered {
			for _, p := range files {
				p.abort()
			}
		}
	}()
	for _, out := range to.Outputs {
		p, err := i.stage(ctx, out)
		if err != nil {
			return err
		}
		if p != nil {
			files = append(files, p)
		}
	}
	var extended *pendingExtended
	if to.Extended != "" {
		var err error
		if extended, err = i.stageExtended(ctx, stage, to.Extended); err != nil {
			return err
		}
	}
	for _, out := range to.Outputs {
		if out.Reference == "" {
			continue
		}
		if err := i.push(ctx, out.Reference, to.Registry); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("hand over extended image: %w", err)
	}
	delivered = true
	for _, p := range files {
		if err := p.commit(); err != nil {
			return err
		}
	}
	if extended != nil {
		return extended.commit()
	}
	return nil
}

// pending is a result of which everything is there but its name.
type pending interface {
	// commit makes it visible.
	commit() error
	// abort removes it.
	abort()
}

var (
	_ pending = (*pendingLayout)(nil)
	_ pending = (*pendingArchive)(nil)
)

// stage prepares an output that is a file or a directory; others are nil.
func (i *Image) stage(ctx context.Context, out Output) (pending, error) {
	switch {
	case out.Layout != "":
		p, err := i.stageLayout(ctx, out.Layout)
		if err != nil {
			return nil, err
		}
		return p, nil
	case out.Archive != "":
		p, err := i.stageArchive(ctx, out.Archive)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
	return nil, nil
}

// push sends the image to a registry. Layers that the registry has, in this
// repository or in the one that the base came from, are not sent.
func (i *Image) push(ctx context.Context, reference string, opts base.Options) error {
	ref, err := base.ParseReference(reference, opts.InsecureRegistries)
	if err != nil {
		return fmt.Errorf("push to %q: %w", reference, err)
	}
	err = remote.Write(ref, i, base.RemoteOptions(ctx, ref, opts)...)
	if err == nil {
		return nil
	}
	hint := ""
	var te *transport.Error
	if errors.As(err, &te) && (te.StatusCode == http.StatusUnauthorized || te.StatusCode == http.StatusForbidden) {
		hint = fmt.Sprintf(" (log in with the right to push: docker login %s, or set CNB_REGISTRY_AUTH)", ref.Context().RegistryStr())
	}
	return fmt.Errorf("push to %s%s: %w", ref.Name(), hint, err)
}
