package base_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile/base"
)

func image(t *testing.T, os, arch string) v1.Image {
	t.Helper()
	img, err := random.Image(512, 2)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = os, arch
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

func writeLayout(t *testing.T, add func(layout.Path) error) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := add(p); err != nil {
		t.Fatal(err)
	}
	return dir
}

func index(images ...v1.Image) v1.ImageIndex {
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		file, _ := img.ConfigFile()
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: file.OS, Architecture: file.Architecture},
		}})
	}
	return idx
}

func hash(t *testing.T, img v1.Image) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// The single image of a layout is taken whatever its platform; from an index the
// one for this machine, also when the index lies in another one.
func TestLayoutPicksTheImage(t *testing.T) {
	arm, host := image(t, "linux", "s390x"), image(t, "linux", runtime.GOARCH)
	for what, c := range map[string]struct {
		add  func(layout.Path) error
		want v1.Image
	}{
		"a single one":      {func(p layout.Path) error { return p.AppendImage(arm) }, arm},
		"two side by side":  {func(p layout.Path) error { return errors.Join(p.AppendImage(arm), p.AppendImage(host)) }, host},
		"an index of two":   {func(p layout.Path) error { return p.AppendIndex(index(arm, host)) }, host},
		"an index with one": {func(p layout.Path) error { return p.AppendIndex(index(arm)) }, arm},
		"an attestation": {func(p layout.Path) error {
			return errors.Join(p.AppendImage(arm, layout.WithAnnotations(map[string]string{"vnd.docker.reference.type": "attestation-manifest"})), p.AppendImage(host))
		}, host},
	} {
		b, err := base.Open(t.Context(), "oci:"+writeLayout(t, c.add), base.Options{})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if b.Digest.String() != hash(t, c.want) || !strings.HasSuffix(b.Name, "@"+b.Digest.String()) {
			t.Errorf("%s: got %s as %s", what, b.Digest, b.Name)
		}
	}
}

// What is not a usable layout is said in words that name the directory.
func TestLayoutErrors(t *testing.T) {
	plain := t.TempDir()
	version := writeLayout(t, func(p layout.Path) error { return p.AppendImage(image(t, "linux", "amd64")) })
	write(t, filepath.Join(version, "oci-layout"), `{"imageLayoutVersion":"9"}`)
	broken := writeLayout(t, func(p layout.Path) error { return p.AppendImage(image(t, "linux", "amd64")) })
	write(t, filepath.Join(broken, "index.json"), `{`)
	hollow := writeLayout(t, func(p layout.Path) error { return p.AppendImage(image(t, "linux", "amd64")) })
	if err := os.RemoveAll(filepath.Join(hollow, "blobs")); err != nil {
		t.Fatal(err)
	}
	for dir, c := range map[string]struct {
		is   error
		says string
	}{
		plain:                {base.ErrNotLayout, "no file oci-layout"},
		plain + "/missing":   {base.ErrNotLayout, "no directory"},
		version:              {base.ErrNotLayout, `version "9"`},
		broken:               {nil, "parse index"},
		hollow:               {nil, "no such file"},
		writeLayout(t, none): {base.ErrNoImage, "empty"},
		writeLayout(t, func(p layout.Path) error {
			return p.AppendIndex(index(image(t, "linux", "s390x"), image(t, "linux", "ppc64le")))
		}): {base.ErrNoImage, "linux/s390x, linux/ppc64le"},
		writeLayout(t, func(p layout.Path) error { return p.AppendImage(image(t, "windows", "amd64")) }): {base.ErrUnsupported, "windows"},
	} {
		_, err := base.Open(t.Context(), "oci:"+dir, base.Options{})
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want %q", dir, err, c.says)
		}
	}
}

func none(layout.Path) error { return nil }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A tag is resolved to the digest of the image for this machine; its layers can
// be pulled by the name that results.
func TestRegistryResolvesTagsAndIndexes(t *testing.T) {
	host := serve(t, registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	other, mine := image(t, "linux", "s390x"), image(t, "linux", runtime.GOARCH)
	ref, err := name.ParseReference(host + "/some/app:tag")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index(other, mine)); err != nil {
		t.Fatal(err)
	}
	b, err := base.Open(t.Context(), ref.Name(), base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := host + "/some/app@" + hash(t, mine); b.Name != want {
		t.Errorf("name %s, want %s", b.Name, want)
	}
	again, err := base.Open(t.Context(), b.Name, base.Options{Platform: &ocispecs.Platform{OS: "linux", Architecture: "none"}})
	if err != nil || again.Digest != b.Digest {
		t.Errorf("by digest: %v %v", again, err)
	}
	layers, err := b.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := layers[0].(*remote.MountableLayer); !ok {
		t.Errorf("layers are %T: a push could not mount them", layers[0])
	}
}

// What a registry refuses is told apart and named.
func TestRegistryErrors(t *testing.T) {
	deny := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			http.Error(w, fmt.Sprintf(`{"errors":[{"code":"X","message":"code %d"}]}`, code), code)
		})
	}
	for code, want := range map[int]error{
		http.StatusNotFound: base.ErrNotFound, http.StatusUnauthorized: base.ErrUnauthorized, http.StatusForbidden: base.ErrUnauthorized,
	} {
		host := serve(t, deny(code))
		_, err := base.Open(t.Context(), host+"/a/b:c", base.Options{})
		if !errors.Is(err, want) || !strings.Contains(err.Error(), host+"/a/b:c") {
			t.Errorf("%d: %v", code, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := base.Open(ctx, serve(t, deny(200))+"/a", base.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// The store serves every blob of the image, fetches a layer of a registry once,
// and leaves nothing behind.
func TestStoreServesEveryBlobAndFetchesLayersOnce(t *testing.T) {
	gets := 0
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			gets++
		}
		inner.ServeHTTP(w, r)
	}))
	img := image(t, "linux", "amd64")
	ref, err := name.ParseReference(host + "/a:b")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	fromLayout := "oci:" + writeLayout(t, func(p layout.Path) error { return p.AppendImage(img) })
	for _, source := range []string{host + "/a:b", fromLayout} {
		b, err := base.Open(t.Context(), source, base.Options{})
		if err != nil {
			t.Fatal(err)
		}
		temp := t.TempDir()
		s := b.Store(temp)
		gets = 0
		for range 2 {
			blobs := []v1.Descriptor{{Digest: b.Digest, Size: int64(len(b.RawManifest))}, b.Manifest.Config}
			for _, d := range append(blobs, b.Manifest.Layers...) {
				readBlob(t, s, d)
			}
		}
		if source != fromLayout && gets != 2 {
			t.Errorf("%d layers were fetched, want 2", gets)
		}
		if _, err := s.Info(t.Context(), digest.FromString("other")); err == nil {
			t.Error("a blob that is not the image's was found")
		}
		if _, err := s.Writer(t.Context()); err == nil {
			t.Error("a base can be written to")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func readBlob(t *testing.T, s *base.Store, want v1.Descriptor) {
	t.Helper()
	r, err := s.ReaderAt(t.Context(), ocispecs.Descriptor{Digest: digest.Digest(want.Digest.String())})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data := make([]byte, r.Size())
	if _, err := r.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if got := digest.FromBytes(data).String(); got != want.Digest.String() || r.Size() != want.Size {
		t.Errorf("blob %s: %d bytes with digest %s", want.Digest, r.Size(), got)
	}
}
