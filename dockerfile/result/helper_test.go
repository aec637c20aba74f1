package result_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/graft-cnb/graft/dockerfile/base"
	"github.com/graft-cnb/graft/dockerfile/result"
)

// newBase is a base of two layers.
func newBase(t *testing.T) *base.Image {
	t.Helper()
	img, err := random.Image(2048, 2)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.History = "linux", "amd64", nil
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	b, err := base.FromImage("test.invalid/base", img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tarOf is a layer's tar file with one file in it.
func tarOf(t *testing.T, content string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// newLayer writes a blob of a tar file in one of the compressions.
func newLayer(t *testing.T, tarFile []byte, mt types.MediaType) result.Layer {
	t.Helper()
	var buf bytes.Buffer
	switch mt {
	case types.OCILayer:
		w := gzip.NewWriter(&buf)
		if _, err := w.Write(tarFile); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	case types.OCILayerZStd:
		w, err := zstd.NewWriter(&buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(tarFile); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	default:
		buf.Write(tarFile)
	}
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	diff, _, err := v1.SHA256(bytes.NewReader(tarFile))
	if err != nil {
		t.Fatal(err)
	}
	blob, size, err := v1.SHA256(bytes.NewReader(buf.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return result.Layer{Path: path, Blob: blob, Bytes: size, Type: mt, DiffID: diff}
}

// config is a configuration that fits base and layers.
func config(t *testing.T, b *base.Image, added ...result.Layer) []byte {
	t.Helper()
	img := b.Config
	img.RootFS.DiffIDs = append([]digest.Digest(nil), img.RootFS.DiffIDs...)
	for _, l := range added {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, digest.Digest(l.DiffID.String()))
	}
	data, err := json.Marshal(img)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func newImage(t *testing.T, b *base.Image, added ...result.Layer) *result.Image {
	t.Helper()
	img, err := result.New(b, added, config(t, b, added...))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// deliver stages beside <extended>, as callers do.
func deliver(t *testing.T, img *result.Image, to result.Destinations) error {
	t.Helper()
	dir := t.TempDir()
	if to.Extended != "" {
		dir = filepath.Dir(to.Extended)
	}
	stage, err := result.NewStage(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stage.Close(); err != nil {
			t.Error(err)
		}
	}()
	d, err := img.Prepare(t.Context(), stage, to)
	if err != nil {
		return err
	}
	return result.Deliver(t.Context(), d)
}
