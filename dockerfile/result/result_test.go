package result_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile/result"
)

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
	end := sync.OnceFunc(func() { close(stop); <-done })
	defer end()
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
	end()
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
	if err := l.Normalize(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(l.Path)
	if err != nil || !bytes.Equal(data, plain) || l.Type != types.OCIUncompressedLayer || l.Blob != l.DiffID || l.Bytes != int64(len(plain)) {
		t.Errorf("%+v %v", l, err)
	}
	odd := result.Layer{Type: "application/x-odd"}
	if err := odd.Normalize(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "application/x-odd") {
		t.Errorf("odd media type: %v", err)
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
	d, err := newImage(t, b).Prepare(ctx, stage, result.Destinations{Extended: dir})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := result.Deliver(ctx, d); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	added := newImage(t, b, newLayer(t, tarOf(t, "x"), types.OCILayer))
	if _, err := added.Prepare(ctx, stage, result.Destinations{Extended: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("there is a result")
	}
}

// Of two images that are delivered together none becomes visible when the second
// one's push fails, and a layout that was begun for the first is gone.
func TestDeliveriesThatFailTogether(t *testing.T) {
	b := newBase(t)
	dir := t.TempDir()
	stage, err := result.NewStage(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	first, err := newImage(t, b).Prepare(t.Context(), stage, result.Destinations{
		Extended: filepath.Join(dir, "build"), Outputs: []result.Output{{Layout: filepath.Join(dir, "whole")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	second, err := newImage(t, b).Prepare(t.Context(), stage, result.Destinations{
		Outputs: []result.Output{{Reference: "127.0.0.1:1/nobody/there"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := result.Deliver(t.Context(), first, second); err == nil {
		t.Fatal("a push to nobody has succeeded")
	}
	for _, name := range []string{"build", "whole"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("there is %s", name)
		}
	}
}
