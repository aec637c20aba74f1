package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// layoutPrefix marks a location as an OCI image layout directory.
const layoutPrefix = "oci:"

// source is an image, and the digest reference under which a registry has it;
// an image in a layout has none.
type source struct {
	Image     v1.Image
	Reference string
}

// open finds the image at location, "oci:DIR" or a registry reference, for this
// machine's architecture. Credentials are those of the docker configuration.
func open(ctx context.Context, location string) (source, error) {
	if dir, ok := strings.CutPrefix(location, layoutPrefix); ok {
		img, err := openLayout(dir)
		return source{Image: img}, err
	}
	ref, err := name.ParseReference(location)
	if err != nil {
		return source{}, fmt.Errorf("finding the image %s: %w (a layout directory is written oci:DIR)", location, err)
	}
	platform := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithPlatform(platform),
		remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return source{}, fmt.Errorf("finding the image %s: %w", location, err)
	}
	digest, err := img.Digest()
	if err != nil {
		return source{}, fmt.Errorf("reading the image %s: %w", location, err)
	}
	return source{Image: img, Reference: ref.Context().Digest(digest.String()).String()}, nil
}

// openLayout returns the image of an OCI image layout that holds exactly one.
func openLayout(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the image layout %s: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("reading the image layout %s: %w", dir, err)
	}
	// An index may point at another index before it points at the image.
	for len(manifest.Manifests) == 1 && manifest.Manifests[0].MediaType.IsIndex() {
		if index, err = index.ImageIndex(manifest.Manifests[0].Digest); err != nil {
			return nil, fmt.Errorf("reading the image layout %s: %w", dir, err)
		}
		if manifest, err = index.IndexManifest(); err != nil {
			return nil, fmt.Errorf("reading the image layout %s: %w", dir, err)
		}
	}
	if n := len(manifest.Manifests); n != 1 {
		return nil, fmt.Errorf("reading the image layout %s: it holds %d images, and one is expected", dir, n)
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return nil, fmt.Errorf("reading the image layout %s: %w", dir, err)
	}
	return img, nil
}
