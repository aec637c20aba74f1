package base

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutName stands for an image that has no reference of its own.
const layoutName = "oci-layout.invalid/base"

// maxIndexDepth bounds how deep indexes may lie inside each other.
const maxIndexDepth = 5

// openLayout opens the one image of a layout that fits the platform, or the one that is
// named (OCI image-layout.md, image-index.md): source is DIR, DIR:NAME or DIR@sha256:HEX.
func openLayout(source string, opts Options) (*Image, error) {
	dir, sel, err := selected(source, isDirectory)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := checkLayout(dir); err != nil {
		return nil, err
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotLayout, filepath.Join(dir, ocispecs.ImageIndexFile), err)
	}
	image, err := pickSelected(index, sel, platformOf(opts), LayoutPrefix, dir)
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", dir, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", dir, err)
	}
	return &Image{Name: layoutName + "@" + digest.String(), Digest: digest, Layout: dir, image: image}, nil
}

// checkLayout tells whether dir has the file that makes it a layout, with a
// version that we read.
func checkLayout(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, ocispecs.ImageLayoutFile))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if _, statErr := os.Stat(dir); statErr != nil {
				return fmt.Errorf("%w: there is no directory %s", ErrNotLayout, dir)
			}
			return fmt.Errorf("%w: %s has no file %s (a layout is what `skopeo copy docker://IMAGE oci:DIR` or `crane pull --format=oci IMAGE DIR` writes)",
				ErrNotLayout, dir, ocispecs.ImageLayoutFile)
		}
		return err
	}
	var marker ocispecs.ImageLayout
	if err := json.Unmarshal(data, &marker); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNotLayout, filepath.Join(dir, ocispecs.ImageLayoutFile), err)
	}
	if marker.Version != ocispecs.ImageLayoutVersion {
		return fmt.Errorf("%w: %s has layout version %q, only %s is supported", ErrNotLayout, dir, marker.Version, ocispecs.ImageLayoutVersion)
	}
	return nil
}

// platformOf is the platform to look for in an index.
func platformOf(opts Options) ocispecs.Platform {
	if opts.Platform != nil {
		return *opts.Platform
	}
	return ocispecs.Platform{OS: "linux", Architecture: runtime.GOARCH}
}

// pick returns the only image of an index, whatever its platform, or else the
// first one for the platform. An index inside the index counts with what is in
// it.
func pick(index v1.ImageIndex, want ocispecs.Platform, depth int) (v1.Image, error) {
	if depth > maxIndexDepth {
		return nil, fmt.Errorf("%w: indexes lie more than %d deep in each other", ErrUnsupported, maxIndexDepth)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("parse index: %w", err)
	}
	found, err := candidates(index, images(manifest.Manifests), want, depth, 1)
	if err != nil {
		return nil, err
	}
	return found[0].open()
}

// candidate is an entry of an index that can be taken for a platform.
type candidate struct {
	desc v1.Descriptor
	// platform is the entry's own, in words; empty if that was not looked at.
	platform string
	open     func() (v1.Image, error)
}

// candidates are those of the descriptors in an index that are for the platform, in their
// order and no more than enough, or the only one whatever its platform: at least one.
func candidates(index v1.ImageIndex, all []v1.Descriptor, want ocispecs.Platform, depth, enough int) ([]candidate, error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: the index is empty", ErrNoImage)
	}
	if len(all) == 1 {
		return []candidate{{desc: all[0], open: func() (v1.Image, error) { return open(index, all[0], want, depth) }}}, nil
	}
	var found []candidate
	var have []string
	for _, desc := range all {
		c := candidate{desc: desc, open: func() (v1.Image, error) { return open(index, desc, want, depth) }}
		platform := desc.Platform
		if platform == nil {
			// Said by the image's own configuration, then.
			image, err := c.open()
			if err != nil {
				continue
			}
			config, err := image.ConfigFile()
			if err != nil {
				return nil, fmt.Errorf("read configuration of %s: %w", desc.Digest, err)
			}
			platform = &v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
			c.open = func() (v1.Image, error) { return image, nil }
		}
		c.platform = platform.String()
		have = append(have, c.platform)
		if platform.OS == want.OS && platform.Architecture == want.Architecture {
			found = append(found, c)
		}
		if len(found) == enough {
			break
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w %s/%s: the index has %s", ErrNoImage, want.OS, want.Architecture, strings.Join(have, ", "))
	}
	return found, nil
}

// images leaves out what is no image: signatures, attestations, artifacts.
func images(all []v1.Descriptor) []v1.Descriptor {
	var out []v1.Descriptor
	for _, desc := range all {
		if !desc.MediaType.IsImage() && !desc.MediaType.IsIndex() {
			continue
		}
		// Some tools write an image's own configuration type here.
		if t := types.MediaType(desc.ArtifactType); t != "" && !t.IsConfig() {
			continue
		}
		if desc.Annotations["vnd.docker.reference.type"] != "" {
			continue
		}
		out = append(out, desc)
	}
	return out
}

// open opens one entry of an index.
func open(index v1.ImageIndex, desc v1.Descriptor, want ocispecs.Platform, depth int) (v1.Image, error) {
	if desc.MediaType.IsIndex() {
		inner, err := index.ImageIndex(desc.Digest)
		if err != nil {
			return nil, fmt.Errorf("read index %s: %w", desc.Digest, err)
		}
		return pick(inner, want, depth+1)
	}
	image, err := index.Image(desc.Digest)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", desc.Digest, err)
	}
	return image, nil
}
