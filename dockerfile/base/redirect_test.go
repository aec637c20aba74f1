package base_test

import (
	"io"
	"log"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/graft-cnb/graft/dockerfile/base"
)

// given is a keychain with one user for every registry.
type given struct{}

func (given) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: "user", Password: "pass-word"}), nil
}

// A registry in a private network whose blobs lie in storage at another private address
// could not be a base. That storage is asked without the credentials of the registry.
func TestBlobsAtAnotherPrivateAddress(t *testing.T) {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var asked atomic.Int32
	storage := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if auth := r.Header.Get("Authorization"); auth != "" {
			t.Errorf("the storage is asked with %q", auth)
		}
		inner.ServeHTTP(w, r)
	}))
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, _, ok := r.BasicAuth(); {
		case !ok:
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, "http://"+storage+r.URL.Path, http.StatusTemporaryRedirect)
		default:
			inner.ServeHTTP(w, r)
		}
	}))
	// By name, so that the address of the storage is another host.
	_, port, _ := strings.Cut(host, ":")
	ref, err := name.ParseReference("localhost:" + port + "/some/app:tag")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image(t, "linux", runtime.GOARCH), remote.WithAuthFromKeychain(given{})); err != nil {
		t.Fatal(err)
	}
	img, err := base.Open(t.Context(), ref.Name(), base.Options{Keychain: given{}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := img.Layer(0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Error(err)
	}
	if asked.Load() < 2 {
		t.Errorf("the storage was asked %d times, wanted configuration and layer", asked.Load())
	}
}

// The hint was missing what makes a registry without TLS known as one.
func TestRegistryWithoutTLS(t *testing.T) {
	// Any other name than one of this machine's is spoken to with TLS.
	host := serve(t, http.NotFoundHandler())
	transport := base.Transport(named(t, "registry.example"), base.Options{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") || !strings.Contains(err.Error(), "-insecure-registry "+host) {
		t.Errorf("error %v", err)
	}
}

// An image whose manifest has no media type was said to be of media type "".
func TestManifestWithoutMediaType(t *testing.T) {
	reference, _ := faultyRegistry(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, `{"schemaVersion":2}`)
		return true
	})
	_, err := base.Open(t.Context(), reference, base.Options{})
	if err == nil || !strings.Contains(err.Error(), "no media type") {
		t.Errorf("error %v", err)
	}
}

func named(t *testing.T, host string) name.Registry {
	t.Helper()
	r, err := name.NewRegistry(host)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
