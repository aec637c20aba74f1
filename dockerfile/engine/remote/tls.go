package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// TLS says how a daemon at tcp:// is spoken to: encrypted, with its certificate
// verified. The zero value stands for a connection without TLS.
type TLS struct {
	// CA is a PEM file with the certificates that may have signed the daemon's. Empty:
	// those that the system trusts.
	CA string
	// Cert and Key are PEM files with the certificate that this side shows, and its
	// private key. Both or neither are given.
	Cert, Key string
	// ServerName is what the daemon's certificate is made out to. Empty: the host of the
	// address.
	ServerName string
}

// used reports whether anything asks for TLS.
func (t TLS) used() bool { return t != TLS{} }

// config reads the files. Its errors name the file and what should be in it.
func (t TLS) config(host string) (*tls.Config, error) {
	config := &tls.Config{
		ServerName: t.ServerName,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"}, // gRPC is nothing but HTTP/2
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("reading the certificates that may have signed the daemon's: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the file %s holds no certificate in PEM form; name the one of the authority that signed the daemon's", t.CA)
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errors.New("a certificate to show to the daemon needs its private key, and a key its certificate: give both, or neither")
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("reading the certificate %s and its private key %s: %w", t.Cert, t.Key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// withTLS encrypts the dialer's connections. The handshake is done here and not by
// gRPC, so that its error is known as it is.
func (d *dialer) withTLS(config *tls.Config, timeout time.Duration) {
	plain := d.connect
	d.secured = true
	d.connect = func(ctx context.Context) (net.Conn, error) {
		conn, err := plain(ctx)
		if err != nil {
			return nil, err
		}
		secured := tls.Client(conn, config)
		ctx, cancel := context.WithTimeoutCause(ctx, timeout, errSilentTLS)
		defer cancel()
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			if cause := context.Cause(ctx); errors.Is(err, context.DeadlineExceeded) && cause != nil {
				err = cause
			}
			return nil, &tlsError{err}
		}
		answered, err := awaitAnswer(secured)
		if err != nil {
			conn.Close()
			return nil, &tlsError{err}
		}
		return answered, nil
	}
}

// answerTimeout is how long a server may take to say its first word. Most do at once; one
// that waits for the client's is none the worse for it.
const answerTimeout = 500 * time.Millisecond

// awaitAnswer reads the beginning of what the daemon says after the handshake. One that
// does not accept this side's certificate tells it only there, and if gRPC wrote before
// it read, all that it learned would be a broken pipe.
func awaitAnswer(conn *tls.Conn) (net.Conn, error) {
	if err := conn.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	if _, err := reader.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, err
	}
	return &peeked{Conn: conn, reader: reader}, conn.SetReadDeadline(time.Time{})
}

// peeked is a connection of which some has been read already.
type peeked struct {
	net.Conn
	reader *bufio.Reader
}

func (c *peeked) Read(p []byte) (int, error) { return c.reader.Read(p) }

var errSilentTLS = errors.New("the daemon does not answer")

// tlsError is a failure to agree on TLS, where there is a connection.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return e.err.Error() }

func (e *tlsError) Unwrap() error { return e.err }

// explainTLS says what keeps the two sides from agreeing, and what to do.
func explainTLS(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	advice := "are certificate, key and authority those that the daemon expects?"
	switch {
	case errors.As(err, &unknown):
		advice = "name the certificate of the authority that signed the daemon's"
	case errors.As(err, &name):
		advice = "name the server that the certificate is made out to"
	case errors.As(err, &record), errors.Is(err, errSilentTLS):
		advice = "is it a buildkitd that listens there, and with TLS?"
	}
	return fmt.Sprintf("connected, but TLS failed: %v; %s", err, advice)
}
