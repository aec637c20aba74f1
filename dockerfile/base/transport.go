package base

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// defaultSilence is Options.Silence unless it is set.
const defaultSilence = 30 * time.Second

// transportFor carries requests about ref. It calls private when a server's
// certificate leads to one of opts.RootCAs.
func transportFor(ref name.Reference, opts Options, private func()) http.RoundTripper {
	t, ok := remote.DefaultTransport.(*http.Transport)
	if !ok {
		return remote.DefaultTransport
	}
	t = t.Clone()
	silence := opts.Silence
	if silence == 0 {
		silence = defaultSilence
	}
	t.DialContext = impatient(t.DialContext, silence)
	switch {
	case insecure(ref, opts.InsecureRegistries):
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // asked for by name
	case len(opts.RootCAs) > 0:
		t.TLSClientConfig = tlsConfig(opts.RootCAs, private)
	}
	return t
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

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// impatient gives up connections on which nothing moves. That is more than a limit
// for the first byte of an answer, and does not limit how long a layer may take.
func impatient(dial dialer, silence time.Duration) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &impatientConn{Conn: conn, silence: silence}, nil
	}
}

type impatientConn struct {
	net.Conn
	silence time.Duration
}

// Read fails when nothing comes.
func (c *impatientConn) Read(p []byte) (int, error) {
	if err := c.extend(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write fails when nothing is taken. While something is, the answer may wait.
func (c *impatientConn) Write(p []byte) (int, error) {
	if err := c.extend(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *impatientConn) extend() error { return c.SetDeadline(time.Now().Add(c.silence)) }
