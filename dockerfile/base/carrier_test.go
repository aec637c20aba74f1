package base

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// TestWhoMaySendToPrivateAddresses guards that no registry outside can have things asked
// for inside a network, nor any at all where clouds give credentials to their machines.
func TestWhoMaySendToPrivateAddresses(t *testing.T) {
	for _, c := range []struct {
		peer     string
		insecure bool
		to       string
		want     bool
	}{
		{"10.1.2.3", false, "10.9.9.9", true},
		{"fd00::1", false, "192.168.1.1", true},
		{"127.0.0.1", false, "10.9.9.9", true},
		{"127.0.0.1", false, "127.0.0.2", true},
		{"198.51.100.1", true, "10.9.9.9", true},
		{"198.51.100.1", false, "10.9.9.9", false},
		{"", false, "10.9.9.9", false}, // a proxy has answered
		{"10.1.2.3", true, "127.0.0.1", false},
		{"10.1.2.3", true, "169.254.169.254", false},
		{"127.0.0.1", true, "fe80::1", false},
		{"10.1.2.3", true, "0.0.0.0", false},
		{"10.1.2.3", true, "storage.example", false}, // for the client to follow
	} {
		var peer netip.Addr
		if c.peer != "" {
			peer = netip.MustParseAddr(c.peer)
		}
		if got := (&carrier{insecure: c.insecure}).mayFollow(c.to, peer); got != c.want {
			t.Errorf("from %q (insecure %v) to %s: %v", c.peer, c.insecure, c.to, got)
		}
	}
}

// A registry of a private network that go-containerregistry speaks to without TLS, though
// nobody has named it as insecure, is none that an engine would pull from.
func TestRegistryWithoutTLSInAPrivateNetwork(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	for registry, want := range map[string]bool{"10.1.2.3:5000": true, "registry.local": true, "localhost:5000": false, "127.0.0.1:5000": false} {
		private := false
		c := &carrier{registry: registry, private: func() { private = true }, inner: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
			},
		}}
		for _, path := range []string{"/v2/", "/v2/some/app/manifests/tag"} {
			if private {
				t.Errorf("asking %s for its interface alone says that it is private", registry)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+registry+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		if private != want {
			t.Errorf("%s is private: %v", registry, private)
		}
		c.CloseIdleConnections()
	}
}
