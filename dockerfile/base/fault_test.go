package base_test

import (
	"io"
	"log"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/graft-cnb/graft/dockerfile/base"
)

// faultyRegistry holds an image as some/app:tag, and fails as fault says.
func faultyRegistry(t *testing.T, fault func(w http.ResponseWriter, r *http.Request) (failed bool)) (reference, digest string) {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var faulty atomic.Bool
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !faulty.Load() || !fault(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	ref, err := name.ParseReference(host + "/some/app:tag")
	if err != nil {
		t.Fatal(err)
	}
	img := image(t, "linux", runtime.GOARCH)
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	faulty.Store(true)
	return ref.Name(), hash(t, img)
}

// hangUp resets the connection.
func hangUp(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// A registry that fails for a moment is asked again.
func TestFaultsOfAMomentAreRetried(t *testing.T) {
	for what, fail := range map[string]func(http.ResponseWriter){
		"429":   func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) },
		"500":   func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"503":   func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"reset": hangUp,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var failures atomic.Int32
			reference, digest := faultyRegistry(t, func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/manifests/") && failures.Add(1) == 1 {
					fail(w)
					return true
				}
				return false
			})
			img, err := base.Open(t.Context(), reference, base.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if img.Digest.String() != digest || failures.Load() < 2 {
				t.Errorf("got %s after %d requests", img.Digest, failures.Load())
			}
		})
	}
}

// A registry that falls silent, before or in the midst of an answer, is given up
// and named.
func TestSilentRegistryIsGivenUp(t *testing.T) {
	for what, begin := range map[string]bool{"at once": false, "in the midst": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			reference, _ := faultyRegistry(t, func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/manifests/") {
					return false
				}
				if begin {
					w.Header().Set("Content-Length", "1000")
					_, _ = io.WriteString(w, "{")
					w.(http.Flusher).Flush()
				}
				select {
				case <-r.Context().Done():
				case <-time.After(5 * time.Minute): // it was given up long before
				}
				return true
			})
			start := time.Now()
			_, err := base.Open(t.Context(), reference, base.Options{Silence: 200 * time.Millisecond})
			if err == nil || !strings.Contains(err.Error(), "does not answer") || !strings.Contains(err.Error(), reference) {
				t.Errorf("error %v", err)
			}
			if took := time.Since(start); took > time.Minute { // the registry is silent for longer
				t.Errorf("it took %v", took)
			}
		})
	}
}

// What a registry sends in place of what its digest says is refused.
func TestWrongContentIsRefused(t *testing.T) {
	for _, part := range []string{"/manifests/sha256:", "/blobs/"} {
		reference, digest := faultyRegistry(t, func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, part) {
				return false
			}
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
			_, _ = io.WriteString(w, `{"schemaVersion":2}`)
			return true
		})
		_, err := base.Open(t.Context(), strings.TrimSuffix(reference, ":tag")+"@"+digest, base.Options{})
		if err == nil || !strings.Contains(err.Error(), "sha256:") || !strings.Contains(err.Error(), digest) {
			t.Errorf("%s: error %v", part, err)
		}
	}
}
