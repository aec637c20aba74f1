//go:build linux

package embedded_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"

	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

const registryUser, registryPassword = "ada", "not in the environment"

// startRegistry starts a registry that wants a password, and pushes an image to it. It
// returns the registry's host and the image's name.
func startRegistry(t *testing.T, start func(*httptest.Server), address string) (host, image string) {
	t.Helper()
	host, image, _ = startServer(t, start, address)
	return host, image
}

// startServer is startRegistry with the server itself.
func startServer(t *testing.T, start func(*httptest.Server), address string) (host, image string, server *httptest.Server) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != registryUser || password != registryPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		store.ServeHTTP(w, r)
	}))
	server.Listener.Close()
	server.Listener = l
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(server)
	t.Cleanup(server.Close)

	host = l.Addr().String()
	image = host + "/base:latest"
	ref, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	auth := &authn.Basic{Username: registryUser, Password: registryPassword}
	trusting := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer trusting.CloseIdleConnections()
	if err := remote.Write(ref, img, remote.WithAuth(auth), remote.WithTransport(trusting)); err != nil {
		t.Fatal(err)
	}
	return host, image, server
}

// pull solves a graph that begins with an image, with the credentials in the session.
func pull(t *testing.T, e *embedded.Engine, image, password string) error {
	t.Helper()
	definition, err := llb.Image(image).File(llb.Mkfile("/added", 0o644, nil)).Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	credentials := func(context.Context, string, []string, authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
		return types.AuthConfig{Username: registryUser, Password: password}, nil
	}
	out := t.TempDir()
	_, err = solve(t.Context(), c, definition, client.SolveOpt{
		Session: []session.Attachable{authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{AuthConfigProvider: credentials})},
		Exports: []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: out}},
	})
	if err == nil {
		if _, missing := os.Stat(filepath.Join(out, "added")); missing != nil {
			t.Error(missing)
		}
	}
	return err
}

// The engine pulls with the credentials of the session, and talks to a registry without
// TLS that it can verify only when that registry is named.
func TestInsecureRegistries(t *testing.T) {
	needRoot(t)
	// Plain HTTP is allowed on the loopback address in any case.
	outside := outsideAddress()
	needs.That(t, outside != "", "an address other than the loopback's")
	for scheme, start := range map[string]func(*httptest.Server){
		"http": (*httptest.Server).Start, "https": (*httptest.Server).StartTLS,
	} {
		t.Run(scheme, func(t *testing.T) {
			host, image := startRegistry(t, start, net.JoinHostPort(outside, "0"))

			strict := open(t, embedded.Options{StateDir: t.TempDir()})
			if err := pull(t, strict, image, registryPassword); err == nil {
				t.Error("an image was pulled from a registry that is not named as insecure")
			}
			lax := open(t, embedded.Options{StateDir: t.TempDir(), InsecureRegistries: []string{host}})
			if err := pull(t, lax, image, "wrong"); err == nil {
				t.Error("an image was pulled with a wrong password")
			}
			if err := pull(t, lax, image, registryPassword); err != nil {
				t.Errorf("pulling from a registry that is named as insecure: %v", err)
			}
		})
	}
}

// A registry whose certificate is signed by an authority of its owner's is trusted when
// that one is named, also on the machine itself, where plain HTTP is what is usual.
func TestPrivateAuthority(t *testing.T) {
	needRoot(t)
	host, image, server := startServer(t, (*httptest.Server).StartTLS, "127.0.0.1:0")
	strict := open(t, embedded.Options{StateDir: t.TempDir()})
	if err := pull(t, strict, image, registryPassword); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("pulling from %s, whose certificate nobody knows: %v", host, err)
	}
	trusting := open(t, embedded.Options{StateDir: t.TempDir(), RegistryCA: []*x509.Certificate{server.Certificate()}})
	if err := pull(t, trusting, image, registryPassword); err != nil {
		t.Errorf("pulling from a registry whose authority is named: %v", err)
	}
}

// outsideAddress returns an IPv4 address of this machine that is not its loopback's.
func outsideAddress() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return ""
}
