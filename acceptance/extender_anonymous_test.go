package acceptance

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// openRegistry is a registry in memory that anybody may use, and that wants no header.
// after is called with each request that was answered.
func openRegistry(t *testing.T, after func(*http.Request)) (host string) {
	t.Helper()
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s comes with credentials", r.Method, r.URL.Path)
		}
		store.ServeHTTP(w, r)
		after(r)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func pushOpen(t *testing.T, reference string, image v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(reference)
	check(t, err)
	check(t, remote.Write(ref, image))
}

// A registry for everybody is asked without credentials, those for other registries
// notwithstanding.
func TestAnonymousRegistry(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.address == "" {
			e = embeddedIn(t, t.TempDir()) // so that it has to pull
		}
		host := openRegistry(t, func(*http.Request) {})
		pushOpen(t, host+"/base:tag", smallImage(t, nil))
		s := registryScene(t, host+"/base:tag", e)
		s.env["CNB_REGISTRY_AUTH"] = `{"other.example": "` + basicAuth() + `"}`
		s.write("home/.docker/config.json", `{"auths": {"another.example": {"auth": "`+strings.TrimPrefix(basicAuth(), "Basic ")+`"}}}`)
		s.succeed("-output", "registry:"+host+"/extended:1")
		ref, err := name.ParseReference(host + "/extended:1")
		check(t, err)
		image, err := remote.Image(ref)
		check(t, err)
		validateImage(t, image)
	})
}

// A tag is resolved once, and what it was is logged: when it moves in the midst of the
// run, everything is about the image that it was.
func TestTagThatMoves(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.address == "" {
			e = embeddedIn(t, t.TempDir())
		}
		first := smallImage(t, func(c *v1.Config) { c.Env = append(c.Env, "WHICH=first") })
		second := appendLayer(t, smallImage(t, func(c *v1.Config) { c.Env = append(c.Env, "WHICH=second") }), uniqueLayer(t))
		var once sync.Once
		var move func()
		host := openRegistry(t, func(r *http.Request) {
			if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v2/base/manifests/") {
				once.Do(func() { move() })
			}
		})
		reference := host + "/base:tag"
		move = func() { pushOpen(t, reference, second) }
		pushOpen(t, reference, first)
		s := registryScene(t, reference, e)
		o := s.succeed()
		if want := "Base image " + reference + " is " + digest(t, first).String(); !strings.Contains(o.stdout, want) {
			t.Errorf("stdout does not say %q: %v", want, o)
		}
		checkLayers(t, s, first, 3)
		if env := configOf(t, s.image()).Config.Env; !slices.Contains(env, "WHICH=first") {
			t.Errorf("the environment is %v", env)
		}
		if env := s.files(first)["env"]; !strings.Contains(env, "WHICH=first\n") {
			t.Errorf("a RUN has the environment %q", env)
		}
	})
}
