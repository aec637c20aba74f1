package result

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graft-cnb/graft/dockerfile/internal/decompress"
)

// ErrDamaged is wrapped when an added layer is not what its descriptor says.
var ErrDamaged = errors.New("layer is damaged")

// Compression is the form of the blobs of added layers. The base's layers keep
// theirs.
type Compression string

// The forms that consumers of <extended> read. The zero value means Uncompressed,
// since whoever consumes the layers packs them anew.
const (
	Uncompressed Compression = "uncompressed"
	Gzip         Compression = "gzip"
)

func (c Compression) mediaType() types.MediaType {
	if c == Gzip {
		return types.OCILayer
	}
	return types.OCIUncompressedLayer
}

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

// Normalize brings the layer into the form in which added layers are handed
// over, which consumers of an extended image read: a tar file, plain or gzip. An
// engine may send another form than it was asked for, since it keeps a layer as
// it was first made; then a file in the right one is written beside the blob.
func (l *Layer) Normalize(ctx context.Context, want Compression) error {
	have := ociLayer(l.Type)
	switch have {
	case types.OCILayer, types.OCIUncompressedLayer, types.OCILayerZStd:
	default:
		return fmt.Errorf("the engine made a layer of media type %q, which no consumer of an extended image reads; set its compression to gzip or uncompressed", l.Type)
	}
	if have == want.mediaType() {
		l.Type = have
		return nil
	}
	path := l.Path + ".repacked"
	out, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := l.repack(ctx, io.MultiWriter(out, sum), want)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("repack layer %s as %s: %w", l.Blob, want, err)
	}
	l.Path, l.Bytes, l.Type, l.Blob = path, n, want.mediaType(), toHash(sum)
	return nil
}

// repack writes the layer's tar file in another form, and tells how long that is.
// The compressor is the one of BuildKit: who compresses makes no difference.
func (l *Layer) repack(ctx context.Context, w io.Writer, want Compression) (int64, error) {
	if want != Gzip {
		return l.unpack(ctx, w)
	}
	counter := &countWriter{w: w}
	z := gzip.NewWriter(counter)
	if _, err := l.unpack(ctx, z); err != nil {
		return 0, err
	}
	err := z.Close()
	return counter.n, err
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// unpack writes the layer's tar file.
func (l *Layer) unpack(ctx context.Context, w io.Writer) (int64, error) {
	r, err := l.open(ctx)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(w, r)
}

// open opens the layer's tar file.
func (l *Layer) open(ctx context.Context) (io.ReadCloser, error) {
	f, err := os.Open(l.Path)
	if err != nil {
		return nil, err
	}
	r, err := decompress.Stream(&cancelReader{ctx, f})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &unpacked{r, f}, nil
}

// unpacked is a layer's tar file as it is read from a blob.
type unpacked struct {
	io.ReadCloser
	blob *os.File
}

// Close closes the blob, too.
func (u *unpacked) Close() error { return errors.Join(u.ReadCloser.Close(), u.blob.Close()) }

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
