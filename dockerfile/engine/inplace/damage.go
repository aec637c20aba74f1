//go:build linux

package inplace

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// labelSeen is when a blob's file had last changed when the blob was last found to be
// right. A file that has not changed since need not be read again.
const labelSeen = "graft.seen"

// damagedBlobs finds the stored blobs whose files are not what they should be. What
// is cached is applied to the root filesystem, from which it cannot be taken back.
func (s *stores) damagedBlobs(ctx context.Context) ([]digest.Digest, error) {
	var damaged []digest.Digest
	var right []content.Info
	err := s.content.Walk(ctx, func(info content.Info) error {
		seen, err := s.changed(info)
		if err == nil && seen == info.Labels[labelSeen] {
			return nil
		}
		if err == nil {
			err = s.layers.verify(ctx, ocispecs.Descriptor{Digest: info.Digest, Size: info.Size})
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			damaged = append(damaged, info.Digest)
			return nil
		}
		info.Labels = map[string]string{labelSeen: seen}
		right = append(right, info)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at the cached layers: %w", err)
	}
	for _, info := range right {
		if _, err := s.content.Update(ctx, info, "labels."+labelSeen); err != nil {
			return nil, fmt.Errorf("note that cached layer %s is right: %w", info.Digest, err)
		}
	}
	return damaged, nil
}

// changed tells when a blob's file has last changed. One of another size is damaged.
func (s *stores) changed(info content.Info) (string, error) {
	path := filepath.Join(s.state, "content", ocispecs.ImageBlobsDir, info.Digest.Algorithm().String(), info.Digest.Encoded())
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if st.Size != info.Size {
		return "", fmt.Errorf("%s has %d bytes, and should have %d", path, st.Size, info.Size)
	}
	return strconv.FormatInt(st.Ctim.Nano(), 10), nil
}
