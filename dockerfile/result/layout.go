package result

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// pendingLayout is an OCI layout whose blobs are all there, but whose index
// still names the image that it held before. Others may write to it meanwhile: who
// commits last is the one whose image it holds.
type pendingLayout struct {
	image   *Image
	dir     string
	created bool
}

// checkLayoutTarget refuses a directory that holds something other than a
// layout, which writing one would bury.
func checkLayoutTarget(dir string) error {
	entries, err := os.ReadDir(dir)
	begun := func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), stagePrefix) }
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(slices.DeleteFunc(entries, begun)) == 0 {
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
	p := &pendingLayout{image: i, dir: dir}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		p.created = true
	}
	defer func() {
		if err != nil {
			p.abort()
		}
	}()
	unlock, err := p.begin()
	if err != nil {
		return nil, err
	}
	unlock()
	if err := p.fill(ctx, func(path string, desc v1.Descriptor) bool { return intact(ctx, path, desc) }); err != nil {
		return nil, err
	}
	return p, nil
}

// begin makes the directory a layout, if it is none, and keeps other runs from it.
func (p *pendingLayout) begin() (unlock func(), err error) {
	if err := mkdir(p.dir); err != nil {
		return nil, err
	}
	if unlock, err = lockDir(p.dir); err != nil {
		return nil, err
	}
	err = checkLayoutTarget(p.dir)
	if err == nil {
		err = writeFile(filepath.Join(p.dir, ocispecs.ImageLayoutFile), []byte(layoutMarker))
	}
	if err == nil {
		err = mkdir(filepath.Join(p.dir, ocispecs.ImageBlobsDir, p.image.digest.Algorithm))
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// fill writes the layers that are not there.
func (p *pendingLayout) fill(ctx context.Context, there func(path string, desc v1.Descriptor) bool) error {
	layers, err := p.image.Layers()
	if err != nil {
		return err
	}
	for n, desc := range p.image.manifest.Layers {
		path := blobPath(p.dir, desc.Digest)
		if there(path, desc) {
			continue
		}
		if err := placeBlob(ctx, path, desc, layers[n]); err != nil {
			return fmt.Errorf("layer %d of %d (%s): %w", n+1, len(layers), desc.Digest, err)
		}
	}
	return nil
}

// placeBlob writes one layer.
func placeBlob(ctx context.Context, path string, desc v1.Descriptor, layer v1.Layer) error {
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

// commit lets the layout name the new image, and only that, and removes the blobs of what
// it held before. What others have brought meanwhile stays; what they have taken away, as
// belonging to an image that is gone, comes again.
func (p *pendingLayout) commit() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write image to %s%s: %w", layoutPrefix, p.dir, err)
		}
	}()
	unlock, err := p.begin()
	if err != nil {
		return err
	}
	defer unlock()
	err = p.fill(context.Background(), func(path string, desc v1.Descriptor) bool {
		info, err := os.Stat(path)
		return err == nil && info.Size() == desc.Size
	})
	if err != nil {
		return err
	}
	before := blobsOf(p.dir)
	if err := p.image.writeMetadata(p.dir); err != nil {
		return err
	}
	for blob := range blobsOf(p.dir) {
		delete(before, blob)
	}
	for blob := range before {
		// What cannot be removed is only in the way of nobody.
		_ = os.Remove(blobPath(p.dir, blob))
	}
	p.removeStale()
	return nil
}

// staleAfter is the age from which a file that was to become a blob is not being written
// any more.
const staleAfter = 24 * time.Hour

// removeStale removes what a killed run has left of blobs.
func (p *pendingLayout) removeStale() {
	begun, _ := filepath.Glob(filepath.Join(p.dir, ocispecs.ImageBlobsDir, p.image.digest.Algorithm, stagePrefix+"*"))
	for _, path := range begun {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > staleAfter {
			_ = os.Remove(path)
		}
	}
}

// blobsOf are the blobs of all images that a layout names, as far as they can be read.
func blobsOf(dir string) map[v1.Hash]bool {
	all := map[v1.Hash]bool{}
	data, err := os.ReadFile(filepath.Join(dir, ocispecs.ImageIndexFile))
	if err != nil {
		return all
	}
	var add func(manifest []byte)
	add = func(manifest []byte) {
		// An index and a manifest have different fields.
		var parsed struct {
			Manifests []v1.Descriptor `json:"manifests"`
			Config    v1.Descriptor   `json:"config"`
			Layers    []v1.Descriptor `json:"layers"`
		}
		if json.Unmarshal(manifest, &parsed) != nil {
			return
		}
		for _, desc := range append(parsed.Layers, parsed.Config) {
			if desc.Digest != (v1.Hash{}) {
				all[desc.Digest] = true
			}
		}
		for _, desc := range parsed.Manifests {
			if all[desc.Digest] {
				continue
			}
			all[desc.Digest] = true
			if data, err := os.ReadFile(blobPath(dir, desc.Digest)); err == nil {
				add(data)
			}
		}
	}
	add(data)
	return all
}

// abort removes a layout that did not exist before, unless another run has made one of it.
func (p *pendingLayout) abort() {
	if !p.created {
		return
	}
	unlock, err := lockDir(p.dir)
	if err != nil {
		return // it is gone
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(p.dir, ocispecs.ImageIndexFile)); errors.Is(err, fs.ErrNotExist) {
		_ = os.RemoveAll(p.dir)
	}
}
