package result_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graft-cnb/graft/dockerfile/base"
	"github.com/graft-cnb/graft/dockerfile/result"
)

// pushStages are the requests that a push is made of.
var pushStages = map[string]func(r *http.Request) bool{
	"looking for a blob": func(r *http.Request) bool {
		return r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/")
	},
	"beginning an upload": func(r *http.Request) bool { return r.Method == http.MethodPost },
	"sending a blob":      func(r *http.Request) bool { return r.Method == http.MethodPatch },
	"finishing an upload": func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/")
	},
	"sending the manifest": func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
	},
}

// faultyRegistry is a registry in which fault may answer a request, and says so. It returns
// the reference to push to.
func faultyRegistry(t *testing.T, fault func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fault(w, r) {
			store.ServeHTTP(w, r)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections are reset
	server.Start()
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/some/app:tag"
}

// A push survives a registry that is overloaded, fails or hangs up for a moment, at
// whatever stage of it.
func TestPushSurvivesFaultsOfAMoment(t *testing.T) {
	b := newBase(t)
	faults := map[string]func(w http.ResponseWriter, r *http.Request){
		"429": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		// Whose body says more than the status: it was not tried again.
		"500 with a code": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"errors":[{"code":"INTERNAL_ERROR","message":"x"}]}`)
		},
		"429 without a code": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"errors":[{"message":"slower"}]}`)
		},
		"503": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"reset": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 100) // in the midst
			panic(http.ErrAbortHandler)
		},
	}
	for stage, is := range pushStages {
		for what, fail := range faults {
			t.Run(stage+" "+what, func(t *testing.T) {
				t.Parallel()
				var failures atomic.Int32
				reference := faultyRegistry(t, func(w http.ResponseWriter, r *http.Request) bool {
					if !is(r) || failures.Add(1) > 1 {
						return false
					}
					fail(w, r)
					return true
				})
				img := newImage(t, b, newLayer(t, tarOf(t, strings.Repeat("content", 100)), types.OCIUncompressedLayer))
				if err := deliver(t, img, result.Destinations{Outputs: []result.Output{{Reference: reference}}}); err != nil {
					t.Fatal(err)
				}
				if failures.Load() < 2 {
					t.Errorf("after a failure there were %d requests", failures.Load())
				}
				ref, err := name.ParseReference(reference)
				if err != nil {
					t.Fatal(err)
				}
				desc, err := remote.Get(ref)
				if err != nil || desc.Digest.String() != digestOf(t, img) {
					t.Errorf("the registry has %v (%v)", desc, err)
				}
			})
		}
	}
}

// A registry that falls silent in the midst of a push is given up and named, at whatever
// stage; so is one that goes on failing.
func TestPushGivesUp(t *testing.T) {
	b := newBase(t)
	for stage, is := range pushStages {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{})
			var reached atomic.Bool
			reference := faultyRegistry(t, func(_ http.ResponseWriter, r *http.Request) bool {
				if !is(r) {
					return false
				}
				reached.Store(true)
				select {
				case <-ended:
				case <-r.Context().Done():
				}
				return true
			})
			t.Cleanup(func() { close(ended) }) // before the server ends, which waits
			img := newImage(t, b, newLayer(t, tarOf(t, "content"), types.OCIUncompressedLayer))
			err := deliver(t, img, result.Destinations{
				Outputs:  []result.Output{{Reference: reference}},
				Registry: base.Options{Silence: 2 * time.Second}, // of the stages before, too,
			})
			if err == nil || !strings.Contains(err.Error(), "push to "+reference) || !strings.Contains(err.Error(), "does not answer") {
				t.Errorf("error %v", err)
			}
			if !reached.Load() {
				t.Errorf("it was given up before that: %v", err)
			}
		})
	}
	t.Run("for ever", func(t *testing.T) {
		t.Parallel()
		reference := faultyRegistry(t, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				http.Error(w, "no space left", http.StatusInternalServerError)
			}
			return r.Method == http.MethodPut
		})
		img := newImage(t, b, newLayer(t, tarOf(t, "content"), types.OCIUncompressedLayer))
		err := deliver(t, img, result.Destinations{Outputs: []result.Output{{Reference: reference}}})
		if err == nil || !strings.Contains(err.Error(), "push to "+reference) || !strings.Contains(err.Error(), "500") {
			t.Errorf("error %v", err)
		}
	})
}
