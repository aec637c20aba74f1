package chain

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/uuid"
	"github.com/moby/buildkit/client"

	"github.com/graft-cnb/graft/dockerfile/base"
	"github.com/graft-cnb/graft/dockerfile/internal/dockerd"
	"github.com/graft-cnb/graft/dockerfile/result"
)

// exporterStore is the name of BuildKit's exporter in a Docker daemon.
const exporterStore = "moby"

// storeTimeout is how long it may take to remove a name from a store, also when the run
// is over.
const storeTimeout = 10 * time.Second

// storing is the engine's store, if the engine can only put images there.
func storing(e Engine) Storing {
	if s, ok := e.(Storing); ok && s.Stores() {
		return s
	}
	return nil
}

// inStore is what an image is called in the engine's store, where images have that name.
func inStore(name string, img *base.Image) string { return name + ":" + img.Digest.Hex }

// fill puts the images into the store that the engine cannot pull: such an engine reads
// none through the session. The layers stay there with what the engine caches, so the
// next time they are not sent. empty takes the names away. Without a store there is
// nothing to do.
func (r *run) fill(ctx context.Context) (empty func(), err error) {
	var names []string
	empty = func() {
		for _, name := range names {
			r.remove(ctx, name)
		}
	}
	if r.store == nil {
		return empty, nil
	}
	for _, img := range r.plan.stores {
		layers, err := img.Layers()
		if err != nil {
			return empty, err
		}
		image := dockerd.Image{Tag: inStore(r.given, img), Config: img.RawConfig, Descriptors: img.Manifest.Layers, Layers: layers}
		if err := image.Give(ctx, len(layers), r.store.LoadImage); err != nil {
			_ = r.tryRemove(ctx, image.Tag) // it may have come so far
			return empty, fmt.Errorf("bring image %q to the engine: %w", img.Source, err)
		}
		names = append(names, image.Tag)
	}
	return empty, nil
}

// remove takes a name away from the store, even when the run has been cut off.
func (r *run) remove(ctx context.Context, name string) {
	if err := r.tryRemove(ctx, name); err != nil {
		r.log(r.Warn, "An image is left in the engine's store: %v", err)
	}
}

func (r *run) tryRemove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	return r.store.RemoveImage(ctx, name)
}

// forget removes what a build that failed may have put into the store at last.
func (r *run) forget(ctx context.Context) {
	if r.store != nil {
		_ = r.tryRemove(ctx, r.stored) // most often it is not there
	}
}

// exportTo is where the engine puts what it makes.
func (r *run) exportTo(in *receiver, attrs map[string]string) client.ExportEntry {
	if r.store == nil {
		return client.ExportEntry{Type: client.ExporterOCI, Attrs: attrs, OutputStore: in}
	}
	r.stored = "graft-extended:" + uuid.NewString()
	return client.ExportEntry{Type: exporterStore, Attrs: map[string]string{"name": "docker.io/library/" + r.stored}}
}

// fetch takes the layers that follow the base's from the image in the store, which is
// saved as a whole: there is no other way to any of them.
func (r *run) fetch(ctx context.Context, in *receiver, want int) (_ []result.Layer, err error) {
	defer r.remove(ctx, r.stored)
	saved, err := r.store.SaveImage(ctx, r.stored)
	if err != nil {
		return nil, err
	}
	defer saved.Close()
	img, err := base.ReadSaved(saved, r.stage.Path())
	if err != nil {
		return nil, fmt.Errorf("read what the engine made: %w", err)
	}
	below := r.base.Config.RootFS.DiffIDs
	ids := img.Config.RootFS.DiffIDs
	if len(ids) != len(below)+want || !slices.Equal(ids[:len(below)], below) {
		return nil, fmt.Errorf("the engine made an image with layers %v, and %d after those of the base, %v, were expected", ids, want, below)
	}
	if err := json.Unmarshal(img.RawConfig, &in.inlineCache); err != nil {
		return nil, fmt.Errorf("read the configuration that the engine made: %w", err)
	}
	var added []result.Layer
	for n := len(below); n < len(ids); n++ {
		layer, err := in.take(ctx, img, n)
		if err != nil {
			return nil, fmt.Errorf("read layer %d of what the engine made: %w", n+1, err)
		}
		added = append(added, layer)
	}
	return added, nil
}

// take writes a layer of an image to a file, and describes it.
func (r *receiver) take(ctx context.Context, img *base.Image, n int) (result.Layer, error) {
	desc, diffID := img.Manifest.Layers[n], img.Config.RootFS.DiffIDs[n]
	blob, err := img.Layer(n)
	if err != nil {
		return result.Layer{}, err
	}
	defer blob.Close()
	path := filepath.Join(r.dir, desc.Digest.Hex)
	f, err := os.Create(path)
	if err != nil {
		return result.Layer{}, err
	}
	if _, err := io.Copy(f, blob); err != nil {
		_ = f.Close()
		return result.Layer{}, err
	}
	if err := f.Close(); err != nil {
		return result.Layer{}, err
	}
	id, err := v1.NewHash(diffID.String())
	if err != nil {
		return result.Layer{}, err
	}
	layer := result.Layer{Path: path, Blob: desc.Digest, Bytes: desc.Size, Type: desc.MediaType, DiffID: id}
	err = layer.Normalize(ctx, r.form)
	return layer, err
}
