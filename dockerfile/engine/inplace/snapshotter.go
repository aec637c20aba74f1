//go:build linux

package inplace

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/moby/buildkit/snapshot"
	"github.com/moby/buildkit/util/leaseutil"
	"github.com/moby/sys/user"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// snapshotterName is the name that BuildKit knows the snapshotter by. Some names make
// it look for overlays; not this one.
const snapshotterName = "inplace"

// Labels of snapshots that are states of the root filesystem.
const (
	// labelRoot marks them all.
	labelRoot = "graft.root"
	// labelBase marks those that are an image's layers, with the layer's digest.
	labelBase = "graft.root/base"
	// labelSize is the size of the blob, labelType its media type.
	labelSize = "graft.root/size"
	labelType = "graft.root/type"
	// labelDiffID is the digest of the layer's tar file.
	labelDiffID = "graft.root/diff-id"
	// labelBlob is the digest of the layer as it is stored. The name is containerd's,
	// whose collector keeps what it names.
	labelBlob = "containerd.io/gc.ref.content.graft"
	// labelKeep keeps a snapshot that nobody refers to.
	labelKeep = "containerd.io/gc.root"
)

// rootMount is the type of the one mount of a state; its source is the snapshot's key.
// No kernel knows such a file system, so nobody can mount it by mistake: it is turned
// into a directory where it is used.
const rootMount = "graft-root"

// snapshotter has two kinds of snapshots: states of the root filesystem, which are the
// base and what descends from it, and plain directories. Only the latter hold files.
type snapshotter struct {
	// Snapshotter is BuildKit's view of plain directories. For a state it holds an
	// empty one, and its labels.
	snapshot.Snapshotter
	root   *root
	layers *layers
	leases *leaseutil.Manager
	// life is the context of the engine.
	life context.Context //nolint:containedctx // what BuildKit mounts has none of its own

	mu        sync.Mutex
	extracted map[string]layer
}

var _ snapshot.Snapshotter = (*snapshotter)(nil)

func (s *snapshotter) Name() string { return snapshotterName }

// IdentityMapping is none: numbers of users are the container's.
func (s *snapshotter) IdentityMapping() *user.IdentityMapping { return nil }

// Prepare makes a snapshot to be changed.
func (s *snapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) error {
	state, err := s.isState(ctx, parent)
	if err != nil {
		return err
	}
	if state {
		opts = append(opts, snapshots.WithLabels(map[string]string{labelRoot: "active"}))
	}
	return s.Snapshotter.Prepare(ctx, key, parent, opts...)
}

// View makes a snapshot to be read.
func (s *snapshotter) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) (snapshot.Mountable, error) {
	state, err := s.isState(ctx, parent)
	if err != nil {
		return nil, err
	}
	if !state {
		return s.Snapshotter.View(ctx, key, parent, opts...)
	}
	opts = append(opts, snapshots.WithLabels(map[string]string{labelRoot: "view"}))
	if _, err := s.Snapshotter.View(ctx, key, parent, opts...); err != nil {
		return nil, err
	}
	return rootState(key), nil
}

// Mounts finds a snapshot's files.
func (s *snapshotter) Mounts(ctx context.Context, key string) (snapshot.Mountable, error) {
	state, err := s.isState(ctx, key)
	if err != nil {
		return nil, err
	}
	if state {
		return rootState(key), nil
	}
	return s.Snapshotter.Mounts(ctx, key)
}

// Commit ends the change of a snapshot. For a state that is when its layer is made.
func (s *snapshotter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	state, err := s.isState(ctx, key)
	if err != nil {
		return err
	}
	if !state {
		return s.Snapshotter.Commit(ctx, name, key, opts...)
	}
	// The layer must live until the snapshot's label refers to it.
	ctx, done, err := leaseutil.WithLease(ctx, s.leases, leaseutil.MakeTemporary)
	if err != nil {
		return err
	}
	defer done(context.WithoutCancel(ctx))
	s.mu.Lock()
	l, extracted := s.extracted[key]
	delete(s.extracted, key)
	s.mu.Unlock()
	if !extracted {
		if l, err = s.layers.write(ctx, s.root, key); err != nil {
			return fmt.Errorf("keep what a step changed in the root filesystem: %w", err)
		}
	}
	return s.Snapshotter.Commit(ctx, name, key, append(opts, snapshots.WithLabels(l.labels()))...)
}

