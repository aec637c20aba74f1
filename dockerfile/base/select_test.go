package base_test

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/graft-cnb/graft/dockerfile/base"
)

// refName is how tools name an image in a layout.
func refName(name string) layout.Option {
	return layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name})
}

// archived is a directory as a tar file.
func archived(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "layout.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}

// Of several images for one platform the first was taken, and nothing said. Now it has to be
// named, or known by its digest.
func TestLayoutWithSeveralImages(t *testing.T) {
	one, two, nested := image(t, "linux", runtime.GOARCH), image(t, "linux", runtime.GOARCH), image(t, "linux", runtime.GOARCH)
	foreign := image(t, "linux", "s390x")
	inner := index(foreign, nested)
	innerDigest, err := inner.Digest()
	if err != nil {
		t.Fatal(err)
	}
	dir := writeLayout(t, func(p layout.Path) error {
		return errors.Join(
			p.AppendImage(one, refName("one")), p.AppendImage(two, refName("registry.example/two:tag")),
			p.AppendImage(foreign, refName("one")), p.AppendImage(foreign, refName("foreign")), p.AppendIndex(inner, refName("nested")))
	})
	for prefix, path := range map[string]string{"oci:": dir, "oci-archive:": archived(t, dir)} {
		_, err := base.Open(t.Context(), prefix+path, base.Options{})
		if !errors.Is(err, base.ErrAmbiguous) {
			t.Errorf("%s%s: error %v", prefix, path, err)
			continue
		}
		for _, text := range []string{hash(t, one) + " one", hash(t, two) + " registry.example/two:tag", innerDigest.String() + " nested", prefix + path + ":NAME", prefix + path + "@sha256:DIGEST"} {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("error %v does not say %q", err, text)
			}
		}
		for sel, want := range map[string]v1.Image{
			":one":                      one, // of this platform
			":registry.example/two:tag": two,
			":nested":                   nested,
			":foreign":                  foreign,
			"@" + hash(t, two):          two,
			"@" + hash(t, nested):       nested,
			"@" + hash(t, foreign):      foreign,
			"@" + innerDigest.String():  nested,
		} {
			img, err := base.Open(t.Context(), prefix+path+sel, base.Options{})
			if err != nil {
				t.Errorf("%s: %v", sel, err)
				continue
			}
			if img.Digest.String() != hash(t, want) {
				t.Errorf("%s%s gives %s", prefix, sel, img.Digest)
			}
			if prefix == "oci:" && img.Layout != dir {
				t.Errorf("%s lies in %s", sel, img.Layout)
			}
		}
		for sel, text := range map[string]string{
			":other":                             "registry.example/two:tag",
			"@sha256:" + strings.Repeat("0", 64): hash(t, one),
			"@sha256:" + strings.Repeat("0", 63): "no digest",
		} {
			if _, err := base.Open(t.Context(), prefix+path+sel, base.Options{}); err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s%s: error %v", prefix, sel, err)
			}
		}
	}
}

// An image with two names is one image, and a directory whose name has a colon is one.
func TestLayoutWithOneImage(t *testing.T) {
	img := image(t, "linux", runtime.GOARCH)
	dir := writeLayout(t, func(p layout.Path) error {
		return errors.Join(p.AppendImage(img, refName("a")), p.AppendImage(img, refName("b")))
	})
	colon := filepath.Join(t.TempDir(), "dir:a")
	if err := os.Rename(dir, colon); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{colon, colon + ":b", colon + "@" + hash(t, img)} {
		if got, err := base.Open(t.Context(), "oci:"+source, base.Options{}); err != nil || got.Digest.String() != hash(t, img) {
			t.Errorf("%s: %v, %v", source, got, err)
		}
	}
}
