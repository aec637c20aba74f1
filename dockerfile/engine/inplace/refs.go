//go:build linux

package inplace

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/snapshot"
	"github.com/moby/buildkit/util/progress"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// BuildKit mounts what it reads, read-only. What the worker gives to its operations is
// wrapped, so that they are given directories that nobody has to mount: BuildKit takes
// one that is not read-only as it is.

// manager is a cache manager whose references are wrapped.
type manager struct {
	cache.Manager
	states *snapshotter
}

var _ cache.Manager = (*manager)(nil)

func (m *manager) GetByBlob(ctx context.Context, desc ocispecs.Descriptor, parent cache.ImmutableRef, opts ...cache.RefOption) (cache.ImmutableRef, error) {
	ref, err := m.Manager.GetByBlob(ctx, desc, bare(parent), opts...)
	return m.immutable(ref), err
}

func (m *manager) Get(ctx context.Context, id string, pg progress.Controller, opts ...cache.RefOption) (cache.ImmutableRef, error) {
	ref, err := m.Manager.Get(ctx, id, pg, opts...)
	return m.immutable(ref), err
}

func (m *manager) New(ctx context.Context, parent cache.ImmutableRef, s session.Group, opts ...cache.RefOption) (cache.MutableRef, error) {
	ref, err := m.Manager.New(ctx, bare(parent), s, opts...)
	return m.mutable(ref), err
}

func (m *manager) GetMutable(ctx context.Context, id string, opts ...cache.RefOption) (cache.MutableRef, error) {
	ref, err := m.Manager.GetMutable(ctx, id, opts...)
	return m.mutable(ref), err
}

func (m *manager) Merge(context.Context, []cache.ImmutableRef, progress.Controller, ...cache.RefOption) (cache.ImmutableRef, error) {
	return nil, errNotLinear
}

func (m *manager) Diff(context.Context, cache.ImmutableRef, cache.ImmutableRef, progress.Controller, ...cache.RefOption) (cache.ImmutableRef, error) {
	return nil, errNotLinear
}

func (m *manager) immutable(ref cache.ImmutableRef) cache.ImmutableRef {
	if ref == nil {
		return nil
	}
	return &immutableRef{bare(ref), m}
}

func (m *manager) mutable(ref cache.MutableRef) cache.MutableRef {
	if ref == nil {
		return nil
	}
	return &mutableRef{ref, m}
}

// bare is a reference as BuildKit made it.
func bare(ref cache.ImmutableRef) cache.ImmutableRef {
	if wrapped, ok := ref.(*immutableRef); ok {
		return wrapped.ImmutableRef
	}
	return ref
}

type immutableRef struct {
	cache.ImmutableRef
	m *manager
}

func (r *immutableRef) Clone() cache.ImmutableRef { return r.m.immutable(r.ImmutableRef.Clone()) }

func (r *immutableRef) Mount(ctx context.Context, readonly bool, s session.Group) (snapshot.Mountable, error) {
	inner, err := r.ImmutableRef.Mount(ctx, readonly, s)
	if err != nil {
		return nil, err
	}
	return &directory{inner, r.m.states}, nil
}

type mutableRef struct {
	cache.MutableRef
	m *manager
}

func (r *mutableRef) Commit(ctx context.Context) (cache.ImmutableRef, error) {
	ref, err := r.MutableRef.Commit(ctx)
	return r.m.immutable(ref), err
}

func (r *mutableRef) Mount(ctx context.Context, readonly bool, s session.Group) (snapshot.Mountable, error) {
	inner, err := r.MutableRef.Mount(ctx, readonly, s)
	if err != nil {
		return nil, err
	}
	return &directory{inner, r.m.states}, nil
}

// directory gives a snapshot as one directory.
type directory struct {
	snapshot.Mountable
	states *snapshotter
}

// Mount brings the root filesystem to the state that is asked for, if it is one.
func (d *directory) Mount() ([]mount.Mount, func() error, error) {
	mounts, release, err := d.Mountable.Mount()
	if err != nil {
		return nil, nil, err
	}
	out := make([]mount.Mount, len(mounts))
	for n, m := range mounts {
		m.Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "ro" })
		if m.Type == rootMount {
			if err := d.states.enter(m.Source); err != nil {
				if release != nil {
					_ = release() // of a state there is nothing to release
				}
				return nil, nil, err
			}
			m = mount.Mount{Type: "bind", Source: d.states.root.dir, Options: []string{"rbind"}}
		}
		out[n] = m
	}
	return out, release, nil
}

// enter makes the root filesystem be what a snapshot is. It ends with the engine:
// BuildKit asks for mounts in contexts that end before it uses them.
func (s *snapshotter) enter(key string) error {
	ctx := s.life
	info, err := s.Stat(ctx, key)
	if err != nil {
		return fmt.Errorf("find a state of the root filesystem: %w", err)
	}
	path, err := s.path(ctx, key)
	if err != nil {
		return err
	}
	if info.Kind == snapshots.KindActive {
		return s.root.begin(ctx, key, path)
	}
	return s.root.show(ctx, path)
}
