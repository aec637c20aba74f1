package base

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
)

// maxRedirects is how often a blob may be somewhere else.
const maxRedirects = 10

// carrier carries requests to a registry, and to where that sends them.
//
// go-containerregistry follows no redirect to a private address of another host, since a
// foreign registry could have things asked for inside a network. Where the registry itself
// is inside, or is named as insecure, that is how storage beside it is reached: the carrier
// follows for it.
type carrier struct {
	inner    *http.Transport
	registry string
	insecure bool
	private  func()
}

var _ http.RoundTripper = (*carrier)(nil)

// RoundTrip sends a request and gives the answer, of a blob that is kept elsewhere from
// there.
func (c *carrier) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, peer, err := c.send(req)
	if err != nil {
		return nil, c.explain(req, err)
	}
	if req.URL.Host != c.registry {
		return resp, nil
	}
	if req.URL.Scheme == "http" && req.URL.Path != "/v2/" {
		// Engines do so, unless they are told, with the machine's own registries only.
		if local, err := docker.MatchLocalhost(c.registry); err == nil && !local {
			c.private()
		}
	}
	return c.follow(req, resp, peer)
}

// CloseIdleConnections closes what is kept open.
func (c *carrier) CloseIdleConnections() { c.inner.CloseIdleConnections() }

// send sends a request, and tells who has answered; the zero address if that is a proxy.
func (c *carrier) send(req *http.Request) (*http.Response, netip.Addr, error) {
	var peer netip.Addr
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if address, ok := info.Conn.RemoteAddr().(*net.TCPAddr); ok {
			peer = address.AddrPort().Addr().Unmap()
		}
	}}
	resp, err := c.inner.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if c.inner.Proxy != nil {
		if proxy, proxyErr := c.inner.Proxy(req); proxy != nil || proxyErr != nil {
			peer = netip.Addr{}
		}
	}
	return resp, peer, err
}

// explain says what to do about a registry without TLS.
func (c *carrier) explain(req *http.Request, err error) error {
	var header tls.RecordHeaderError
	if !c.insecure && errors.As(err, &header) && string(header.RecordHeader[:]) == "HTTP/" {
		return fmt.Errorf("%w (if it is meant to, give -insecure-registry %s)", http.ErrSchemeMismatch, req.URL.Host)
	}
	return err
}

// follow asks for a blob where the registry says that it is, as far as nobody else does.
// Nothing that the registry is asked with but what is needed goes there, and above all no
// credentials.
func (c *carrier) follow(req *http.Request, resp *http.Response, peer netip.Addr) (*http.Response, error) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead || !strings.Contains(req.URL.Path, "/blobs/") {
		return resp, nil
	}
	at := req
	for range maxRedirects {
		next, err := resp.Location()
		if !isRedirect(resp.StatusCode) || err != nil {
			return resp, nil
		}
		if next.Hostname() == req.URL.Hostname() || !c.mayFollow(next.Hostname(), peer) {
			resp.Header.Set("Location", next.String()) // which may be relative to another place than the first
			return resp, nil
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		resp.Body.Close()
		if at, err = http.NewRequestWithContext(req.Context(), req.Method, next.String(), nil); err != nil {
			return nil, err
		}
		for _, name := range []string{"Accept", "Range", "User-Agent"} {
			if values := req.Header.Values(name); len(values) > 0 {
				at.Header[name] = values
			}
		}
		if resp, _, err = c.send(at); err != nil {
			return nil, fmt.Errorf("%s %s://%s, where registry %s keeps the blob: %w", at.Method, next.Scheme, next.Host, c.registry, c.explain(at, err))
		}
	}
	resp.Body.Close()
	return nil, fmt.Errorf("registry %s keeps a blob behind more than %d redirects", c.registry, maxRedirects)
}

// mayFollow tells whether a redirect leads to a private address that a registry at peer may
// send us to. Addresses of one link, such as those at which clouds give credentials to their
// machines, are never among them.
func (c *carrier) mayFollow(host string, peer netip.Addr) bool {
	to, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	to = to.Unmap()
	switch {
	case to.IsLoopback():
		return peer.IsLoopback()
	case to.IsPrivate():
		return c.insecure || peer.IsLoopback() || peer.IsPrivate()
	}
	return false
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}
