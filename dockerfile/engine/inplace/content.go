//go:build linux

package inplace

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// claims is a content store that says of the layers of base images that it has them.
// Otherwise BuildKit would want to fetch them, and would drop all records of its cache
// that rest on them. Who gets an image that is built here has the base already; only a
// shared cache wants to read them.
type claims struct {
	content.Store
	// elsewhere is where the layers of the base in use can be read; nil: nowhere.
	elsewhere content.Provider

	mu   sync.Mutex
	have map[digest.Digest]content.Info
}

func newClaims(store content.Store) *claims {
	return &claims{Store: store, have: map[digest.Digest]content.Info{}}
}

// add claims a layer.
func (c *claims) add(desc ocispecs.Descriptor, diffID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info := content.Info{Digest: desc.Digest, Size: desc.Size, Labels: map[string]string{}}
	if diffID != "" {
		info.Labels[labels.LabelUncompressed] = diffID
	}
	c.have[desc.Digest] = info
}

// addKnown claims the layers of all bases that were ever extended in this state
// directory: kinds of images share it.
func (c *claims) addKnown(ctx context.Context, s *snapshotter) error {
	return s.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if blob := info.Labels[labelBase]; blob != "" {
			size, err := strconv.ParseInt(info.Labels[labelSize], 10, 64)
			if err != nil {
				return fmt.Errorf("snapshot %s: %w", info.Name, err)
			}
			c.add(ocispecs.Descriptor{Digest: digest.Digest(blob), Size: size}, "")
		}
		return nil
	})
}

// Info answers for claimed blobs too.
func (c *claims) Info(ctx context.Context, dgst digest.Digest) (content.Info, error) {
	info, err := c.Store.Info(ctx, dgst)
	if errdefs.IsNotFound(err) {
		if claimed, ok := c.claimed(dgst); ok {
			return claimed, nil
		}
	}
	return info, err
}

// Update leaves claimed blobs as they are.
func (c *claims) Update(ctx context.Context, info content.Info, fields ...string) (content.Info, error) {
	updated, err := c.Store.Update(ctx, info, fields...)
	if errdefs.IsNotFound(err) {
		if claimed, ok := c.claimed(info.Digest); ok {
			return claimed, nil
		}
	}
	return updated, err
}

// ReaderAt reads claimed blobs where they are, or says why there is nothing to read.
func (c *claims) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	ra, err := c.Store.ReaderAt(ctx, desc)
	if errdefs.IsNotFound(err) {
		if _, ok := c.claimed(desc.Digest); ok {
			if c.elsewhere != nil {
				return c.elsewhere.ReaderAt(ctx, desc)
			}
			return nil, fmt.Errorf("layer %s of the base image is not pulled by the in-place engine: %w", desc.Digest, err)
		}
	}
	return ra, err
}

func (c *claims) claimed(dgst digest.Digest) (content.Info, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, ok := c.have[dgst]
	return info, ok
}
