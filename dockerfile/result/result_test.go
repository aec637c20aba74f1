package result_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

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
	return img.Deliver(t.Context(), stage, to)
}

// CONTRACT 4: manifest, configuration and only the added layers; files 0644 and
// directories 0755, whatever the umask.
func TestExtendedImageIsSparseAndReadable(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	b := newBase(t)
	plain, zipped := newLayer(t, tarOf(t, "a"), types.OCIUncompressedLayer), newLayer(t, tarOf(t, "b"), types.OCILayer)
	img := newImage(t, b, plain, zipped)
	dir := filepath.Join(t.TempDir(), "layers", "extended", "run")
	if err := deliver(t, img, result.Destinations{Extended: dir}); err != nil {
		t.Fatal(err)
	}
	name := digestOf(t, img)
	want := map[string]bool{
		name:                                      true,
		name + "/oci-layout":                      true,
		name + "/index.json":                      true,
		name + "/blobs":                           true,
		name + "/blobs/sha256":                    true,
		name + "/blobs/sha256/" + hex(name):       true,
		name + "/blobs/sha256/" + plain.Blob.Hex:  true,
		name + "/blobs/sha256/" + zipped.Blob.Hex: true,
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	want[name+"/blobs/sha256/"+m.Config.Digest.Hex] = true
	checkTree(t, dir, want)
	for n, l := range b.Manifest.Layers {
		if m.Layers[n].Digest != l.Digest || m.Layers[n].Size != l.Size {
			t.Errorf("layer %d is %v, the base's is %v", n, m.Layers[n], l)
		}
	}
}

// checkTree compares names and modes.
func checkTree(t *testing.T, dir string, want map[string]bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); d.IsDir() && mode != 0o755 || !d.IsDir() && mode != 0o644 {
			t.Errorf("%s has mode %o", p, mode)
		}
		if rel, _ := filepath.Rel(dir, p); rel != "." && !want[rel] {
			t.Errorf("unexpected %s", rel)
		} else {
			delete(want, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(want) > 0 {
		t.Errorf("missing %v", want)
	}
}

func digestOf(t *testing.T, img *result.Image) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func hex(name string) string { return strings.TrimPrefix(name, "sha256:") }

// CONTRACT 4: there is never more than one entry, not even for a moment.
func TestThereIsNeverMoreThanOneEntry(t *testing.T) {
	b := newBase(t)
	dir := filepath.Join(t.TempDir(), "extended", "run")
	images := []*result.Image{
		newImage(t, b, newLayer(t, tarOf(t, "a"), types.OCIUncompressedLayer)),
		newImage(t, b, newLayer(t, tarOf(t, "b"), types.OCIUncompressedLayer)),
	}
	if err := deliver(t, images[1], result.Destinations{Extended: dir}); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	looks := 0
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			// A look that began before an exchange may end in the old directory
			// while that is being removed; then it sees less, never more.
			if entries, _ := os.ReadDir(dir); len(entries) > 1 {
				t.Errorf("a look found %v", entries)
			}
			if _, err := os.Stat(dir); err != nil {
				t.Errorf("a look found nothing: %v", err)
			}
			looks++
		}
	}()
	for n := range 100 {
		img := images[n%2]
		if err := deliver(t, img, result.Destinations{Extended: dir}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, digestOf(t, img), "index.json")); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
	if looks < 100 {
		t.Errorf("only %d looks", looks)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// CONTRACT 7.5: what is handed over is checked first, and an earlier result
// stays when it is not right.
func TestDamagedLayerIsNotHandedOver(t *testing.T) {
	b := newBase(t)
	dir := filepath.Join(t.TempDir(), "extended", "run")
	good := newImage(t, b)
	if err := deliver(t, good, result.Destinations{Extended: dir}); err != nil {
		t.Fatal(err)
	}
	for what, damage := range map[string]func(*result.Layer){
		"content": func(l *result.Layer) { truncate(t, l.Path, -1) },
		"size":    func(l *result.Layer) { l.Bytes++ },
		"digest":  func(l *result.Layer) { l.Blob.Hex = strings.Repeat("0", 64) },
		"diffID":  func(l *result.Layer) { l.DiffID.Hex = strings.Repeat("0", 64) },
		"missing": func(l *result.Layer) { l.Path += "-gone" },
		"no tar":  func(l *result.Layer) { *l = notGzip(t, *l) },
	} {
		for _, mt := range []types.MediaType{types.OCILayer, types.OCIUncompressedLayer} {
			l := newLayer(t, tarOf(t, what), mt)
			damage(&l)
			err := deliver(t, newImage(t, b, l), result.Destinations{Extended: dir, Outputs: []result.Output{{Layout: filepath.Join(t.TempDir(), "out")}}})
			if !errors.Is(err, result.ErrDamaged) {
				t.Errorf("%s of %s: %v", what, mt, err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, digestOf(t, good), "index.json")); err != nil {
		t.Error("the earlier result is gone")
	}
}

func truncate(t *testing.T, path string, by int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()+by); err != nil {
		t.Fatal(err)
	}
}

// notGzip is a blob whose digest is right and which cannot be unpacked, or whose
// diffID is not its own.
func notGzip(t *testing.T, l result.Layer) result.Layer {
	t.Helper()
	bad := newLayer(t, []byte("\x1f\x8b\x08 no gzip"), types.OCIUncompressedLayer)
	bad.Type, bad.DiffID = l.Type, l.DiffID
	return bad
}

// A configuration that does not fit the layers is refused.
func TestConfigurationMustFitTheLayers(t *testing.T) {
	b := newBase(t)
	l := newLayer(t, tarOf(t, "a"), types.OCIUncompressedLayer)
	other := newLayer(t, tarOf(t, "b"), types.OCIUncompressedLayer)
	history := b.Config
	history.History = []ocispecs.History{{CreatedBy: "one of two"}}
	short, err := json.Marshal(history)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		added  []result.Layer
		config []byte
		want   string
	}{
		"too few diffIDs":  {[]result.Layer{l}, config(t, b), "2 diffIDs for 3 layers"},
		"another diffID":   {[]result.Layer{l}, config(t, b, other), "the layer has"},
		"too many diffIDs": {nil, config(t, b, l), "3 diffIDs for 2 layers"},
		"short history":    {nil, short, "1 history entries for 2 layers"},
		"no JSON":          {nil, []byte("{"), "parse configuration"},
	} {
		if _, err := result.New(b, c.added, c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// CONTRACT 4: consumers do not accept zstd, so such a layer is unpacked.
func TestZstdLayersAreUnpacked(t *testing.T) {
	plain := tarOf(t, "some content")
	l := newLayer(t, plain, types.OCILayerZStd)
	if err := l.Normalize(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(l.Path)
	if err != nil || !bytes.Equal(data, plain) || l.Type != types.OCIUncompressedLayer || l.Blob != l.DiffID || l.Bytes != int64(len(plain)) {
		t.Errorf("%+v %v", l, err)
	}
	odd := result.Layer{Type: "application/x-odd"}
	if err := odd.Normalize(t.Context()); err == nil || !strings.Contains(err.Error(), "application/x-odd") {
		t.Errorf("odd media type: %v", err)
	}
}

// A whole image in a layout is complete, replaces what was there, and a
// directory with something else in it is left alone.
func TestLayoutOutput(t *testing.T) {
	b := newBase(t)
	out := filepath.Join(t.TempDir(), "a", "b")
	for _, content := range []string{"one", "two"} {
		img := newImage(t, b, newLayer(t, tarOf(t, content), types.OCILayer))
		o, err := result.ParseOutput("oci:"+out, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := deliver(t, img, result.Destinations{Outputs: []result.Output{o}}); err != nil {
			t.Fatal(err)
		}
		index, err := layout.ImageIndexFromPath(out)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index); err != nil {
			t.Error(err)
		}
		m, err := index.IndexManifest()
		if err != nil || len(m.Manifests) != 1 || m.Manifests[0].Digest.String() != digestOf(t, img) {
			t.Errorf("index %+v %v", m, err)
		}
		if blobs, _ := os.ReadDir(filepath.Join(out, "blobs", "sha256")); len(blobs) != 5 {
			t.Errorf("%d blobs, want 3 layers, a configuration and a manifest", len(blobs))
		}
	}
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := result.ParseOutput("oci:"+occupied, nil); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("an occupied directory: %v", err)
	}
}

// A run that fails leaves the layout that was there, and none that was not.
func TestFailedRunKeepsTheLayoutThatWasThere(t *testing.T) {
	b := newBase(t)
	there, absent := filepath.Join(t.TempDir(), "there"), filepath.Join(t.TempDir(), "absent")
	first := newImage(t, b, newLayer(t, tarOf(t, "one"), types.OCILayer))
	if err := deliver(t, first, result.Destinations{Outputs: []result.Output{{Layout: there}}}); err != nil {
		t.Fatal(err)
	}
	second := newImage(t, b, newLayer(t, tarOf(t, "two"), types.OCILayer))
	err := deliver(t, second, result.Destinations{Outputs: []result.Output{
		{Layout: there}, {Layout: absent}, {Reference: "127.0.0.1:1/nobody/listens:here"},
	}})
	if err == nil || !strings.Contains(err.Error(), "push to 127.0.0.1:1/nobody/listens:here") {
		t.Errorf("error %v", err)
	}
	index, err := layout.ImageIndexFromPath(there)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	if m, _ := index.IndexManifest(); m.Manifests[0].Digest.String() != digestOf(t, first) {
		t.Error("the layout names another image")
	}
	if _, err := os.Stat(absent); err == nil {
		t.Error("a layout that was not there has been begun")
	}
}

func TestOutputsMustBeNamed(t *testing.T) {
	for _, s := range []string{"", "dir", "oci:", "registry:", "docker:x", "registry:UPPER"} {
		if _, err := result.ParseOutput(s, nil); err == nil || !strings.Contains(err.Error(), "output") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// What a killed run left is removed by the next; what a living one uses is not.
func TestStaleStagesAreRemovedAndLivingOnesStay(t *testing.T) {
	dir := t.TempDir()
	living, err := result.NewStage(dir)
	if err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(dir, ".graft-stale")
	if err := os.MkdirAll(filepath.Join(stale, "received"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	next, err := result.NewStage(dir)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{stale: false, living.Path(): true, next.Path(): true, filepath.Join(dir, "other"): true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it to stay: %v", path, err, want)
		}
	}
	for _, s := range []*result.Stage{living, next} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.Path()); err == nil {
			t.Errorf("%s is still there", s.Path())
		}
	}
}

// A cancelled hand-over changes nothing.
func TestCancelledDeliveryChangesNothing(t *testing.T) {
	b := newBase(t)
	dir := filepath.Join(t.TempDir(), "extended", "run")
	stage, err := result.NewStage(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, img := range []*result.Image{newImage(t, b), newImage(t, b, newLayer(t, tarOf(t, "x"), types.OCILayer))} {
		if err := img.Deliver(ctx, stage, result.Destinations{Extended: dir}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("there is a result")
	}
}
