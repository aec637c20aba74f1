package base

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/graft-cnb/graft/dockerfile/internal/patience"
)

// defaultSilence is Options.Silence unless it is set.
const defaultSilence = 30 * time.Second

// Transport carries requests that have to do with a registry, such as those to the
// service that gives tokens for it.
func Transport(registry name.Registry, opts Options) http.RoundTripper {
	return transportFor(registry, opts, func() {})
}

// transportFor carries requests to a registry. It calls private when an engine that does
// not know of opts might not speak to it: a server's certificate leads to one of
// opts.RootCAs, or the registry is spoken to over plain HTTP.
func transportFor(registry name.Registry, opts Options, private func()) http.RoundTripper {
	t, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return remote.DefaultTransport
	}
	t = t.Clone()
	silence := opts.Silence
	if silence == 0 {
		silence = defaultSilence
	}
	t.DialContext = patience.Limit(t.DialContext, silence)
	c := &carrier{inner: t, registry: registry.RegistryStr(), insecure: insecure(registry, opts.InsecureRegistries), private: private}
	switch {
	case c.insecure:
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // asked for by name
	case len(opts.RootCAs) > 0:
		t.TLSClientConfig = tlsConfig(opts.RootCAs, private)
	}
	return c
}

// tlsConfig trusts what the system trusts, and roots.
func tlsConfig(roots []*x509.Certificate, private func()) *tls.Config {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, c := range roots {
		pool.AddCert(c)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    pool,
		VerifyConnection: func(state tls.ConnectionState) error {
			for _, chain := range state.VerifiedChains {
				if slices.ContainsFunc(roots, chain[len(chain)-1].Equal) {
					private()
				}
			}
			return nil
		},
	}
}

// Silent asks a registry for an image, and returns an error if the registry takes the
// connection and then says nothing for opts.Silence. Any other answer, a refusal or no
// connection too, is for those to judge who read from there: nil.
func Silent(ctx context.Context, reference string, opts Options) error {
	ref, err := ParseReference(reference, opts.InsecureRegistries)
	if err != nil {
		return nil
	}
	never := func(error) bool { return false }
	_, err = remote.Head(ref, append(RemoteOptions(ctx, ref, opts), remote.WithRetryPredicate(never))...)
	var silent *patience.SilentError
	if errors.As(err, &silent) {
		return explain(ref, err)
	}
	return nil
}
