//go:build linux

package inplace

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
)

// snapshotKey is where BuildKit's records name their snapshot.
const snapshotKey = "cache.snapshot"

// ready makes the databases fit for a new container before BuildKit reads them. What
// was in progress in another container is gone with it; layers that are damaged are
// dropped, with everything that rests on them; and the base gets its snapshots.
func (s *stores) ready(ctx context.Context, image baseImage, log logs.Func) error {
	damaged, err := s.damagedBlobs(ctx)
	if err != nil {
		return err
	}
	gone, err := s.goneSnapshots(ctx, damaged)
	if err != nil {
		return err
	}
	if err := s.forget(gone); err != nil {
		return err
	}
	for _, dgst := range damaged {
		log.Write(slog.LevelWarn, fmt.Sprintf("cached layer %s is damaged: it is dropped, with what was built on it", dgst))
		// The file too: it would be taken for the layer when that is made again.
		for _, store := range []content.Store{s.meta.ContentStore(), s.blobs} {
			err := store.Delete(namespaces.WithNamespace(ctx, namespace), dgst)
			if err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("drop damaged layer %s: %w", dgst, err)
			}
		}
	}
	if err := s.claims.addKnown(ctx, s.snapshot); err != nil {
		return err
	}
	for _, l := range image.layers {
		s.claims.add(l, l.Annotations[labels.LabelUncompressed])
	}
	s.claims.elsewhere = image.blobs
	return s.snapshot.base(ctx, image.layers, image.chain)
}

// goneSnapshots are those of states that cannot be had any more, children first.
func (s *stores) goneSnapshots(ctx context.Context, damaged []digest.Digest) ([]string, error) {
	infos := map[string]snapshots.Info{}
	err := s.snapshot.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		infos[info.Name] = info
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the cached states: %w", err)
	}
	// Such as are on record alone are not listed.
	lost := func(name, parent string) {
		if _, ok := infos[name]; !ok {
			infos[name] = snapshots.Info{Name: name, Parent: parent, Labels: map[string]string{labelRoot: "lost"}}
		}
	}
	if err := s.onRecord(lost); err != nil {
		return nil, fmt.Errorf("list the cached states: %w", err)
	}
	verdicts := map[string]bool{}
	var isGone func(name string) bool
	isGone = func(name string) bool {
		info, ok := infos[name]
		if !ok {
			return name != ""
		}
		verdict, ok := verdicts[name]
		if !ok {
			verdict = info.Labels[labelRoot] != "" && (info.Kind != snapshots.KindCommitted || !s.stored(ctx, info, damaged)) || isGone(info.Parent)
			verdicts[name] = verdict
		}
		return verdict
	}
	var gone []string
	for name := range infos {
		if isGone(name) {
			gone = append(gone, name)
		}
	}
	depth := func(name string) (n int) {
		for ; infos[name].Parent != ""; name = infos[name].Parent {
			n++
		}
		return n
	}
	slices.SortFunc(gone, func(a, b string) int { return depth(b) - depth(a) })
	return gone, nil
}

// stored tells whether the layer of a committed state can be had.
func (s *stores) stored(ctx context.Context, info snapshots.Info, damaged []digest.Digest) bool {
	if info.Labels[labelBase] != "" {
		return true
	}
	l, err := layerOf(info.Labels)
	if err != nil || slices.Contains(damaged, l.blob.Digest) {
		return false
	}
	found, err := s.content.Info(ctx, l.blob.Digest)
	return err == nil && found.Size == l.blob.Size
}

// forget removes snapshots, and BuildKit's records of them. Records that rest on those
// BuildKit drops by itself.
func (s *stores) forget(gone []string) error {
	if len(gone) == 0 {
		return nil
	}
	if err := s.forgetChildren(gone); err != nil {
		return err
	}
	lost := map[string]bool{}
	ctx := namespaces.WithNamespace(context.Background(), namespace)
	for _, name := range gone {
		lost[name] = true
		if err := s.meta.Snapshotter(snapshotterName).Remove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("drop a state that is gone: %w", err)
		}
	}
	items, err := s.records.All()
	if err != nil {
		return fmt.Errorf("list the cache's records: %w", err)
	}
	for _, item := range items {
		var name string
		if value := item.Get(snapshotKey); value != nil {
			if err := value.Unmarshal(&name); err != nil {
				name = ""
			}
		}
		if name == "" {
			name = item.ID()
		}
		if lost[name] {
			if err := s.records.Clear(item.ID()); err != nil {
				return fmt.Errorf("drop a record of the cache: %w", err)
			}
		}
	}
	return nil
}

// snapshotBucket is where containerd has what it knows of the snapshots; nil: nowhere yet.
func snapshotBucket(tx *bbolt.Tx) *bbolt.Bucket {
	return bucket(tx.Bucket([]byte("v1")), namespace, "snapshots", snapshotterName)
}

// onRecord lists the snapshots that containerd knows, whether they are there or not.
func (s *stores) onRecord(each func(name, parent string)) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		all := snapshotBucket(tx)
		if all == nil {
			return nil
		}
		return all.ForEachBucket(func(name []byte) error {
			each(string(name), string(all.Bucket(name).Get([]byte("parent"))))
			return nil
		})
	})
}

// forgetChildren drops from containerd's records what they still list as children of some
// snapshots and do not have. Its collector removes a snapshot, a view for one, and leaves
// it listed below its parent; for as long as it is, the parent cannot be removed.
func (s *stores) forgetChildren(of []string) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		all := snapshotBucket(tx)
		for _, name := range of {
			children := bucket(all, name, "children")
			if children == nil {
				continue
			}
			var stale [][]byte
			err := children.ForEach(func(child, _ []byte) error {
				if all.Bucket(child) == nil {
					stale = append(stale, child)
				}
				return nil
			})
			if err != nil {
				return err
			}
			for _, child := range stale {
				if err := children.Delete(child); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget the children of states that are gone: %w", err)
	}
	return nil
}

// bucket is a bucket in another; nil: it is not there.
func bucket(in *bbolt.Bucket, path ...string) *bbolt.Bucket {
	for _, name := range path {
		if in != nil {
			in = in.Bucket([]byte(name))
		}
	}
	return in
}
