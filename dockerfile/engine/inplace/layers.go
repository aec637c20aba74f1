//go:build linux

package inplace

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile/internal/decompress"
	"github.com/graft-cnb/graft/dockerfile/rootfs"
)

// layers are the stored layers. They are what BuildKit calls an applier and a differ.
// Nothing is ever compared for a state of the root filesystem, and nothing applied: its
// layer was made when the operation ended, and it is applied when it is needed.
type layers struct {
	content content.Store
	states  *snapshotter
}

var (
	_ diff.Applier  = (*layers)(nil)
	_ diff.Comparer = (*layers)(nil)
)

// write makes the layer of what an operation has changed.
func (s *layers) write(ctx context.Context, r *root, key string) (layer, error) {
	var l layer
	err := s.store(ctx, nil, func(w io.Writer, commit func() (ocispecs.Descriptor, error)) error {
		out := bufio.NewWriterSize(w, 1<<20)
		return r.end(ctx, key, out, func() (digest.Digest, error) {
			if err := out.Flush(); err != nil {
				return "", err
			}
			desc, err := commit()
			desc.MediaType = ocispecs.MediaTypeImageLayer
			l = layer{diffID: desc.Digest, blob: desc}
			return desc.Digest, err
		})
	})
	return l, err
}

// store writes a blob. fill calls commit when everything is written.
func (s *layers) store(ctx context.Context, more map[string]string, fill func(w io.Writer, commit func() (ocispecs.Descriptor, error)) error) (err error) {
	ref := "graft-" + identity.NewID()
	w, err := content.OpenWriter(ctx, s.content, content.WithRef(ref))
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, w.Close())
		if err != nil {
			_ = s.content.Abort(context.WithoutCancel(ctx), ref) // there may be nothing to abort
		}
	}()
	var size int64
	return fill(&counter{w, &size}, func() (ocispecs.Descriptor, error) {
		desc := ocispecs.Descriptor{Digest: w.Digest(), Size: size}
		set := map[string]string{labels.LabelUncompressed: desc.Digest.String()}
		for k, v := range more {
			set[k] = v
		}
		err := w.Commit(ctx, size, desc.Digest, content.WithLabels(set))
		if errdefs.IsAlreadyExists(err) {
			err = nil
		}
		return desc, err
	})
}

// counter counts what is written.
type counter struct {
	io.Writer
	n *int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	*c.n += int64(n)
	return n, err
}

// tar opens a stored layer as a tar file. What it reads is verified: a layer that is
// not what it was gives an error at its end.
func (s *layers) tar(ctx context.Context, l layer) (io.ReadCloser, error) {
	if err := s.verify(ctx, l.blob); err != nil {
		return nil, err
	}
	return s.stream(ctx, l.blob)
}

// verify reads a blob once to see whether it is what it should be. Half a wrong layer
// on the root filesystem could not be taken back.
func (s *layers) verify(ctx context.Context, desc ocispecs.Descriptor) error {
	ra, err := s.content.ReaderAt(ctx, desc)
	if err != nil {
		return fmt.Errorf("read cached layer %s: %w", desc.Digest, err)
	}
	defer ra.Close()
	verifier := desc.Digest.Verifier()
	if _, err := io.Copy(verifier, content.NewReader(ra)); err != nil {
		return fmt.Errorf("read cached layer %s: %w", desc.Digest, err)
	}
	if !verifier.Verified() {
		return fmt.Errorf("cached layer %s is damaged; run again", desc.Digest)
	}
	return nil
}

// stream opens a blob, decompressed.
func (s *layers) stream(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	ra, err := s.content.ReaderAt(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("read cached layer %s: %w", desc.Digest, err)
	}
	plain, err := decompress.Stream(content.NewReader(ra))
	if err != nil {
		ra.Close()
		return nil, fmt.Errorf("decompress cached layer %s: %w", desc.Digest, err)
	}
	return &stream{plain, ra}, nil
}

type stream struct {
	io.ReadCloser
	blob io.Closer
}

func (s *stream) Close() error { return errors.Join(s.ReadCloser.Close(), s.blob.Close()) }

