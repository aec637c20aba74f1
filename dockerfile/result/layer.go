package result

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ErrDamaged is wrapped when an added layer is not what its descriptor says.
var ErrDamaged = errors.New("layer is damaged")

// Layer is a layer that was added to the base: a blob in a file.
type Layer struct {
	// Path is the file that holds the blob.
	Path string
	// Blob is the digest of the blob as it is stored, Bytes its size.
	Blob  v1.Hash
	Bytes int64
	// Type is the blob's media type: a tar file, plain or gzip.
	Type types.MediaType
	// DiffID is the digest of the tar file.
	DiffID v1.Hash
}

var _ partial.CompressedLayer = (*Layer)(nil)

// Digest is that of the blob as it is stored.
func (l *Layer) Digest() (v1.Hash, error) { return l.Blob, nil }

// Compressed opens the blob as it is stored, compressed or not.
func (l *Layer) Compressed() (io.ReadCloser, error) { return os.Open(l.Path) }

// Size is that of the blob as it is stored, in bytes.
func (l *Layer) Size() (int64, error) { return l.Bytes, nil }

// MediaType is that of the blob.
func (l *Layer) MediaType() (types.MediaType, error) { return l.Type, nil }

func (l *Layer) descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: l.Type, Digest: l.Blob, Size: l.Bytes}
}

// Normalize makes the layer one that every consumer of an extended image reads:
// a plain or gzip tar file stays, anything else that can be unpacked (zstd)
// becomes a plain tar file beside the blob.
func (l *Layer) Normalize(ctx context.Context) error {
	switch l.Type {
	case types.OCILayer, types.OCIUncompressedLayer:
		return nil
	case types.DockerLayer, types.DockerUncompressedLayer:
		l.Type = ociLayer(l.Type)
		return nil
	case types.OCILayerZStd:
	default:
		return fmt.Errorf("the engine made a layer of media type %q, which no consumer of an extended image reads; set its compression to gzip or uncompressed", l.Type)
	}
	plain := l.Path + ".tar"
	out, err := os.OpenFile(plain, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := l.unpack(ctx, io.MultiWriter(out, sum))
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("unpack layer %s: %w", l.Blob, err)
	}
	l.Path, l.Bytes, l.Type, l.Blob = plain, n, types.OCIUncompressedLayer, toHash(sum)
	return nil
}

// unpack writes the layer's tar file.
func (l *Layer) unpack(ctx context.Context, w io.Writer) (int64, error) {
	f, err := os.Open(l.Path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r, err := compression.DecompressStream(&cancelReader{ctx, f})
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(w, r)
}

// verify reads the blob and compares size, digest and diffID.
func (l *Layer) verify(ctx context.Context) error {
	f, err := os.Open(l.Path)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, l.Blob, err)
	}
	defer f.Close()
	blob := sha256.New()
	size, err := io.Copy(blob, &cancelReader{ctx, f})
	if err != nil {
		return fmt.Errorf("read layer %s: %w", l.Blob, err)
	}
	if size != l.Bytes {
		return fmt.Errorf("%w: %s has %d bytes, its descriptor says %d", ErrDamaged, l.Blob, size, l.Bytes)
	}
	if got := toHash(blob); got != l.Blob {
		return fmt.Errorf("%w: %s has digest %s", ErrDamaged, l.Blob, got)
	}
	if l.Type == types.OCIUncompressedLayer {
		if l.Blob != l.DiffID {
			return fmt.Errorf("%w: %s is not compressed, and yet its diffID is said to be %s", ErrDamaged, l.Blob, l.DiffID)
		}
		return nil
	}
	tar := sha256.New()
	if _, err := l.unpack(ctx, tar); err != nil {
		return fmt.Errorf("%w: %s cannot be unpacked: %w", ErrDamaged, l.Blob, err)
	}
	if got := toHash(tar); got != l.DiffID {
		return fmt.Errorf("%w: %s has diffID %s, the configuration says %s", ErrDamaged, l.Blob, got, l.DiffID)
	}
	return nil
}

// Verify reads every added layer and compares it with what manifest and
// configuration say of it. It wraps ErrDamaged when one differs.
func (i *Image) Verify(ctx context.Context) error {
	for n := range i.added {
		if err := i.added[n].verify(ctx); err != nil {
			return fmt.Errorf("verify added layer %d of %d: %w", n+1, len(i.added), err)
		}
	}
	return nil
}

func toHash(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// cancelReader ends a long copy when the context does.
type cancelReader struct {
	ctx context.Context //nolint:containedctx // lives as long as one copy
	r   io.Reader
}

func (c *cancelReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
