package base

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// openSparse opens the image that a digest reference names from the layout which
// a platform's restorer left below opts.Metadata (platform.md, "restorer"). Such a
// layout has manifest and configuration, but need not have layers: the registry
// is asked for those that are missing, and only once they are needed. Without a
// layout, or with one of something else, there is no image and no error.
func openSparse(ctx context.Context, ref name.Reference, opts Options) *Image {
	byDigest, ok := ref.(name.Digest)
	if !ok || opts.Metadata == "" {
		return nil
	}
	want, err := v1.NewHash(byDigest.DigestStr())
	if err != nil {
		return nil
	}
	dir := filepath.Join(opts.Metadata, want.String())
	c := readSparse(dir, want, opts)
	if c == nil {
		return nil
	}
	if opts.Transport == nil {
		opts.Transport = transportFor(ref.Context().Registry, opts, func() {})
	}
	c.open = func(desc v1.Descriptor) (io.ReadCloser, error) {
		path := filepath.Join(dir, ocispecs.ImageBlobsDir, desc.Digest.Algorithm, desc.Digest.Hex)
		if info, err := os.Stat(path); err == nil && info.Size() == desc.Size {
			return os.Open(path)
		}
		layer, err := remote.Layer(ref.Context().Digest(desc.Digest.String()), RemoteOptions(ctx, ref, opts)...)
		if err != nil {
			return nil, explain(ref, err)
		}
		r, err := layer.Compressed()
		if err != nil {
			return nil, explain(ref, err)
		}
		return r, nil
	}
	image, err := c.image()
	if err != nil {
		return nil
	}
	img := &Image{
		Name: CanonicalRepository(ref.Context()) + "@" + want.String(), Digest: want, Metadata: dir,
		Insecure: insecure(ref.Context().Registry, opts.InsecureRegistries), image: image, reference: ref,
	}
	// The registry was not spoken to: it may be one that the engine cannot verify.
	img.private.Store(len(opts.RootCAs) > 0)
	return img
}

// readSparse reads and verifies the metadata of one image of a layout.
func readSparse(dir string, want v1.Hash, opts Options) *composed {
	if checkLayout(dir) != nil {
		return nil
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil
	}
	image, err := pick(index, platformOf(opts), 0)
	if err != nil {
		return nil
	}
	c := &composed{}
	if c.manifest, err = image.RawManifest(); err != nil || checkDigest("manifest", c.manifest, want) != nil {
		return nil
	}
	if c.parsed, err = v1.ParseManifest(bytes.NewReader(c.manifest)); err != nil {
		return nil
	}
	if c.config, err = image.RawConfigFile(); err != nil || checkDigest("configuration", c.config, c.parsed.Config.Digest) != nil {
		return nil
	}
	return c
}
