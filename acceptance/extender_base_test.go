package acceptance

import (
	"archive/tar"
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// An extended image is a base as good as any. That a layer which is added is the
// same as one of the base's confuses nobody: layers are told by position.
func TestExtendedImageAsBase(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		base := smallBase(t, nil)
		for round := range 3 {
			s := newScene(t, "run", "oci:"+base, e)
			s.step("one", "RUN true", "COPY file /data/", "RUN true", "USER 7")
			s.write("app/file", strings.Repeat("x", round))
			s.succeed("-output", "oci:"+s.path("whole"))
			checkLayers(t, s, openLayout(t, base), 3)
			validateImage(t, openLayout(t, s.path("whole")))
			base = s.path("whole")
		}
		if n := len(manifestOf(t, openLayout(t, base)).Layers); n != 2+3*3 {
			t.Errorf("the last image has %d layers", n)
		}
	})
}

// A base may have no layer, the same one twice, one in another compression, or no
// history.
func TestOddBases(t *testing.T) {
	small := smallImage(t, nil)
	layers, err := small.Layers()
	check(t, err)
	cases := map[string]struct {
		image v1.Image
		line  string
	}{
		"no layer":        {withConfig(t, empty.Image, small), "COPY file /"},
		"one layer twice": {appendLayers(t, small, layers[1], layers[1]), "RUN touch /tmp/x"},
		"zstd":            {appendLayers(t, small, zstdLayer(t)), "RUN cat /of-zstd >/tmp/x"},
		"no history":      {withoutHistory(t, small), "RUN touch /tmp/x"},
	}
	eachEngine(t, func(t *testing.T, e engine) {
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "base")
				writeLayout(t, dir, c.image)
				s := newScene(t, "run", "oci:"+dir, e)
				s.step("one", "USER root", c.line, "USER 7")
				s.write("app/file", "content")
				s.succeed("-output", "oci:"+s.path("whole"))
				checkLayers(t, s, c.image, 1)
				validateImage(t, openLayout(t, s.path("whole")))
			})
		}
	})
}

// withConfig gives an image the config of another but for what is about layers.
func withConfig(t *testing.T, image, of v1.Image) v1.Image {
	t.Helper()
	config := configOf(t, image).DeepCopy()
	other := configOf(t, of)
	config.OS, config.Architecture, config.Config = other.OS, other.Architecture, other.Config
	image, err := mutate.ConfigFile(image, config)
	check(t, err)
	return image
}

func appendLayers(t *testing.T, image v1.Image, layers ...v1.Layer) v1.Image {
	t.Helper()
	for _, layer := range layers {
		mediaType, err := layer.MediaType()
		check(t, err)
		image, err = mutate.Append(image, mutate.Addendum{Layer: layer, MediaType: mediaType, History: v1.History{CreatedBy: "appended"}})
		check(t, err)
	}
	return image
}

func withoutHistory(t *testing.T, image v1.Image) v1.Image {
	t.Helper()
	config := configOf(t, image).DeepCopy()
	config.History = nil
	image, err := mutate.ConfigFile(image, config)
	check(t, err)
	return image
}

// zstdBlob is a layer as it is stored, which knows its diffID.
type zstdBlob struct {
	v1.Layer
	diffID v1.Hash
}

func (b zstdBlob) DiffID() (v1.Hash, error) { return b.diffID, nil }

func zstdLayer(t *testing.T) v1.Layer {
	t.Helper()
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	check(t, w.WriteHeader(&tar.Header{Name: "of-zstd", Mode: 0o644, Size: 2}))
	_, err := w.Write([]byte("x\n"))
	check(t, err)
	check(t, w.Close())
	encoder, err := zstd.NewWriter(nil)
	check(t, err)
	diffID, _ := sum(t, plain.Bytes())
	return zstdBlob{static.NewLayer(encoder.EncodeAll(plain.Bytes(), nil), types.OCILayerZStd), diffID}
}

// Of an index the image for this machine is extended.
func TestBaseOfSeveralPlatforms(t *testing.T) {
	own := smallImage(t, nil)
	config := configOf(t, own).DeepCopy()
	config.Architecture = "s390x"
	foreign, err := mutate.ConfigFile(own, config)
	check(t, err)
	dir := filepath.Join(t.TempDir(), "base")
	path, err := layout.Write(dir, empty.Index)
	check(t, err)
	check(t, path.AppendImage(foreign, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: "s390x"})))
	check(t, path.AppendImage(own, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: goarch})))
	s := newScene(t, "run", "oci:"+dir, embedded(t))
	s.step("one", "RUN touch /tmp/x", "USER 7")
	s.succeed()
	checkLayers(t, s, own, 1)
	if got := configOf(t, s.image()).Architecture; got != goarch {
		t.Errorf("the architecture is %s", got)
	}
	if !slices.Contains(configOf(t, s.image()).Config.Env, "FROM_BASE=yes") {
		t.Error("the base's config is gone")
	}
}
