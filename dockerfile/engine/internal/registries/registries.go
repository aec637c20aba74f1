// Package registries says how an engine in this program speaks to registries: which it
// trusts, and how long it waits for them. It knows no credentials; those come over the
// session of a solve.
package registries

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

// defaultSilence is how long a registry may be silent unless something else is said.
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

// Hosts says how an engine speaks to registries: to those of insecure over plain HTTP or
// over TLS that is not verified, to all others by the authorities that the system and ca,
// certificates in DER, name. silence is how long a registry may neither send nor take
// anything before a request is given up; zero for 30 seconds.
func Hosts(insecure []string, ca [][]byte, silence time.Duration) (docker.RegistryHosts, error) {
	r := &registries{insecure: insecure, silence: silence}
	if r.silence == 0 {
		r.silence = defaultSilence
	}
	if len(ca) == 0 {
		return r.hosts, nil
	}
	var err error
	if r.roots, err = x509.SystemCertPool(); err != nil {
		r.roots = x509.NewCertPool()
	}
	for _, der := range ca {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("reading a certificate for registries: %w", err)
		}
		r.roots.AddCert(certificate)
	}
	return r.hosts, nil
}

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
