package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/buildkit/client/connhelper"
	// Each registers a scheme whose connection is a program's standard streams.
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer"
	_ "github.com/moby/buildkit/client/connhelper/kubepod"
	_ "github.com/moby/buildkit/client/connhelper/podmancontainer"
	_ "github.com/moby/buildkit/client/connhelper/ssh"
)

// dialTimeout is how long it may take to connect: less than the daemon's answer may, so
// that the cause is known when the handshake gives up.
func (o Options) dialTimeout() time.Duration { return o.Patience * 5 / 6 }

// keepAlive finds out that the machine of a daemon has gone without a word, within
// half a minute, while nothing is sent because a RUN takes its time.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// Schemes are the forms that an address can have.
var Schemes = []string{
	"unix:///path/of/socket",
	"tcp://host:port",
	"docker-container://name",
	"podman-container://name",
	"kube-pod://name",
	"ssh://user@host",
	"docker:// (or docker:///path/of/socket, docker://host:port)",
}

// dialer opens connections to one endpoint and remembers how the last attempt went.
type dialer struct {
	connect func(context.Context) (net.Conn, error)
	secured bool // by TLS
	life    life

	mu  sync.Mutex
	err error
}

// newDialer understands an address, and what TLS asks for. Its errors say what an
// address looks like, or which file is not as it should be.
func newDialer(address string, opts Options) (*dialer, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("this is not an address (%w); %s", err, forms())
	}
	switch u.Scheme {
	case "unix":
		path := strings.TrimPrefix(address, "unix://")
		if path == address || path == "" {
			return nil, errors.New("the address lacks a path; write unix:///run/buildkit/buildkitd.sock")
		}
		return networkDialer("unix", path, opts.dialTimeout()), nil
	case "tcp":
		host, port, err := net.SplitHostPort(u.Host)
		if err != nil || port == "" {
			return nil, errors.New("the address lacks a host or a port; write tcp://host:1234")
		}
		d := networkDialer("tcp", u.Host, opts.dialTimeout())
		if opts.TLS.used() {
			config, err := opts.TLS.config(host)
			if err != nil {
				return nil, err
			}
			d.withTLS(config, opts.dialTimeout())
		}
		return d, nil
	case "":
		return nil, errors.New("the address lacks a scheme; " + forms())
	}
	helper, err := connhelper.GetConnectionHelper(address)
	if err != nil {
		return nil, fmt.Errorf("the address cannot be understood (%w); %s", err, forms())
	}
	if helper == nil {
		return nil, fmt.Errorf("addresses that begin with %s:// are not supported; %s", u.Scheme, forms())
	}
	d := &dialer{}
	d.connect = func(ctx context.Context) (net.Conn, error) {
		conn, err := helper.ContextDialer(ctx, address)
		if err != nil {
			return nil, err
		}
		return &programConn{Conn: conn, note: d.note}, nil
	}
	return d, nil
}

func networkDialer(network, endpoint string, timeout time.Duration) *dialer {
	return &dialer{connect: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: timeout, KeepAliveConfig: keepAlive}).DialContext(ctx, network, endpoint)
	}}
}

func forms() string { return "an address is one of " + strings.Join(Schemes, ", ") }

// dial is called by gRPC, with an address of its own making.
func (d *dialer) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := d.connect(ctx)
	d.note(err)
	if err != nil {
		return nil, err
	}
	return &followed{Conn: conn, life: &d.life}, nil
}

// note remembers how an attempt went.
func (d *dialer) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *dialer) lastError() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// programConn is a connection to a program. Connecting to it always succeeds; that it
// leads nowhere shows when the program ends, and what the program said of it comes with
// the error of the first read after that. gRPC may write first, and would only tell of
// a broken pipe.
type programConn struct {
	net.Conn
	note func(error)

	mu     sync.Mutex // one reader gets the program's words, any other a closed file
	failed bool
}

func (c *programConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.Conn.Read(p)
	if err != nil && !c.failed {
		c.failed = true
		c.note(err)
	}
	return n, err
}

func (c *programConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		// Only for the error: what could be read is of no use without an answer.
		_, _ = c.Read(make([]byte, 1))
	}
	return n, err
}
