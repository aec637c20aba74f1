package result

import (
	"bytes"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile/base"
)

// Image is an extended image: the base's layers, then the added ones, under a
// manifest and a configuration of its own. It is always an OCI image, whatever
// the base is (a layer's digest does not depend on that).
type Image struct {
	base        *base.Image
	added       []Layer
	config      []byte
	manifest    *v1.Manifest
	rawManifest []byte
	digest      v1.Hash
}

var _ v1.Image = (*Image)(nil)

// New puts an extended image together. Config is the complete configuration as
// it will be stored; New checks that it fits the layers: as many diffIDs and
// (unless there is none) as many history entries as layers, the base's first and
// unchanged.
func New(b *base.Image, added []Layer, config []byte) (*Image, error) {
	img := &Image{base: b, added: added, config: config}
	if err := img.checkConfig(); err != nil {
		return nil, fmt.Errorf("put the extended image together: %w", err)
	}
	hash, size, err := v1.SHA256(bytes.NewReader(config))
	if err != nil {
		return nil, err
	}
	img.manifest = &v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: hash, Size: size},
		Layers:        []v1.Descriptor{},
	}
	for _, desc := range b.Manifest.Layers {
		desc.MediaType = ociLayer(desc.MediaType)
		img.manifest.Layers = append(img.manifest.Layers, desc)
	}
	for _, l := range added {
		img.manifest.Layers = append(img.manifest.Layers, l.descriptor())
	}
	if img.rawManifest, err = json.Marshal(img.manifest); err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	img.digest, _, err = v1.SHA256(bytes.NewReader(img.rawManifest))
	return img, err
}

// checkConfig compares the configuration with the layers.
func (i *Image) checkConfig() error {
	var config ocispecs.Image
	if err := json.Unmarshal(i.config, &config); err != nil {
		return fmt.Errorf("parse configuration: %w", err)
	}
	baseIDs := i.base.Config.RootFS.DiffIDs
	ids := config.RootFS.DiffIDs
	if want := len(baseIDs) + len(i.added); len(ids) != want {
		return fmt.Errorf("the configuration has %d diffIDs for %d layers", len(ids), want)
	}
	for n, id := range ids {
		want := ""
		if n < len(baseIDs) {
			want = baseIDs[n].String()
		} else {
			want = i.added[n-len(baseIDs)].DiffID.String()
		}
		if id.String() != want {
			return fmt.Errorf("layer %d: the configuration says diffID %s, the layer has %s", n, id, want)
		}
	}
	if h := len(config.History); h != 0 && h != len(ids) {
		return fmt.Errorf("the configuration has %d history entries for %d layers", h, len(ids))
	}
	return nil
}

// ociLayer is the OCI name of a layer's media type.
func ociLayer(t types.MediaType) types.MediaType {
	switch t {
	case types.DockerLayer:
		return types.OCILayer
	case types.DockerUncompressedLayer:
		return types.OCIUncompressedLayer
	case types.DockerForeignLayer:
		return types.OCIRestrictedLayer
	}
	return t
}

// Added is the number of layers that the image has beyond its base.
func (i *Image) Added() int { return len(i.added) }

// Layers gives the base's layers and then the added ones.
func (i *Image) Layers() ([]v1.Layer, error) {
	layers, err := i.base.Layers()
	if err != nil {
		return nil, err
	}
	out := append([]v1.Layer(nil), layers...)
	for n := range i.added {
		l, err := partial.CompressedToLayer(&i.added[n])
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// MediaType is always that of an OCI manifest.
func (i *Image) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// Size is the size of the manifest in bytes.
func (i *Image) Size() (int64, error) { return int64(len(i.rawManifest)), nil }

// ConfigName is the digest of the configuration.
func (i *Image) ConfigName() (v1.Hash, error) { return i.manifest.Config.Digest, nil }

// ConfigFile is the configuration, parsed.
func (i *Image) ConfigFile() (*v1.ConfigFile, error) { return partial.ConfigFile(i) }

// RawConfigFile is the configuration as it is stored.
func (i *Image) RawConfigFile() ([]byte, error) { return i.config, nil }

// Digest is the digest of the manifest.
func (i *Image) Digest() (v1.Hash, error) { return i.digest, nil }

// Manifest is the manifest, parsed.
func (i *Image) Manifest() (*v1.Manifest, error) { return i.manifest.DeepCopy(), nil }

// RawManifest is the manifest as it is stored.
func (i *Image) RawManifest() ([]byte, error) { return i.rawManifest, nil }

// LayerByDigest finds the first layer with that digest; the configuration counts
// as one, as go-containerregistry has it.
func (i *Image) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	if h == i.manifest.Config.Digest {
		return partial.ConfigLayer(i)
	}
	for n, desc := range i.manifest.Layers {
		if desc.Digest == h {
			return i.layer(n)
		}
	}
	return nil, fmt.Errorf("the extended image has no layer %s", h)
}

// LayerByDiffID finds the first layer with that diffID.
func (i *Image) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	for n, id := range i.base.Config.RootFS.DiffIDs {
		if id.String() == h.String() {
			return i.layer(n)
		}
	}
	for n, l := range i.added {
		if l.DiffID == h {
			return i.layer(len(i.base.Config.RootFS.DiffIDs) + n)
		}
	}
	return nil, fmt.Errorf("the extended image has no layer with diffID %s", h)
}

func (i *Image) layer(n int) (v1.Layer, error) {
	layers, err := i.Layers()
	if err != nil {
		return nil, err
	}
	return layers[n], nil
}

// index is the index.json of a layout that holds the image alone.
func (i *Image) index() ([]byte, error) {
	return json.Marshal(v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1,
			Digest:    i.digest,
			Size:      int64(len(i.rawManifest)),
			Platform: &v1.Platform{
				OS:           i.base.Config.OS,
				Architecture: i.base.Config.Architecture,
				Variant:      i.base.Config.Variant,
				OSVersion:    i.base.Config.OSVersion,
			},
		}},
	})
}
