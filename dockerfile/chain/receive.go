package chain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile/base"
	"github.com/graft-cnb/graft/dockerfile/result"
)

// receiver takes what the engine exports. Blobs of the base it claims to have
// already, so that the engine never sends them.
type receiver struct {
	content.Store
	dir  string
	base *base.Image
	have map[digest.Digest]bool
	// form is that of the blobs which added gives.
	form result.Compression
	// inlineCache is what the configuration of the engine says for those who take the image
	// for a cache; known once added has returned.
	inlineCache
}

// newReceiver keeps what arrives in a directory of the stage.
func newReceiver(dir string, b *base.Image, form result.Compression) (*receiver, error) {
	store, err := contentlocal.NewStore(dir)
	if err != nil {
		return nil, fmt.Errorf("make a place for added layers: %w", err)
	}
	r := &receiver{Store: store, dir: dir, base: b, have: map[digest.Digest]bool{}, form: form}
	for _, l := range b.Manifest.Layers {
		r.have[digest.Digest(l.Digest.String())] = true
	}
	return r, nil
}

// Writer opens a blob for writing, unless it belongs to the base.
func (r *receiver) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var w content.WriterOpts
	for _, o := range opts {
		if err := o(&w); err != nil {
			return nil, err
		}
	}
	if r.have[w.Desc.Digest] {
		return nil, fmt.Errorf("layer %s of the base image: %w", w.Desc.Digest, errdefs.ErrAlreadyExists)
	}
	return r.Store.Writer(ctx, opts...)
}

// added are the layers that follow the base's in the image that the engine
// exported. They are told by position: a layer that equals one of the base is an
// added one all the same, and is fetched from the base, since the engine did not
// send it.
func (r *receiver) added(ctx context.Context, manifest digest.Digest, want int) ([]result.Layer, error) {
	var m ocispecs.Manifest
	if err := r.read(ctx, manifest, &m); err != nil {
		return nil, fmt.Errorf("read the manifest that the engine made: %w", err)
	}
	var config struct {
		ocispecs.Image
		inlineCache
	}
	if err := r.read(ctx, m.Config.Digest, &config); err != nil {
		return nil, fmt.Errorf("read the configuration that the engine made: %w", err)
	}
	r.inlineCache = config.inlineCache
	below := len(r.base.Manifest.Layers)
	if len(m.Layers) != below+want || len(config.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("the engine made an image with %d layers and %d diffIDs; %d of the base and %d added ones were expected",
			len(m.Layers), len(config.RootFS.DiffIDs), below, want)
	}
	for n, l := range r.base.Manifest.Layers {
		if m.Layers[n].Digest.String() != l.Digest.String() || config.RootFS.DiffIDs[n] != r.base.Config.RootFS.DiffIDs[n] {
			return nil, fmt.Errorf("the engine changed layer %d of the base image from %s to %s", n+1, l.Digest, m.Layers[n].Digest)
		}
	}
	var out []result.Layer
	for n := below; n < len(m.Layers); n++ {
		l, err := r.layer(ctx, m.Layers[n], config.RootFS.DiffIDs[n])
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// layer describes one added layer.
func (r *receiver) layer(ctx context.Context, desc ocispecs.Descriptor, diffID digest.Digest) (result.Layer, error) {
	blob, err := v1.NewHash(desc.Digest.String())
	if err != nil {
		return result.Layer{}, err
	}
	diff, err := v1.NewHash(diffID.String())
	if err != nil {
		return result.Layer{}, err
	}
	l := result.Layer{
		Path:   filepath.Join(r.dir, ocispecs.ImageBlobsDir, blob.Algorithm, blob.Hex),
		Blob:   blob,
		Bytes:  desc.Size,
		Type:   types.MediaType(desc.MediaType),
		DiffID: diff,
	}
	if r.have[desc.Digest] {
		if err := r.fromBase(l.Path, blob); err != nil {
			return result.Layer{}, err
		}
	}
	if err := l.Normalize(ctx, r.form); err != nil {
		return result.Layer{}, err
	}
	return l, nil
}

// fromBase copies a blob of the base.
func (r *receiver) fromBase(path string, blob v1.Hash) (err error) {
	for n, l := range r.base.Manifest.Layers {
		if l.Digest != blob {
			continue
		}
		in, err := r.base.Layer(n)
		if err != nil {
			return err
		}
		defer in.Close()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, in)
		return errors.Join(err, f.Close())
	}
	return fmt.Errorf("blob %s: %w", blob, errdefs.ErrNotFound)
}

// read parses a JSON blob.
func (r *receiver) read(ctx context.Context, dgst digest.Digest, into any) error {
	data, err := content.ReadBlob(ctx, r.Store, ocispecs.Descriptor{Digest: dgst})
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
