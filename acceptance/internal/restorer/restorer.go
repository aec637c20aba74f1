// Package restorer stands for a platform's restorer, for tests and benchmarks: it leaves
// what the extender is told of an image. It never writes a layer.
package restorer

import (
	"bytes"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Restore writes the metadata of an image into a volume that will be /kaniko: a layout
// with its manifest and its configuration.
func Restore(kaniko string, image v1.Image) error {
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	dir := filepath.Join(kaniko, "cache/base", digest.String())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	for _, blob := range [][]byte{manifest, config} {
		hash, _, err := v1.SHA256(bytes.NewReader(blob))
		if err != nil {
			return err
		}
		if err := path.WriteBlob(hash, io.NopCloser(bytes.NewReader(blob))); err != nil {
			return err
		}
	}
	mediaType, err := image.MediaType()
	if err != nil {
		return err
	}
	return path.AppendDescriptor(v1.Descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(manifest))})
}
