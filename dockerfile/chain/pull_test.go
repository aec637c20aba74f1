package chain_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
)

// A registry that falls silent while the engine pulls from it is given up and named:
// neither the embedded engine nor a daemon would.
func TestRegistryThatFallsSilentToTheEngine(t *testing.T) {
	for where, withAny := range map[string]func(t *testing.T) *harness{
		"embedded": withEngine,
		"buildkitd": func(t *testing.T) *harness {
			h := newHarness(t)
			socket := daemon(t)
			h.Engine = func(context.Context) (chain.Engine, error) {
				return &metered{socket: socket, received: &atomic.Int64{}}, nil
			}
			return h
		},
	} {
		t.Run(where, func(t *testing.T) {
			h := withAny(t)
			h.Keychain, h.PullSilence = keychain{}, 10*time.Second // of other requests, too
			image := neverSeen(t, makeBase(t, baseOptions{}))
			w, host := startWatched(t, image)
			layers, err := image.Layers()
			if err != nil {
				t.Fatal(err)
			}
			silent, err := layers[0].Digest()
			if err != nil {
				t.Fatal(err)
			}
			w.Handler = silentAbout(t, w.Handler, silent.String())
			_, err = h.Apply(t.Context(), dockerfile.Application{
				Kind:  dockerfile.KindBuild,
				Base:  host + "/some/base:v1",
				Steps: steps(t, dockerfile.KindBuild, from+"RUN true\n"),
			})
			if err == nil || !strings.Contains(err.Error(), "does not answer the engine") || !strings.Contains(err.Error(), silent.String()) ||
				!strings.Contains(err.Error(), host) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// silentAbout begins to answer requests for a digest, and then sends no more.
func silentAbout(t *testing.T, inner http.Handler, digest string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, digest) {
			inner.ServeHTTP(w, r)
			return
		}
		whole := httptest.NewRecorder()
		inner.ServeHTTP(whole, r)
		content, err := io.ReadAll(whole.Result().Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:len(content)/2]) // a client that has gone has enough
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(5 * patience): // the engine has given up long before
		}
	})
}