// Apply takes a layer that BuildKit has fetched. One of a state is only looked at: it
// is applied when something must run on it.
func (s *layers) Apply(ctx context.Context, desc ocispecs.Descriptor, mounts []mount.Mount, _ ...diff.ApplyOpt) (ocispecs.Descriptor, error) {
	if len(mounts) != 1 {
		return ocispecs.Descriptor{}, fmt.Errorf("unpack layer %s: it has no one directory to go to", desc.Digest)
	}
	if err := s.verify(ctx, desc); err != nil {
		return ocispecs.Descriptor{}, err
	}
	plain, err := s.stream(ctx, desc)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	defer plain.Close()
	digester := digest.Canonical.Digester()
	var size int64
	in := io.TeeReader(plain, &counter{digester.Hash(), &size})
	if mounts[0].Type == rootMount {
		_, err = io.Copy(io.Discard, in)
	} else {
		err = rootfs.Apply(ctx, mounts[0].Source, in, rootfs.ApplyOptions{})
	}
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("unpack layer %s: %w", desc.Digest, err)
	}
	if mounts[0].Type == rootMount {
		s.states.extract(mounts[0].Source, layer{diffID: digester.Digest(), blob: desc})
	}
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayer, Digest: digester.Digest(), Size: size}, nil
}

// Compare gives the layer between two snapshots. Between states it is the stored one,
// compressed if that is asked for.
func (s *layers) Compare(ctx context.Context, lower, upper []mount.Mount, opts ...diff.Opt) (ocispecs.Descriptor, error) {
	config := diff.Config{MediaType: ocispecs.MediaTypeImageLayerGzip}
	for _, opt := range opts {
		if err := opt(&config); err != nil {
			return ocispecs.Descriptor{}, err
		}
	}
	if len(upper) != 1 || len(lower) > 1 {
		return ocispecs.Descriptor{}, errors.New("make a layer: a snapshot is not one directory")
	}
	if upper[0].Type != rootMount {
		return s.pack(ctx, config, func(w io.Writer) error { return writeDiff(ctx, w, lower, upper) })
	}
	path, err := s.states.path(ctx, upper[0].Source)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	if len(path) == 0 {
		return ocispecs.Descriptor{}, errors.New("make a layer: the base image has none of its own")
	}
	last := path[len(path)-1]
	if config.MediaType == last.blob.MediaType && config.MediaType == ocispecs.MediaTypeImageLayer {
		return last.blob, nil
	}
	return s.pack(ctx, config, func(w io.Writer) error {
		in, err := s.stream(ctx, last.blob)
		if err != nil {
			return err
		}
		defer in.Close()
		_, err = io.Copy(w, in)
		return err
	})
}

func writeDiff(ctx context.Context, w io.Writer, lower, upper []mount.Mount) error {
	from := ""
	if len(lower) == 1 {
		from = lower[0].Source
	}
	return archive.WriteDiff(ctx, w, from, upper[0].Source)
}

// pack stores a tar file in the form that is asked for.
func (s *layers) pack(ctx context.Context, config diff.Config, write func(io.Writer) error) (desc ocispecs.Descriptor, err error) {
	if config.Compressor == nil && config.MediaType != ocispecs.MediaTypeImageLayer {
		config.Compressor = func(w io.Writer, _ string) (io.WriteCloser, error) {
			return compression.CompressStream(w, compression.Gzip)
		}
	}
	plain := digest.Canonical.Digester()
	set := map[string]string{}
	err = s.store(ctx, set, func(w io.Writer, commit func() (ocispecs.Descriptor, error)) error {
		var to io.WriteCloser = nopCloser{w}
		if config.Compressor != nil {
			if to, err = config.Compressor(w, config.MediaType); err != nil {
				return err
			}
		}
		err := write(io.MultiWriter(to, plain.Hash()))
		if err = errors.Join(err, to.Close()); err != nil {
			return err
		}
		set[labels.LabelUncompressed] = plain.Digest().String()
		desc, err = commit()
		return err
	})
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("make a layer: %w", err)
	}
	desc.MediaType = config.MediaType
	return desc, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
