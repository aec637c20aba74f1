package chain_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
	"github.com/graft-cnb/graft/dockerfile/engine"
)

// A cache whose registry falls silent in the midst, while it is read or written, is given
// up with a warning.
func TestCacheOfARegistryThatFallsSilent(t *testing.T) {
	address := os.Getenv("BUILDKIT_HOST")
	need(t, address == "", "the embedded engine, and so no BUILDKIT_HOST: a daemon has patience of its own")
	base := asLayout(t, makeBase(t, baseOptions{}))
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	ended := make(chan struct{})
	var hangs atomic.Value // of func(*http.Request) bool
	hangs.Store(func(*http.Request) bool { return false })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load().(func(*http.Request) bool)(r) {
			select {
			case <-r.Context().Done():
			case <-ended:
			}
			return
		}
		store.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { close(ended); server.Close() })
	cache := strings.TrimPrefix(server.URL, "http://") + "/cache"
	from, err := chain.ParseCacheFrom([]string{cache})
	if err != nil {
		t.Fatal(err)
	}
	to, err := chain.ParseCacheTo([]string{cache})
	if err != nil {
		t.Fatal(err)
	}
	run := func(from, to []chain.Cache) *harness {
		h := withEngine(t)
		state := filepath.Join(t.TempDir(), "state")
		h.Engine = func(ctx context.Context) (chain.Engine, error) {
			return engine.Open(ctx, "", engine.Options{StateDir: state, Silence: 300 * time.Millisecond})
		}
		h.CacheSilence = 5 * time.Second // not what ends it
		h.CacheFrom = map[dockerfile.Kind][]chain.Cache{dockerfile.KindBuild: from}
		h.CacheTo = map[dockerfile.Kind][]chain.Cache{dockerfile.KindBuild: to}
		got := apply(t, h, dockerfile.Application{
			Kind: dockerfile.KindBuild, Base: base,
			Steps: steps(t, dockerfile.KindBuild, "ARG base_image\nFROM ${base_image}\nUSER root\nRUN echo yes >/file\n"),
		})
		if got.applied.Layers != 1 {
			t.Errorf("%d layers were added", got.applied.Layers)
		}
		return h
	}
	if h := run(nil, to); len(h.warnings) > 0 {
		t.Fatalf("warnings %q", h.warnings)
	}
	for what, c := range map[string]struct {
		hangs    func(*http.Request) bool
		from, to []chain.Cache
	}{
		"reading": {func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
		}, from, nil},
		"beginning to write": {func(r *http.Request) bool { return r.Method == http.MethodPost }, nil, to},
		"writing":            {func(r *http.Request) bool { return r.Method == http.MethodPut }, nil, to},
	} {
		t.Run(what, func(t *testing.T) {
			hangs.Store(c.hangs)
			h := run(c.from, c.to)
			if len(h.warnings) != 1 || !strings.Contains(h.warnings[0], cache) {
				t.Errorf("warnings %q", h.warnings)
			}
		})
	}
}
