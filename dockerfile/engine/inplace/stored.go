//go:build linux

package inplace

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// pathOf finds stored layers by their diffIDs, for layers that were never part of a
// snapshot here.
func (s *layers) pathOf(ctx context.Context, ids []digest.Digest) ([]layer, error) {
	found, err := s.byDiffID(ctx)
	if err != nil {
		return nil, err
	}
	path := make([]layer, len(ids))
	for n, id := range ids {
		desc, ok := found[id]
		if !ok {
			return nil, fmt.Errorf("layer %s is not in the cache", id)
		}
		path[n] = layer{diffID: id, blob: desc}
	}
	return path, nil
}

// byDiffID lists the stored layers by the digests of their tar files: those of states,
// and what else is stored and says what it is. A blob that is not compressed is its own
// tar file.
func (s *layers) byDiffID(ctx context.Context) (map[digest.Digest]ocispecs.Descriptor, error) {
	found := map[digest.Digest]ocispecs.Descriptor{}
	err := s.states.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if l, err := layerOf(info.Labels); err == nil && l.diffID != "" {
			found[l.diffID] = l.blob
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the cached states: %w", err)
	}
	err = s.content.Walk(ctx, func(info content.Info) error {
		for _, id := range []digest.Digest{digest.Digest(info.Labels[labels.LabelUncompressed]), info.Digest} {
			if _, ok := found[id]; !ok && id != "" {
				found[id] = ocispecs.Descriptor{Digest: info.Digest, Size: info.Size}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the cached layers: %w", err)
	}
	return found, nil
}
