//go:build linux

package embedded

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/graft-cnb/graft/dockerfile/internal/patience"
)

// defaultSilence is Options.Silence unless it is set.
const defaultSilence = 30 * time.Second

// hub is Docker Hub as references have it, and hubHost where its registry is.
const (
	hub     = "docker.io"
	hubHost = "registry-1.docker.io"
)

// registries says how the engine speaks to registries, whatever it reads or writes there.
type registries struct {
	insecure []string
	// roots are what certificates are verified by; nil for what the system trusts.
	roots   *x509.CertPool
	silence time.Duration
}

// newRegistries reads what the order says.
func newRegistries(o order) (*registries, error) {
	r := &registries{insecure: o.InsecureRegistries, silence: o.Silence}
	if r.silence == 0 {
		r.silence = defaultSilence
	}
	if len(o.RegistryCA) == 0 {
		return r, nil
	}
	var err error
	if r.roots, err = x509.SystemCertPool(); err != nil {
		r.roots = x509.NewCertPool()
	}
	for _, der := range o.RegistryCA {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("reading a certificate for registries: %w", err)
		}
		r.roots.AddCert(certificate)
	}
	return r, nil
}

var _ docker.RegistryHosts = (*registries)(nil).hosts

// hosts tells where the registry of a name in references is, and gives a client for it.
func (r *registries) hosts(name string) ([]docker.RegistryHost, error) {
	host := name
	if name == hub {
		host = hubHost
	}
	insecure := slices.Contains(r.insecure, name) || slices.Contains(r.insecure, host)
	transport := r.transport(insecure)
	local, err := docker.MatchLocalhost(host)
	if err != nil {
		return nil, fmt.Errorf("the registry %q: %w", name, err)
	}
	client := &http.Client{Transport: transport}
	if insecure || local {
		client.Transport = docker.NewHTTPFallback(transport)
	}
	return []docker.RegistryHost{{
		Client:       client,
		Host:         host,
		Scheme:       "https",
		Path:         "/v2",
		Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve | docker.HostCapabilityPush,
	}}, nil
}

func (r *registries) transport(insecure bool) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = patience.Limit(t.DialContext, r.silence)
	t.TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            r.roots,
		InsecureSkipVerify: insecure, //nolint:gosec // asked for by name
	}
	t.MaxIdleConnsPerHost = 4
	// The flow control of HTTP/2 makes sending slow.
	t.ForceAttemptHTTP2 = false
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	return t
}
