package chain_test

import (
	"context"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
	"github.com/graft-cnb/graft/dockerfile/engine"
	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

// A cache whose registry falls silent in the midst, while it is read or written, is given
// up with a warning.
func TestCacheOfARegistryThatFallsSilent(t *testing.T) {
	address := os.Getenv("BUILDKIT_HOST")
	needs.That(t, address == "", "the embedded engine, and so no BUILDKIT_HOST: a daemon has patience of its own")
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
	from, to := parsed(t, chain.ParseCacheFrom, cache), parsed(t, chain.ParseCacheTo, cache)
	run := func(silence time.Duration, from, to []chain.Cache) *harness {
		h := withEngine(t)
		state := filepath.Join(t.TempDir(), "state")
		h.Engine = func(ctx context.Context) (chain.Engine, error) {
			return engine.Open(ctx, "", engine.Options{StateDir: state, Silence: silence})
		}
		h.CacheSilence = patience // not what ends it
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
	if h := run(0, nil, to); len(h.warnings) > 0 {
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
			h := run(300*time.Millisecond, c.from, c.to)
			if len(h.warnings) != 1 || !strings.Contains(h.warnings[0], cache) {
				t.Errorf("warnings %q", h.warnings)
			}
		})
	}
}

// A cache in a registry that works with tokens, and whose certificate a private authority
// has signed, like that of the service which gives the tokens: neither the engine nor this
// process needs more than that authority, and the engine gets no more than tokens.
func TestCacheInPrivateRegistryWithTokens(t *testing.T) {
	needs.That(t, os.Getenv("BUILDKIT_HOST") == "", "the embedded engine, and so no BUILDKIT_HOST: a daemon trusts whom it is told to")
	r := &tokenRegistry{registry: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	server := httptest.NewTLSServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL
	cache := strings.TrimPrefix(server.URL, "https://") + "/cache"
	base := asLayout(t, makeBase(t, baseOptions{}))
	run := func(change func(h *harness)) extended {
		h := withEngine(t)
		state := filepath.Join(t.TempDir(), "state")
		authority := []*x509.Certificate{server.Certificate()}
		h.Engine = func(ctx context.Context) (chain.Engine, error) {
			return engine.Open(ctx, "", engine.Options{StateDir: state, RegistryCA: authority})
		}
		h.RegistryCA = authority
		h.Keychain = identity{authn.AuthConfig{Username: "user", Password: password}}
		change(h)
		got := apply(t, h, dockerfile.Application{
			Kind: dockerfile.KindBuild, Base: base,
			Steps: steps(t, dockerfile.KindBuild, from+"USER root\nRUN cat /proc/sys/kernel/random/uuid >/file\n"),
		})
		if len(h.warnings) > 0 {
			t.Errorf("warnings %q", h.warnings)
		}
		assertNowhere(t, password, h, got)
		return got
	}
	kind := dockerfile.KindBuild
	first := run(func(h *harness) {
		h.CacheTo = map[dockerfile.Kind][]chain.Cache{kind: parsed(t, chain.ParseCacheTo, cache)}
	})
	second := run(func(h *harness) {
		h.CacheFrom = map[dockerfile.Kind][]chain.Cache{kind: parsed(t, chain.ParseCacheFrom, cache)}
	})
	if first.files["/file"] != second.files["/file"] || first.files["/file"].content == "" {
		t.Errorf("the RUN gave %q and %q", first.files["/file"].content, second.files["/file"].content)
	}
	for _, agent := range r.agents {
		if strings.Contains(agent, "buildkit") {
			t.Errorf("the engine asked for a token itself: %s", agent)
		}
	}
}

// The last instruction that came from a shared cache was "done", in as many seconds as it
// took to fetch its layer. And everything was "cached" where a cache was written and a
// context read.
func TestWhatComesFromASharedCacheIsCached(t *testing.T) {
	needs.That(t, os.Getenv("BUILDKIT_HOST") == "", "the embedded engine, and so no BUILDKIT_HOST: a daemon keeps what it has made")
	base, dir := asLayout(t, makeBase(t, baseOptions{})), t.TempDir()
	app := dockerfile.Application{
		Kind: dockerfile.KindBuild, Base: base,
		Steps: steps(t, dockerfile.KindBuild, from+"RUN echo one >/one\nCOPY file /file\nRUN echo two >/two\n"),
	}
	if err := os.WriteFile(filepath.Join(app.Steps[0].Context, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(change func(h *harness)) (outcomes []dockerfile.Outcome) {
		h := withEngine(t)
		state := filepath.Join(t.TempDir(), "state")
		h.Engine = func(ctx context.Context) (chain.Engine, error) {
			return engine.Open(ctx, "", engine.Options{StateDir: state})
		}
		change(h)
		for _, in := range apply(t, h, app).applied.Steps[0].Instructions {
			outcomes = append(outcomes, in.Outcome)
			if (in.Seconds > 0) != (in.Outcome == dockerfile.OutcomeDone) {
				t.Errorf("%s is %s after %v seconds", in.Text, in.Outcome, in.Seconds)
			}
		}
		return outcomes
	}
	kind := dockerfile.KindBuild
	first := run(func(h *harness) {
		h.CacheTo = map[dockerfile.Kind][]chain.Cache{kind: parsed(t, chain.ParseCacheTo, "type=local,dest="+dir)}
	})
	second := run(func(h *harness) {
		h.CacheFrom = map[dockerfile.Kind][]chain.Cache{kind: parsed(t, chain.ParseCacheFrom, "type=local,src="+dir)}
	})
	done, cached := dockerfile.OutcomeDone, dockerfile.OutcomeCached
	if !slices.Equal(first, []dockerfile.Outcome{done, done, done}) || !slices.Equal(second, []dockerfile.Outcome{cached, cached, cached}) {
		t.Errorf("first %v, then %v", first, second)
	}
}

// parsed is one cache.
func parsed(t *testing.T, parse func(values, known []string) ([]chain.Cache, error), value string) []chain.Cache {
	t.Helper()
	caches, err := parse([]string{value}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return caches
}
