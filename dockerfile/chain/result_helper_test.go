package chain_test

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/graft-cnb/graft/dockerfile"
)

// extended is what an Apply left behind.
type extended struct {
	applied dockerfile.Applied
	// dir is the one entry of <extended>/<kind>.
	dir string
	// sparse is the image in it, whole the one that was also asked for.
	sparse, whole v1.Image
	config        *v1.ConfigFile
	files         map[string]node
}

// node is a file of an image.
type node struct {
	content  string
	mode     int64
	uid, gid int
}

// readExtended reads both results and checks what holds for every one.
func readExtended(t *testing.T, dir, out string, applied dockerfile.Applied) extended {
	t.Helper()
	e := extended{applied: applied}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != applied.Manifest {
		t.Fatalf("<extended>/<kind> has %v, want only %s", entries, applied.Manifest)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".graft-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	e.dir = filepath.Join(dir, entries[0].Name())
	e.sparse = onlyImage(t, e.dir)
	e.whole = onlyImage(t, out)
	for _, img := range []v1.Image{e.sparse, e.whole} {
		digest, err := img.Digest()
		if err != nil || digest.String() != applied.Manifest {
			t.Fatalf("manifest %v %v, want %s", digest, err, applied.Manifest)
		}
	}
	e.config, err = e.whole.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	e.files = flatten(t, e.whole)
	return e
}

func onlyImage(t *testing.T, dir string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 {
		t.Fatalf("%s has %d images", dir, len(m.Manifests))
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// flatten is the file tree of an image.
func flatten(t *testing.T, image v1.Image) map[string]node {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]node{}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		tr := tar.NewReader(r)
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			p := path.Clean("/" + h.Name)
			if white, ok := strings.CutPrefix(path.Base(p), ".wh."); ok {
				delete(files, path.Join(path.Dir(p), white))
				continue
			}
			files[p] = node{content: string(data) + h.Linkname, mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// content is a file's content, or a failure.
func (e extended) content(t *testing.T, name string) string {
	t.Helper()
	n, ok := e.files[name]
	if !ok {
		t.Fatalf("the image has no %s", name)
	}
	return n.content
}

// histories are the created_by texts.
func (e extended) histories() []string {
	var out []string
	for _, h := range e.config.History {
		out = append(out, h.CreatedBy)
	}
	return out
}

// listing is every path below a directory with its mode.
func listing(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	out := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		out[rel] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
