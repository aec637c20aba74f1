package result

import (
	"context"
	"fmt"

	"github.com/graft-cnb/graft/dockerfile/rootfs"
)

// Root is the root directory of a container of the base image, in use. The zero value
// stands for none.
type Root struct {
	// Dir is the directory, "/" for the one that this program runs in.
	Dir string
	// Skip are absolute paths, seen from Dir, that are left as they are, with everything
	// below them.
	Skip []string
	// Warn gets what the root filesystem cannot hold. Nil: dropped.
	Warn func(format string, args ...any)
}

// applyTo applies the added layers to a root directory.
func (i *Image) applyTo(ctx context.Context, root Root) error {
	if root.Dir == "" {
		return nil
	}
	for n := range i.added {
		if err := i.added[n].applyTo(ctx, root); err != nil {
			return fmt.Errorf("bring added layer %d of %d to %s: %w", n+1, len(i.added), root.Dir, err)
		}
	}
	return nil
}

func (l *Layer) applyTo(ctx context.Context, root Root) error {
	r, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	return rootfs.Apply(ctx, root.Dir, r, rootfs.ApplyOptions{Skip: root.Skip, Warn: root.Warn})
}
