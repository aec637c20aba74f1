//go:build linux

package inplace

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile/rootfs"
)

// layer is what one operation changed.
type layer struct {
	// diffID is the digest of the layer's tar file.
	diffID digest.Digest
	// blob is the layer as it is stored, perhaps compressed.
	blob ocispecs.Descriptor
}

// diffIDs are those of some layers.
func diffIDs(path []layer) []digest.Digest {
	ids := make([]digest.Digest, len(path))
	for n, l := range path {
		ids[n] = l.diffID
	}
	return ids
}

// layerReader opens the tar file of a layer.
type layerReader func(context.Context, layer) (io.ReadCloser, error)

// root is the root filesystem, which is in one state at a time: the base and some
// layers on it. It only goes forward. It may be used from several goroutines.
type root struct {
	dir  string
	skip []string
	// mounts begin the paths, seen from the root, that links lead to which stand for mounts.
	mounts []string
	open   layerReader
	warn   func(format string, args ...any)

	mu     sync.Mutex
	record record
	// index is what is in it in the recorded state; nil before anybody needed to know.
	index *rootfs.Index
	// change is the operation that is changing it, if any.
	change *change
}

// change is an operation in progress. One that failed stays: what it did to the root
// cannot be undone.
type change struct {
	key string
	// hidden are paths at which a mount of the operation stood in the way of something.
	hidden []string
}

// errDirty is what keeps everything from a root that is in no known state.
var errDirty = errors.New("a step that failed has left the root filesystem half changed; run in a new container")

// show brings the root to a state, for reading. The state that an operation in
// progress began with counts as there.
func (r *root) show(ctx context.Context, path []layer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.change != nil && slices.Equal(r.record.Applied, diffIDs(path)) {
		return nil
	}
	return r.reach(ctx, path)
}

// begin brings the root to a state and says that an operation is about to change it.
// It may be called again for the same operation, which key tells from others.
func (r *root) begin(ctx context.Context, key string, path []layer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.change != nil && r.change.key == key {
		return nil
	}
	if err := r.reach(ctx, path); err != nil {
		return err
	}
	if r.index == nil {
		index, err := r.walk(ctx)
		if err != nil {
			return err
		}
		r.index = index
	}
	if err := r.save(record{Base: r.record.Base, Applied: r.record.Applied, Unfinished: true}); err != nil {
		return err
	}
	r.change = &change{key: key}
	return nil
}

// hide says of some paths that what was there before the operation in progress is there
// again, whatever its times tell.
func (r *root) hide(paths []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.change != nil {
		r.change.hidden = append(r.change.hidden, paths...)
	}
}

// end writes what an operation has changed, and calls commit, which gives the layer
// its name; the root is then in the state with that layer. For an operation that never
// began the layer is empty.
func (r *root) end(ctx context.Context, key string, w io.Writer, commit func() (digest.Digest, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.change == nil || r.change.key != key {
		if err := tar.NewWriter(w).Close(); err != nil {
			return err
		}
		_, err := commit()
		return err
	}
	now, err := r.walk(ctx, r.change.hidden...)
	if err != nil {
		return err
	}
	if _, err := rootfs.WriteLayer(ctx, w, r.dir, r.index, now, rootfs.LayerOptions{Link: r.checkLink}); err != nil {
		return err
	}
	id, err := commit()
	if err != nil {
		return err
	}
	r.index = now
	if len(r.change.hidden) > 0 {
		r.index = nil // of these paths it knows nothing
	}
	if err := r.save(record{Base: r.record.Base, Applied: append(slices.Clone(r.record.Applied), id)}); err != nil {
		return err
	}
	r.change = nil
	return nil
}

// checkLink refuses a link that a command has copied from the target of a mount: it leads
// to what no image holds.
func (r *root) checkLink(name, target string) error {
	for _, prefix := range r.mounts {
		if strings.HasPrefix(target, prefix) {
			return fmt.Errorf("%s is a copy of a mount of the RUN, which in place is a link: copy what is in it (cp -r MOUNT/. %s, or cat for a secret)", name, name)
		}
	}
	return nil
}

// forward brings the root to a state, for good.
func (r *root) forward(ctx context.Context, path []layer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reach(ctx, path)
}

// reach applies the layers that are missing. The caller holds the lock.
func (r *root) reach(ctx context.Context, path []layer) error {
	if r.change != nil {
		return errDirty
	}
	want, have := diffIDs(path), r.record.Applied
	if len(want) < len(have) || !slices.Equal(want[:len(have)], have) {
		return fmt.Errorf("the root filesystem has %d layers applied that are not all part of what is asked for, and cannot go back: run in a new container", len(have))
	}
	for _, l := range path[len(have):] {
		if err := r.apply(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (r *root) apply(ctx context.Context, l layer) error {
	in, err := r.open(ctx, l)
	if err != nil {
		return err
	}
	defer in.Close()
	r.index = nil
	if err := r.save(record{Base: r.record.Base, Applied: r.record.Applied, Unfinished: true}); err != nil {
		return err
	}
	if err := rootfs.Apply(ctx, r.dir, in, rootfs.ApplyOptions{Skip: r.leftAlone(), Warn: r.warn}); err != nil {
		r.change = &change{}
		return fmt.Errorf("cached layer %s: %w", l.diffID, err)
	}
	return r.save(record{Base: r.record.Base, Applied: append(slices.Clone(r.record.Applied), l.diffID)})
}

func (r *root) walk(ctx context.Context, hidden ...string) (*rootfs.Index, error) {
	return rootfs.Walk(ctx, r.dir, rootfs.Options{Skip: append(r.leftAlone(), hidden...)})
}

// leftAlone are the paths that are in no layer.
func (r *root) leftAlone() []string {
	return append(slices.Clone(r.skip), "/"+recordName, "/"+asideName, "/proc", "/sys", "/dev")
}