// extract notes that a snapshot which is being made consists of a stored layer.
func (s *snapshotter) extract(key string, l layer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extracted[key] = l
}

// isState tells whether a snapshot is a state of the root filesystem.
func (s *snapshotter) isState(ctx context.Context, key string) (bool, error) {
	if key == "" {
		return false, nil
	}
	info, err := s.Stat(ctx, key)
	if err != nil {
		return false, err
	}
	return info.Labels[labelRoot] != "", nil
}

// path are the layers that make the base into the state of a snapshot; those of one
// that is active or a view are its parent's.
func (s *snapshotter) path(ctx context.Context, key string) ([]layer, error) {
	var path []layer
	for {
		info, err := s.Stat(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("find the layers of a state of the root filesystem: %w", err)
		}
		if info.Labels[labelBase] != "" {
			slices.Reverse(path)
			return path, nil
		}
		if info.Kind == snapshots.KindCommitted {
			l, err := layerOf(info.Labels)
			if err != nil {
				return nil, fmt.Errorf("snapshot %s: %w", key, err)
			}
			path = append(path, l)
		}
		key = info.Parent
	}
}

// labels are what a committed state remembers of its layer.
func (l layer) labels() map[string]string {
	return map[string]string{
		labelRoot:   "layer",
		labelDiffID: l.diffID.String(),
		labelBlob:   l.blob.Digest.String(),
		labelType:   l.blob.MediaType,
		labelSize:   strconv.FormatInt(l.blob.Size, 10),
	}
}

func layerOf(labels map[string]string) (layer, error) {
	size, err := strconv.ParseInt(labels[labelSize], 10, 64)
	if err != nil {
		return layer{}, fmt.Errorf("its layer is not known: %w", err)
	}
	return layer{
		diffID: digest.Digest(labels[labelDiffID]),
		blob:   ocispecs.Descriptor{Digest: digest.Digest(labels[labelBlob]), MediaType: labels[labelType], Size: size},
	}, nil
}

// base makes the snapshots that stand for the layers of the base image, under the
// names that BuildKit gives to what it unpacks: so it never needs to.
func (s *snapshotter) base(ctx context.Context, layers []ocispecs.Descriptor, chain []digest.Digest) error {
	parent := ""
	for n, l := range layers {
		name := snapshot.LayerSnapshotID(chain[n])
		_, err := s.Stat(ctx, name)
		if err == nil {
			parent = name
			continue
		}
		labels := snapshots.WithLabels(map[string]string{
			labelRoot: "base", labelBase: l.Digest.String(), labelKeep: "yes",
			labelSize: strconv.FormatInt(l.Size, 10), labelType: l.MediaType,
		})
		key := "base-" + name
		if err := s.Snapshotter.Prepare(ctx, key, parent, labels); err != nil {
			return fmt.Errorf("note layer %s of the base image: %w", l.Digest, err)
		}
		if err := s.Snapshotter.Commit(ctx, name, key, labels); err != nil {
			return fmt.Errorf("note layer %s of the base image: %w", l.Digest, err)
		}
		parent = name
	}
	return nil
}

// rootState is the mount of a state.
type rootState string

var _ snapshot.Mountable = rootState("")

func (s rootState) Mount() ([]mount.Mount, func() error, error) {
	return []mount.Mount{{Type: rootMount, Source: string(s)}}, func() error { return nil }, nil
}

func (s rootState) IdentityMapping() *user.IdentityMapping { return nil }
