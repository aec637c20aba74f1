package base

import (
	"bytes"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// openOCIArchive opens the one image of a layout in a tar file that fits the
// platform, or the one that is named (OCI image-layout.md): source is FILE, FILE:NAME or
// FILE@sha256:HEX.
func openOCIArchive(source string, opts Options) (*Image, error) {
	file, sel, err := selected(source, isFile)
	if err != nil {
		return nil, err
	}
	a, err := openArchive(file)
	if err != nil {
		return nil, err
	}
	if _, err := a.find(ocispecs.ImageLayoutFile); err != nil {
		return nil, fmt.Errorf("%w: %s has no file %s; what docker save writes is %sFILE",
			ErrNotLayout, a.path, ocispecs.ImageLayoutFile, DockerArchivePrefix)
	}
	raw, err := a.read(ocispecs.ImageIndexFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotLayout, err)
	}
	image, err := pickSelected(&archiveIndex{archive: a, raw: raw}, sel, platformOf(opts), OCIArchivePrefix, a.path)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", a.path, err)
	}
	return fromImage(image)
}

// archiveIndex is an index in an archive that is a layout.
type archiveIndex struct {
	archive *archive
	raw     []byte
}

var _ v1.ImageIndex = (*archiveIndex)(nil)

// blob reads metadata by its digest.
func (i *archiveIndex) blob(what string, h v1.Hash) ([]byte, error) {
	data, err := i.archive.read(blobName(h))
	if err != nil {
		return nil, err
	}
	return data, checkDigest(what, data, h)
}

// blobName is the name of a blob in a layout.
func blobName(h v1.Hash) string { return ocispecs.ImageBlobsDir + "/" + h.Algorithm + "/" + h.Hex }

// MediaType is that of an OCI index.
func (i *archiveIndex) MediaType() (types.MediaType, error) { return types.OCIImageIndex, nil }

// Digest is the digest of the index.
func (i *archiveIndex) Digest() (v1.Hash, error) { return partial.Digest(i) }

// Size is the size of the index in bytes.
func (i *archiveIndex) Size() (int64, error) { return partial.Size(i) }

// RawManifest is the index as it is stored.
func (i *archiveIndex) RawManifest() ([]byte, error) { return i.raw, nil }

// IndexManifest is the index, parsed.
func (i *archiveIndex) IndexManifest() (*v1.IndexManifest, error) {
	return v1.ParseIndexManifest(bytes.NewReader(i.raw))
}

// ImageIndex opens an index inside this one.
func (i *archiveIndex) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	raw, err := i.blob("index", h)
	if err != nil {
		return nil, err
	}
	return &archiveIndex{archive: i.archive, raw: raw}, nil
}

// Image opens an image of the archive.
func (i *archiveIndex) Image(h v1.Hash) (v1.Image, error) {
	c := &composed{open: func(desc v1.Descriptor) (io.ReadCloser, error) { return i.archive.open(blobName(desc.Digest)) }}
	var err error
	if c.manifest, err = i.blob("manifest", h); err != nil {
		return nil, err
	}
	if c.parsed, err = v1.ParseManifest(bytes.NewReader(c.manifest)); err != nil {
		return nil, fmt.Errorf("parse manifest %s: %w", h, err)
	}
	if c.config, err = i.blob("configuration", c.parsed.Config.Digest); err != nil {
		return nil, err
	}
	return c.image()
}
