package chain

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/graft-cnb/graft/dockerfile/result"
)

// fastForwarder is an engine that works in the root filesystem that the extended image
// is wanted on. It knows better than anybody which of the layers are there already.
type fastForwarder interface {
	// FastForward brings the root filesystem to the state that the base has with just
	// these layers added, named by their diffIDs.
	FastForward(ctx context.Context, added []digest.Digest) error
}

// fastForward has an engine that can do it bring what was added to the root directory.
func (r *run) fastForward(ctx context.Context, engine Engine) error {
	f, ok := engine.(fastForwarder)
	if !ok || r.app.Root == "" {
		return nil
	}
	var ids []digest.Digest
	for _, l := range r.added {
		ids = append(ids, digest.Digest(l.DiffID.String()))
	}
	if err := f.FastForward(ctx, ids); err != nil {
		return fmt.Errorf("bring the %s image to %s: %w", r.app.Kind, r.app.Root, err)
	}
	r.onRoot = true
	return nil
}

// keepTimes has the files of added layers keep their times where an engine brings the
// layers to the root directory by itself: it knows only those that it made.
func (r *run) keepTimes(engine Engine) {
	r.keepsTimes = false
	if _, ok := engine.(fastForwarder); ok && r.app.Root != "" && r.RewriteTimestamps {
		r.keepsTimes = true
		r.log(r.Warn, "The files of added layers keep their times: %s, where they are made, is the result", r.app.Root)
	}
}

// root is the root directory that the added layers are still to be applied to.
func (r *run) root() result.Root {
	if r.onRoot {
		return result.Root{}
	}
	return result.Root{
		Dir: r.app.Root, Skip: r.app.RootSkip,
		Warn: func(format string, args ...any) { r.log(r.Warn, format, args...) },
	}
}
