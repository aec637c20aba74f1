package result

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// pendingLayout is an OCI layout whose blobs are all there, but whose index
// still names the image that it held before.
type pendingLayout struct {
	image   *Image
	dir     string
	created bool
}

// checkLayoutTarget refuses a directory that holds something other than a
// layout, which writing one would bury.
func checkLayoutTarget(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("output %s%s: %w", layoutPrefix, dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ocispecs.ImageLayoutFile)); err != nil {
		return fmt.Errorf("output %s%s: the directory is not empty and is no OCI image layout; name another one, or empty it", layoutPrefix, dir)
	}
	return nil
}

// stageLayout brings every blob of the whole image into the layout in dir. Blobs
// have their digest as name, so that nothing of what is there changes.
func (i *Image) stageLayout(ctx context.Context, dir string) (_ *pendingLayout, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write image to %s%s: %w", layoutPrefix, dir, err)
		}
	}()
	if err := checkLayoutTarget(dir); err != nil {
		return nil, err
	}
	p := &pendingLayout{image: i, dir: dir}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		p.created = true
	}
	defer func() {
		if err != nil {
			p.abort()
		}
	}()
	if err := mkdir(filepath.Join(dir, ocispecs.ImageBlobsDir, i.digest.Algorithm)); err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(dir, ocispecs.ImageLayoutFile), []byte(layoutMarker)); err != nil {
		return nil, err
	}
	layers, err := i.Layers()
	if err != nil {
		return nil, err
	}
	for n, desc := range i.manifest.Layers {
		if err := placeBlob(ctx, blobPath(dir, desc.Digest), desc, layers[n]); err != nil {
			return nil, fmt.Errorf("layer %d of %d (%s): %w", n+1, len(layers), desc.Digest, err)
		}
	}
	return p, nil
}

// placeBlob writes one layer, unless the very same is there already.
func placeBlob(ctx context.Context, path string, desc v1.Descriptor, layer v1.Layer) error {
	if intact(ctx, path, desc) {
		return nil
	}
	r, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	return place(path, func(w io.Writer) error { return copyBlob(ctx, w, desc, r) })
}

// copyBlob writes a blob, and finds out on the way whether it is the one that is
// described.
func copyBlob(ctx context.Context, w io.Writer, desc v1.Descriptor, r io.Reader) error {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), &cancelReader{ctx, r})
	if err != nil {
		return err
	}
	if got := toHash(sum); n != desc.Size || got != desc.Digest {
		return fmt.Errorf("%w: expected %d bytes with digest %s, got %d with %s", ErrDamaged, desc.Size, desc.Digest, n, got)
	}
	return nil
}

// intact tells whether a file holds just that blob.
func intact(ctx context.Context, path string, desc v1.Descriptor) bool {
	info, err := os.Stat(path)
	if err != nil || info.Size() != desc.Size {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, &cancelReader{ctx, f}); err != nil {
		return false
	}
	return toHash(sum) == desc.Digest
}

// commit lets the layout name the new image, and only that, and removes blobs
// that belonged to what it held before.
func (p *pendingLayout) commit() error {
	if err := p.image.writeMetadata(p.dir); err != nil {
		return fmt.Errorf("write image to %s%s: %w", layoutPrefix, p.dir, err)
	}
	keep := map[string]bool{
		p.image.digest.Hex:                 true,
		p.image.manifest.Config.Digest.Hex: true,
	}
	for _, desc := range p.image.manifest.Layers {
		keep[desc.Digest.Hex] = true
	}
	blobs := filepath.Join(p.dir, ocispecs.ImageBlobsDir, p.image.digest.Algorithm)
	entries, err := os.ReadDir(blobs)
	if err != nil {
		return fmt.Errorf("write image to %s%s: %w", layoutPrefix, p.dir, err)
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			// What cannot be removed is only in the way of nobody.
			_ = os.Remove(filepath.Join(blobs, e.Name()))
		}
	}
	return nil
}

// abort removes a layout that did not exist before.
func (p *pendingLayout) abort() {
	if p.created {
		_ = os.RemoveAll(p.dir)
	}
}
