package chain_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/graft-cnb/graft/dockerfile"
)

// watched is a registry in this process that wants a password and counts.
type watched struct {
	http.Handler
	mu       sync.Mutex
	requests []string
}

const password = "pa55-w0rd-of-the-registry"

func (w *watched) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if u, p, _ := r.BasicAuth(); u != "user" || p != password {
		rw.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(rw, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		return
	}
	w.mu.Lock()
	agent, _, _ := strings.Cut(r.UserAgent(), "/")
	w.requests = append(w.requests, agent+" "+r.Method+" "+r.URL.RequestURI())
	w.mu.Unlock()
	// The registry behind this keeps blobs for all repositories together; here
	// each has its own, and takes over one of another only when asked to.
	switch digest := r.URL.Query().Get("mount"); {
	case r.Method == http.MethodHead && strings.HasPrefix(r.URL.Path, "/v2/other/app/blobs/"):
		http.Error(rw, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`, http.StatusNotFound)
	case r.Method == http.MethodPost && digest != "" && r.URL.Query().Get("from") == "some/base":
		rw.Header().Set("Location", "/v2/other/app/blobs/"+digest)
		rw.WriteHeader(http.StatusCreated)
	default:
		w.Handler.ServeHTTP(rw, r)
	}
}

func (w *watched) count(parts ...string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
next:
	for _, r := range w.requests {
		for _, p := range parts {
			if !strings.Contains(r, p) {
				continue next
			}
		}
		n++
	}
	return n
}

type keychain struct{}

func (keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: "user", Password: password}, nil
}

// startWatched starts such a registry with an image at base:v1.
func startWatched(t *testing.T, image v1.Image) (*watched, string) {
	t.Helper()
	w := &watched{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	s := httptest.NewServer(w)
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	ref, err := name.ParseReference(host + "/some/base:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithAuthFromKeychain(keychain{})); err != nil {
		t.Fatal(err)
	}
	w.requests = nil
	return w, host
}

// The engine pulls a base of a registry by itself, with credentials from the
// session that end up nowhere else; base layers are mounted when the result is
// pushed to the same registry, and one manifest goes everywhere.
func TestRegistryBaseAndOutput(t *testing.T) {
	h := withEngine(t)
	h.Keychain = keychain{}
	image := neverSeen(t, makeBase(t, baseOptions{labels: map[string]string{"unique": t.Name()}}))
	w, host := startWatched(t, image)
	e := apply(t, h, dockerfile.Application{
		Kind:    dockerfile.KindBuild,
		Base:    host + "/some/base:v1",
		Steps:   steps(t, dockerfile.KindBuild, from+"RUN echo x > /x; env > /env\n"),
		Outputs: []string{"registry:" + host + "/other/app:latest"},
	})
	ref, err := name.ParseReference(host + "/other/app:latest")
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Get(ref, remote.WithAuthFromKeychain(keychain{}))
	if err != nil || desc.Digest.String() != e.applied.Manifest {
		t.Errorf("pushed %v %v, want %s", desc, err, e.applied.Manifest)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for n, l := range layers {
		d, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if w.count("buildkit GET", d.String()) != 1 {
			t.Errorf("layer %d was pulled by the engine %d times", n, w.count("buildkit GET", d.String()))
		}
		if w.count("POST", "mount="+strings.ReplaceAll(d.String(), ":", "%3A"), "from=some%2Fbase") != 1 {
			t.Errorf("layer %d was not mounted", n)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(w.requests, "\n"))
	}
	assertNowhere(t, password, h, e)
}

// assertNowhere looks for a secret in everything that a run leaves.
func assertNowhere(t *testing.T, secret string, h *harness, e extended) {
	t.Helper()
	if strings.Contains(h.progress.String(), secret) {
		t.Error("a credential is in the progress")
	}
	err := filepath.WalkDir(e.dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("a credential is in %s", p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An insecure registry is none of the engine's business: its image goes through
// the session.
func TestInsecureRegistryGoesThroughTheSession(t *testing.T) {
	h := withEngine(t)
	h.Keychain = keychain{}
	image := neverSeen(t, makeBase(t, baseOptions{labels: map[string]string{"unique": t.Name()}}))
	w, host := startWatched(t, image)
	h.InsecureRegistries = []string{host}
	e := apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  host + "/some/base:v1",
		Steps: steps(t, dockerfile.KindBuild, from+"RUN echo x > /x\nCOPY --from="+host+"/some/base:v1 /etc/group /copied\n"),
	})
	if n := w.count("buildkit"); n != 0 {
		t.Errorf("the engine made %d requests", n)
	}
	if !strings.Contains(e.content(t, "/copied"), "staff") {
		t.Error("COPY --from did not copy")
	}
}

// COPY --from names another image, which the engine pulls.
func TestCopyFromAnotherImage(t *testing.T) {
	h := withEngine(t)
	host := startRegistry(t)
	other := add(t, empty.Image, "application/vnd.docker.image.rootfs.diff.tar.gzip", []entry{{"tool", "a tool", 0o755}}, v1.History{})
	other, err := mutate.ConfigFile(other, withPlatform(t, other))
	if err != nil {
		t.Fatal(err)
	}
	push(t, host+"/tools:v1", other)
	e := apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"COPY --from="+host+"/tools:v1 /tool /usr/bin/tool\n"),
	})
	if got := e.files["/usr/bin/tool"]; got.content != "a tool" || got.mode != 0o755 {
		t.Errorf("%+v", got)
	}
}

func withPlatform(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	return file
}

// A push that is refused says so, and no result replaces an earlier one.
func TestRefusedPushLeavesTheEarlierResult(t *testing.T) {
	h := newHarness(t)
	_, host := startWatched(t, makeBase(t, baseOptions{}))
	dir := filepath.Join(t.TempDir(), "extended", "build")
	app := dockerfile.Application{
		Kind: dockerfile.KindBuild, Extended: dir,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"ENV A=1\n"),
	}
	before := apply(t, h, app)
	app.Steps = steps(t, dockerfile.KindBuild, from+"ENV A=2\n")
	app.Outputs = []string{"registry:" + host + "/app"}
	_, err := h.Apply(context.Background(), app)
	if err == nil || !strings.Contains(err.Error(), "push to "+host+"/app:latest") || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("error %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 || entries[0].Name() != before.applied.Manifest {
		t.Errorf("the earlier result is gone: %v", entries)
	}
}
