package base

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// errDamaged is what is wrong with a blob that is not what its digest says.
var errDamaged = errors.New("the base image is damaged")

// composed is an image whose metadata is at hand and whose layers are opened one
// by one, each wherever it lies.
type composed struct {
	manifest, config []byte
	parsed           *v1.Manifest
	// open opens a layer as it is stored. Composed verifies what it reads.
	open func(desc v1.Descriptor) (io.ReadCloser, error)
}

var _ partial.CompressedImageCore = (*composed)(nil)

// image gives the composed image all methods of one.
func (c *composed) image() (v1.Image, error) { return partial.CompressedToImage(c) }

// RawConfigFile is the configuration as it is stored.
func (c *composed) RawConfigFile() ([]byte, error) { return c.config, nil }

// RawManifest is the manifest as it is stored.
func (c *composed) RawManifest() ([]byte, error) { return c.manifest, nil }

// MediaType is that of the manifest.
func (c *composed) MediaType() (types.MediaType, error) {
	if c.parsed.MediaType == "" {
		return types.OCIManifestSchema1, nil
	}
	return c.parsed.MediaType, nil
}

// LayerByDigest finds a layer of the manifest.
func (c *composed) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, desc := range c.parsed.Layers {
		if desc.Digest == h {
			return &composedLayer{desc: desc, open: c.open}, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

type composedLayer struct {
	desc v1.Descriptor
	open func(v1.Descriptor) (io.ReadCloser, error)
}

func (l *composedLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *composedLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *composedLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }

func (l *composedLayer) Compressed() (io.ReadCloser, error) {
	r, err := l.open(l.desc)
	if err != nil {
		return nil, err
	}
	return verify(r, l.desc.Digest, l.desc.Size), nil
}

// verify makes a blob fail that is not the one with a digest and a size.
func verify(r io.ReadCloser, want v1.Hash, size int64) io.ReadCloser {
	return &verified{ReadCloser: r, want: want, left: size, sum: sha256.New()}
}

// verified fails at the end of a blob that is not the one it should be, and where that
// should have ended: who sends it could go on for ever.
type verified struct {
	io.ReadCloser
	want v1.Hash
	left int64
	sum  hash.Hash
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.sum.Write(p[:n])
	if v.left -= int64(n); v.left < 0 {
		return n, fmt.Errorf("%w: layer %s is larger than its manifest says", errDamaged, v.want)
	}
	if err == io.EOF { //nolint:errorlint // readers return it as it is
		if got := hex.EncodeToString(v.sum.Sum(nil)); got != v.want.Hex {
			return n, fmt.Errorf("%w: layer %s has digest sha256:%s", errDamaged, v.want, got)
		}
	}
	return n, err
}

// checkDigest compares bytes with the digest that they were asked for by.
func checkDigest(what string, data []byte, want v1.Hash) error {
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); want.Algorithm != "sha256" || got != want.Hex {
		return fmt.Errorf("%w: %s %s has digest sha256:%s", errDamaged, what, want, got)
	}
	return nil
}
