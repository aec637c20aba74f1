package acceptance

import (
	"bytes"
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// What opens the registry of the tests. Nothing of it may be found in a result.
const (
	registryUser     = "registry-user-5d41"
	registryPassword = "registry-password-7c2f"
)

// secretTexts are the forms in which the credentials might show.
func secretTexts() []string {
	return []string{registryUser, registryPassword, strings.TrimPrefix(basicAuth(), "Basic ")}
}

func basicAuth() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(registryUser+":"+registryPassword))
}

// testRegistry is a registry in memory that wants a password.
type testRegistry struct {
	*httptest.Server
	host string

	mu       sync.Mutex
	requests []string
	fault    func(w http.ResponseWriter, r *http.Request) bool
}

// newRegistry makes a registry that asks everybody for the password, and starts
// it, with TLS or without.
func newRegistry(t *testing.T, start func(*httptest.Server)) *testRegistry {
	t.Helper()
	r := &testRegistry{}
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, request.Method+" "+request.URL.Path)
		fault := r.fault
		r.mu.Unlock()
		if fault != nil && fault(w, request) {
			return
		}
		if request.Header.Get("Authorization") != basicAuth() {
			w.Header().Set("WWW-Authenticate", `Basic realm="tests"`)
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		store.ServeHTTP(w, request)
	}))
	r.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that hang up are what some tests are about
	start(r.Server)
	t.Cleanup(r.Close)
	r.host = r.Listener.Addr().String()
	return r
}

// asked tells how often a request was made whose method and path begin so.
func (r *testRegistry) asked(prefix string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, request := range r.requests {
		if strings.HasPrefix(request, prefix) {
			n++
		}
	}
	return n
}

// fail has the registry fail from now on where fault answers a request, and says so.
func (r *testRegistry) fail(fault func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
}

func (r *testRegistry) options() []remote.Option {
	return []remote.Option{
		remote.WithAuth(&authn.Basic{Username: registryUser, Password: registryPassword}),
		remote.WithTransport(r.Client().Transport),
	}
}

// push puts an image into the registry and returns its reference.
func (r *testRegistry) push(t *testing.T, repository string, image v1.Image) string {
	t.Helper()
	reference := r.host + "/" + repository
	ref, err := name.ParseReference(reference)
	check(t, err)
	check(t, remote.Write(ref, image, r.options()...))
	return reference
}

// pull reads an image of the registry.
func (r *testRegistry) pull(t *testing.T, reference string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(reference)
	check(t, err)
	image, err := remote.Image(ref, r.options()...)
	check(t, err)
	return image
}

// checkNoSecret demands that none of the credentials is in a text.
func checkNoSecret(t *testing.T, where string, text []byte) {
	t.Helper()
	for _, secret := range secretTexts() {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s holds the credentials (%s)", where, secret)
		}
	}
}
