package chain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// basedEngine is an engine that works where a base image is in use already, and has to
// know which it is before anything else.
type basedEngine interface {
	// SetBase tells the digest of the base's manifest, its layers, its configuration,
	// and where layers can be read if anybody wants them after all.
	SetBase(ctx context.Context, manifest digest.Digest, layers []ocispecs.Descriptor, config ocispecs.Image, blobs content.Provider) error
}

// setBase tells such an engine the base image. done is called when the engine is closed
// or not used any more.
func setBase(ctx context.Context, engine Engine, pending []*run) (done func(), err error) {
	based, ok := engine.(basedEngine)
	if !ok {
		return func() {}, nil
	}
	if len(pending) != 1 {
		return nil, errors.New("this engine works on the one image that its container was made from: extend each kind of image in a container of its own")
	}
	r := pending[0]
	var manifest ocispecs.Manifest
	if err := json.Unmarshal(r.base.RawManifest, &manifest); err != nil {
		return nil, fmt.Errorf("parse manifest of base image %q: %w", r.app.Base, err)
	}
	blobs := r.base.Store(r.stage.Path())
	done = func() {
		if err := blobs.Close(); err != nil {
			r.log(r.Warn, "Remove fetched layers: %v", err)
		}
	}
	if err := based.SetBase(ctx, digest.Digest(r.base.Digest.String()), manifest.Layers, r.base.Config, blobs); err != nil {
		done()
		return nil, fmt.Errorf("extend base image %q: %w", r.app.Base, err)
	}
	return done, nil
}
