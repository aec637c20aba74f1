package result

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

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
	// Docker is the name of an image in the Docker daemon.
	Docker string
}

// ParseOutput reads "oci:DIR", "oci-archive:FILE", "registry:REFERENCE" or "docker:NAME",
// and refuses a directory that holds something else.
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
		parsed, err := base.ParseReference(ref, insecureRegistries)
		if _, byDigest := parsed.(name.Digest); err == nil && byDigest {
			err = errors.New("an image cannot be pushed to a digest that is not known before it is made; name a tag, or none")
		}
		if err != nil {
			return Output{}, fmt.Errorf("output %q: %w", s, err)
		}
		return Output{Reference: ref}, nil
	}
	if tag, ok := strings.CutPrefix(s, dockerPrefix); ok && tag != "" {
		named, err := dockerTag(tag)
		return Output{Docker: named}, err
	}
	return Output{}, fmt.Errorf("output %q: write oci:DIRECTORY, oci-archive:FILE, registry:REFERENCE or docker:NAME", s)
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
	// Root is a container of the base image, which is made one of the extended image.
	Root Root
}

// Delivery is an image on its way to its destinations, of which nobody can see
// anything yet. It ends in Deliver, or by Abort.
type Delivery struct {
	image    *Image
	to       Destinations
	files    []pending
	extended *pendingExtended
}

// Prepare verifies the image and does for each destination what nobody sees:
// copying, into the stage or beside what is there. When it fails, nothing is left.
func (i *Image) Prepare(ctx context.Context, stage *Stage, to Destinations) (_ *Delivery, err error) {
	if err := i.Verify(ctx); err != nil {
		return nil, err
	}
	d := &Delivery{image: i, to: to}
	defer func() {
		if err != nil {
			d.Abort()
		}
	}()
	for _, out := range to.Outputs {
		p, err := i.stage(ctx, out)
		if err != nil {
			return nil, err
		}
		if p != nil {
			d.files = append(d.files, p)
		}
	}
	if to.Extended != "" {
		if d.extended, err = i.stageExtended(ctx, stage, to.Extended); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Abort removes what was prepared and has not become visible.
func (d *Delivery) Abort() {
	for _, p := range d.files {
		p.abort()
	}
	d.files = nil
}

// Deliver brings images to their destinations: first what can fail for long, the pushes
// (to a Docker daemon too), and then the renames that make the results visible. When it
// fails before these, results of earlier runs are as they were, but for references and
// names that were pushed already; a rename that fails leaves those before it. Root
// directories come last, since nothing can be taken back there: when one cannot be
// changed, everything else has been delivered.
func Deliver(ctx context.Context, deliveries ...*Delivery) error {
	for _, d := range deliveries {
		if err := d.push(ctx); err != nil {
			abort(deliveries)
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		abort(deliveries)
		return fmt.Errorf("hand over extended image: %w", err)
	}
	for _, d := range deliveries {
		if err := d.commit(); err != nil {
			abort(deliveries)
			return err
		}
	}
	for _, d := range deliveries {
		if err := d.image.applyTo(ctx, d.to.Root); err != nil {
			return err
		}
	}
	return nil
}

func abort(deliveries []*Delivery) {
	for _, d := range deliveries {
		d.Abort()
	}
}

func (d *Delivery) push(ctx context.Context) error {
	for _, out := range d.to.Outputs {
		var err error
		switch {
		case out.Reference != "":
			err = d.image.push(ctx, out.Reference, d.to.Registry)
		case out.Docker != "":
			err = d.image.load(ctx, out.Docker)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *Delivery) commit() error {
	for len(d.files) > 0 {
		if err := d.files[0].commit(); err != nil {
			return err
		}
		d.files = d.files[1:]
	}
	if d.extended != nil {
		return d.extended.commit()
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
