package base

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// dockerManifest is the file that says which images `docker save` has written.
const dockerManifest = "manifest.json"

// savedImage is one image of that file.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// openDockerArchive opens the image of a file that `docker save` wrote. There is
// no manifest in it that a registry would know: one is made of what there is, with
// the layers as they are in the file.
func openDockerArchive(file string) (*Image, error) {
	a, err := openArchive(file)
	if err != nil {
		return nil, err
	}
	return a.onlySaved()
}

// onlySaved is the base that the one image in a file of docker save makes.
func (a *archive) onlySaved() (*Image, error) {
	data, err := a.read(dockerManifest)
	if err != nil {
		return nil, fmt.Errorf("%w: no file of docker save (an OCI image layout in a tar file is %sFILE): %w", ErrUnsupported, OCIArchivePrefix, err)
	}
	var saved []savedImage
	if err := json.Unmarshal(data, &saved); err != nil {
		return nil, fmt.Errorf("parse %s in %s: %w", dockerManifest, a.path, err)
	}
	if len(saved) != 1 {
		var names []string
		for _, s := range saved {
			names = append(names, strings.Join(s.RepoTags, " or "))
		}
		return nil, fmt.Errorf("%w: %s holds %d images (%s); save the one that is to be extended by itself", ErrUnsupported, a.path, len(saved), strings.Join(names, ", "))
	}
	image, err := a.saved(saved[0])
	if err != nil {
		return nil, err
	}
	return fromImage(image)
}

// saved makes an image of what was saved of it.
func (a *archive) saved(s savedImage) (v1.Image, error) {
	config, err := a.read(s.Config)
	if err != nil {
		return nil, err
	}
	parsed, err := v1.ParseConfigFile(bytes.NewReader(config))
	if err != nil {
		return nil, fmt.Errorf("parse configuration %s in %s: %w", s.Config, a.path, err)
	}
	if len(parsed.RootFS.DiffIDs) != len(s.Layers) {
		return nil, fmt.Errorf("%w: %s names %d layers and the configuration %d diffIDs", errDamaged, a.path, len(s.Layers), len(parsed.RootFS.DiffIDs))
	}
	digest, size, err := v1.SHA256(bytes.NewReader(config))
	if err != nil {
		return nil, err
	}
	manifest := &v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: digest, Size: size},
		Layers:        []v1.Descriptor{},
	}
	names := map[v1.Hash]string{}
	for n, name := range s.Layers {
		desc, err := a.savedLayer(name, parsed.RootFS.DiffIDs[n])
		if err != nil {
			return nil, err
		}
		manifest.Layers = append(manifest.Layers, desc)
		names[desc.Digest] = name
	}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	c := &composed{manifest: raw, config: config, parsed: manifest, open: func(desc v1.Descriptor) (io.ReadCloser, error) {
		return a.open(names[desc.Digest])
	}}
	return c.image()
}

// savedLayer describes a layer as it is in the file. For a plain tar file the
// configuration tells the digest; one that was compressed has to be read.
func (a *archive) savedLayer(name string, diffID v1.Hash) (v1.Descriptor, error) {
	m, err := a.find(name)
	if err != nil {
		return v1.Descriptor{}, err
	}
	r, err := a.open(name)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer r.Close()
	var magic [4]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil {
		return v1.Descriptor{}, fmt.Errorf("read layer %s in %s: %w", name, a.path, err)
	}
	var mediaType types.MediaType
	switch {
	case bytes.HasPrefix(magic[:], []byte{0x1f, 0x8b}):
		mediaType = types.OCILayer
	case bytes.Equal(magic[:], []byte{0x28, 0xb5, 0x2f, 0xfd}):
		mediaType = types.OCILayerZStd
	default:
		return v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: diffID, Size: m.size}, nil
	}
	digest, size, err := v1.SHA256(io.MultiReader(bytes.NewReader(magic[:]), r))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("read layer %s in %s: %w", name, a.path, err)
	}
	return v1.Descriptor{MediaType: mediaType, Digest: digest, Size: size}, nil
}
