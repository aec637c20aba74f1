package result

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// pendingArchive is a complete tar file of a layout in a stage beside its target.
type pendingArchive struct {
	stage  *Stage
	target string
}

// checkArchiveTarget refuses what a file cannot take the place of.
func checkArchiveTarget(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("output %s%s: %w", archivePrefix, path, err)
	}
	return fmt.Errorf("output %s%s: it exists and is no regular file; name another one", archivePrefix, path)
}

func (p *pendingArchive) staged() string { return filepath.Join(p.stage.path, "archive") }

// stageArchive writes the whole image as an OCI layout in a tar file (OCI
// image-layout.md). The same image gives the same bytes.
func (i *Image) stageArchive(ctx context.Context, path string) (_ *pendingArchive, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write image to %s%s: %w", archivePrefix, path, err)
		}
	}()
	if err := checkArchiveTarget(path); err != nil {
		return nil, err
	}
	p := &pendingArchive{target: path}
	if p.stage, err = NewStage(filepath.Dir(path)); err != nil {
		return nil, err
	}
	err = place(p.staged(), func(w io.Writer) error { return i.writeArchive(ctx, w) })
	if err != nil {
		return nil, errors.Join(err, p.stage.Close())
	}
	return p, nil
}

// writeArchive writes metadata, then layers, each once.
func (i *Image) writeArchive(ctx context.Context, to io.Writer) error {
	index, err := i.index()
	if err != nil {
		return err
	}
	w := tar.NewWriter(to)
	for _, dir := range []string{ocispecs.ImageBlobsDir + "/", ocispecs.ImageBlobsDir + "/" + i.digest.Algorithm + "/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name string
		data []byte
	}{
		{ocispecs.ImageLayoutFile, []byte(layoutMarker)},
		{ocispecs.ImageIndexFile, index},
		{blobPath("", i.digest), i.rawManifest},
		{blobPath("", i.manifest.Config.Digest), i.config},
	} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	layers, err := i.Layers()
	if err != nil {
		return err
	}
	written := map[v1.Hash]bool{}
	for n, desc := range i.manifest.Layers {
		if written[desc.Digest] {
			continue
		}
		written[desc.Digest] = true
		if err := archiveLayer(ctx, w, desc, layers[n]); err != nil {
			return fmt.Errorf("layer %d of %d (%s): %w", n+1, len(layers), desc.Digest, err)
		}
	}
	return w.Close()
}

// archiveLayer writes one layer, and verifies it on the way.
func archiveLayer(ctx context.Context, w *tar.Writer, desc v1.Descriptor, layer v1.Layer) error {
	r, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := w.WriteHeader(&tar.Header{Name: blobPath("", desc.Digest), Mode: 0o644, Size: desc.Size}); err != nil {
		return err
	}
	return copyBlob(ctx, w, desc, r)
}

// commit puts the file in its place.
func (p *pendingArchive) commit() error {
	if err := os.Rename(p.staged(), p.target); err != nil {
		return fmt.Errorf("write image to %s%s: %w", archivePrefix, p.target, errors.Join(err, p.stage.Close()))
	}
	return p.stage.Close()
}

// abort leaves what was there.
func (p *pendingArchive) abort() { _ = p.stage.Close() }
