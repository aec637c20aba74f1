package base

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Store serves the blobs of one image to an engine through its session:
// manifest and configuration from memory, layers from the layout, or, for an
// image of a registry, each fetched once into a temporary directory (a session
// opens a new reader for every read). It is read-only.
type Store struct {
	image *Image
	temp  string
	made  string

	mu    sync.Mutex
	spool map[digest.Digest]*spooled
}

// spooled is one layer on its way to the disk.
type spooled struct {
	once sync.Once
	path string
	err  error
}

var _ content.Store = (*Store)(nil)

// Store opens a store over the image. Layers of a registry image are kept below
// temp (empty: the system's temporary directory) until Close.
func (i *Image) Store(temp string) *Store {
	return &Store{image: i, temp: temp, spool: map[digest.Digest]*spooled{}}
}

// Close removes what was fetched. No reader may be open any more.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made == "" {
		return nil
	}
	err := os.RemoveAll(s.made)
	s.made, s.spool = "", map[digest.Digest]*spooled{}
	return err
}

// Info tells the size of a blob of the image.
func (s *Store) Info(_ context.Context, dgst digest.Digest) (content.Info, error) {
	size, _, _, err := s.find(dgst)
	if err != nil {
		return content.Info{}, err
	}
	return content.Info{Digest: dgst, Size: size}, nil
}

// ReaderAt opens a blob of the image.
func (s *Store) ReaderAt(_ context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	size, data, layer, err := s.find(desc.Digest)
	if err != nil {
		return nil, err
	}
	if data != nil {
		return memory{bytes.NewReader(data)}, nil
	}
	path, err := s.layer(desc.Digest, layer)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read layer %s of base image %q: %w", desc.Digest, s.image.Source, err)
	}
	return file{f, size}, nil
}

// find looks a digest up: bytes for manifest and configuration, the number of
// the layer otherwise.
func (s *Store) find(dgst digest.Digest) (size int64, data []byte, layer int, err error) {
	switch dgst.String() {
	case s.image.Digest.String():
		return int64(len(s.image.RawManifest)), s.image.RawManifest, 0, nil
	case s.image.Manifest.Config.Digest.String():
		return int64(len(s.image.RawConfig)), s.image.RawConfig, 0, nil
	}
	for n, l := range s.image.Manifest.Layers {
		if l.Digest.String() == dgst.String() {
			return l.Size, nil, n, nil
		}
	}
	return 0, nil, 0, fmt.Errorf("blob %s is not part of base image %q: %w", dgst, s.image.Source, errdefs.ErrNotFound)
}

// layer gives the file that holds a layer, fetching it if need be.
func (s *Store) layer(dgst digest.Digest, n int) (string, error) {
	if s.image.Layout != "" {
		return filepath.Join(s.image.Layout, ocispecs.ImageBlobsDir, dgst.Algorithm().String(), dgst.Encoded()), nil
	}
	s.mu.Lock()
	if s.made == "" {
		made, err := os.MkdirTemp(s.temp, "graft-base-")
		if err != nil {
			s.mu.Unlock()
			return "", fmt.Errorf("keep layers of base image %q: %w", s.image.Source, err)
		}
		s.made = made
	}
	entry, ok := s.spool[dgst]
	if !ok {
		entry = &spooled{path: filepath.Join(s.made, dgst.Encoded())}
		s.spool[dgst] = entry
	}
	s.mu.Unlock()
	entry.once.Do(func() { entry.err = s.fetch(n, entry.path) })
	return entry.path, entry.err
}

// fetch writes a layer to a file; go-containerregistry verifies it on the way.
func (s *Store) fetch(n int, path string) (err error) {
	r, err := s.image.Layer(n)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if _, err := io.Copy(f, r); err != nil {
		return fmt.Errorf("fetch layer %s of base image %q: %w", s.image.Manifest.Layers[n].Digest, s.image.Source, err)
	}
	return nil
}

// Walk visits every blob of the image.
func (s *Store) Walk(ctx context.Context, fn content.WalkFunc, _ ...string) error {
	all := []v1.Hash{s.image.Digest, s.image.Manifest.Config.Digest}
	for _, l := range s.image.Manifest.Layers {
		all = append(all, l.Digest)
	}
	for _, h := range all {
		info, err := s.Info(ctx, digest.Digest(h.String()))
		if err != nil {
			return err
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

// errReadOnly answers everything that would change a base.
var errReadOnly = fmt.Errorf("the base image is read-only: %w", errdefs.ErrFailedPrecondition)

// Update leaves the labels that an engine likes to attach aside.
func (s *Store) Update(ctx context.Context, info content.Info, _ ...string) (content.Info, error) {
	return s.Info(ctx, info.Digest)
}

// Delete always fails.
func (s *Store) Delete(context.Context, digest.Digest) error { return errReadOnly }

// ListStatuses is empty: nothing is ever being written.
func (s *Store) ListStatuses(context.Context, ...string) ([]content.Status, error) { return nil, nil }

// Status finds nothing: nothing is ever being written.
func (s *Store) Status(context.Context, string) (content.Status, error) {
	return content.Status{}, errdefs.ErrNotFound
}

// Abort always fails.
func (s *Store) Abort(context.Context, string) error { return errReadOnly }

// Writer always fails.
func (s *Store) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, errReadOnly
}

// memory is a blob in memory.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// file is a blob on disk.
type file struct {
	*os.File
	size int64
}

func (f file) Size() int64 { return f.size }
