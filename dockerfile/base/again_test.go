package base_test

import (
	"io"
	"log"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/graft-cnb/graft/dockerfile/base"
)

// halved sends half of an answer, and resets the connection.
type halved struct{ http.ResponseWriter }

func (h halved) Write(p []byte) (int, error) {
	_, _ = h.ResponseWriter.Write(p[:len(p)/2])
	h.ResponseWriter.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// cutRegistry holds an image, and cuts what has part in its path off so many times; asked
// counts how often that is asked for.
func cutRegistry(t *testing.T, img v1.Image, part string, times int32) (reference string, asked *atomic.Int32) {
	t.Helper()
	asked = &atomic.Int32{}
	var faulty atomic.Bool
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if faulty.Load() && r.Method == http.MethodGet && strings.Contains(r.URL.Path, part) && asked.Add(1) <= times {
			w = halved{w}
		}
		inner.ServeHTTP(w, r)
	}))
	ref, err := name.ParseReference(host + "/some/app:tag")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	faulty.Store(true)
	return ref.Name(), asked
}

// What was cut off once in the midst, metadata or a layer, was not asked for again.
func TestWhatIsCutOffIsAskedForAgain(t *testing.T) {
	img := image(t, "linux", runtime.GOARCH)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layer := manifest.Layers[0]
	for what, part := range map[string]string{
		"manifest": "/manifests/", "configuration": manifest.Config.Digest.String(), "layer": layer.Digest.String(),
	} {
		for _, times := range []int32{1, 2} {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				reference, asked := cutRegistry(t, img, part, times)
				b, err := base.Open(t.Context(), reference, base.Options{})
				if err != nil {
					t.Fatal(err)
				}
				s := b.Store(t.TempDir())
				defer s.Close()
				readBlob(t, s, layer)
				if n := asked.Load(); n != times+1 {
					t.Errorf("it was asked for %d times", n)
				}
				layers, err := b.Layers()
				if err != nil {
					t.Fatal(err)
				}
				plain, err := layers[0].Uncompressed()
				if err != nil {
					t.Fatal(err)
				}
				defer plain.Close()
				if _, err := io.Copy(io.Discard, plain); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A layer that is always cut off is given up, and says so once; one that is another is not
// asked for again.
func TestLayerThatDoesNotCome(t *testing.T) {
	img := image(t, "linux", runtime.GOARCH)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layer := manifest.Layers[0].Digest.String()
	t.Run("cut off", func(t *testing.T) {
		t.Parallel()
		reference, asked := cutRegistry(t, img, layer, 100)
		err := readLayer(t, reference)
		if err == nil || !strings.Contains(err.Error(), "unexpected EOF") && !strings.Contains(err.Error(), "reset") {
			t.Errorf("error %v", err)
		}
		if n := asked.Load(); n != 4 {
			t.Errorf("it was asked for %d times", n)
		}
	})
	t.Run("another", func(t *testing.T) {
		t.Parallel()
		var asked atomic.Int32
		reference, _ := faultyRegistry(t, func(w http.ResponseWriter, r *http.Request) bool {
			// The layer follows the configuration.
			if !strings.Contains(r.URL.Path, "/blobs/") || asked.Add(1) == 1 {
				return false
			}
			_, _ = w.Write(make([]byte, 1<<16))
			return true
		})
		if err := readLayer(t, reference); err == nil || !strings.Contains(err.Error(), "sha256") {
			t.Errorf("error %v", err)
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("it was asked for %d times", n-1)
		}
	})
}

// readLayer reads the first layer of an image.
func readLayer(t *testing.T, reference string) error {
	t.Helper()
	b, err := base.Open(t.Context(), reference, base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Layer(0)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}
