//go:build linux

package inplace

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/pkg/reference"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/source"
	"github.com/moby/buildkit/source/containerimage"
	srctypes "github.com/moby/buildkit/source/types"
	"github.com/moby/buildkit/util/cachedigest"
	"github.com/opencontainers/go-digest"
	identity "github.com/opencontainers/image-spec/identity"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// baseImage is the image that the container was made from.
type baseImage struct {
	manifest digest.Digest
	layers   []ocispecs.Descriptor
	// chain are the chain IDs of the layers (image-spec, config.md, "Layer ChainID").
	chain []digest.Digest
	// blobs are where layers can be read; nil: nowhere.
	blobs content.Provider
}

// newBaseImage puts the layers of a manifest and of a configuration together.
func newBaseImage(manifest digest.Digest, layers []ocispecs.Descriptor, config ocispecs.Image) (baseImage, error) {
	b := baseImage{manifest: manifest}
	ids := config.RootFS.DiffIDs
	if len(layers) == 0 || len(ids) != len(layers) {
		return b, fmt.Errorf("the base image has %d layers and %d diffIDs: an image that is extended in place has the same number of both, and at least one", len(layers), len(ids))
	}
	for n, l := range layers {
		l.Annotations = map[string]string{labels.LabelUncompressed: ids[n].String()}
		b.layers = append(b.layers, l)
		b.chain = append(b.chain, identity.ChainID(ids[:n+1]))
	}
	return b, nil
}

// baseSource gives the base image to whoever asks for it by its digest, from whatever
// place, and refuses every other image: one that shares layers with the base would be
// taken for a state of the root filesystem.
type baseSource struct {
	base  baseImage
	cache cache.Accessor
}

var _ source.Source = (*baseSource)(nil)

// Schemes are those of images.
func (s *baseSource) Schemes() []string {
	return []string{srctypes.DockerImageScheme, srctypes.OCIScheme}
}

// Identifier names an image.
func (s *baseSource) Identifier(scheme, ref string, _ map[string]string, p *pb.Platform) (source.Identifier, error) {
	if err := s.base.is(ref); err != nil {
		return nil, err
	}
	var platform *ocispecs.Platform
	if p != nil {
		spec := p.Spec()
		platform = &spec
	}
	if scheme == srctypes.OCIScheme {
		id, err := containerimage.NewOCIIdentifier(ref)
		if err != nil {
			return nil, err
		}
		id.Platform = platform
		return id, nil
	}
	id, err := containerimage.NewImageIdentifier(ref)
	if err != nil {
		return nil, err
	}
	id.Platform = platform
	return id, nil
}

// is refuses a reference that is not the base's.
func (b baseImage) is(ref string) error {
	spec, err := reference.Parse(ref)
	if err == nil && spec.Digest() == b.manifest {
		return nil
	}
	return fmt.Errorf("image %s is not the base image that this container was made from, and the in-place engine can use no other: leave it out, or use an engine that isolates (-buildkit, or a container that may mount)", ref)
}

// Resolve makes an instance of the base.
func (s *baseSource) Resolve(_ context.Context, id source.Identifier, _ *session.Manager, _ solver.Vertex) (source.SourceInstance, error) {
	platform := platforms.DefaultSpec()
	var asked *ocispecs.Platform
	switch id := id.(type) {
	case *containerimage.ImageIdentifier:
		asked = id.Platform
	case *containerimage.OCIIdentifier:
		asked = id.Platform
	default:
		return nil, fmt.Errorf("%s is no image", id)
	}
	if asked != nil {
		platform = *asked
	}
	return &baseInstance{s, platform}, nil
}

// baseInstance is the base as a step of the graph.
type baseInstance struct {
	*baseSource
	platform ocispecs.Platform
}

// CacheKey is the one that BuildKit has for an image, so that caches of other engines
// fit: the digest of manifest and platform.
func (i *baseInstance) CacheKey(context.Context, solver.JobContext, int) (key, pin string, opts solver.CacheOpts, done bool, err error) {
	data, err := json.Marshal(struct {
		Digest     digest.Digest
		OS         string
		Arch       string
		Variant    string   `json:",omitempty"`
		OSVersion  string   `json:",omitempty"`
		OSFeatures []string `json:",omitempty"`
	}{i.base.manifest, i.platform.OS, i.platform.Architecture, i.platform.Variant, i.platform.OSVersion, i.platform.OSFeatures})
	if err != nil {
		return "", "", nil, false, err
	}
	k, err := cachedigest.FromBytes(data, cachedigest.TypeJSON)
	if err != nil {
		return "", "", nil, false, err
	}
	return k.String(), i.base.manifest.String(), nil, true, nil
}

// Snapshot is the reference of the topmost layer.
func (i *baseInstance) Snapshot(ctx context.Context, _ solver.JobContext) (cache.ImmutableRef, error) {
	var current cache.ImmutableRef
	for _, desc := range i.base.layers {
		next, err := i.cache.GetByBlob(ctx, desc, current)
		if current != nil {
			_ = current.Release(context.WithoutCancel(ctx)) // the next one holds it
		}
		if err != nil {
			return nil, fmt.Errorf("note layer %s of the base image: %w", desc.Digest, err)
		}
		current = next
	}
	return current, nil
}
