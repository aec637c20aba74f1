// Package remote reaches a BuildKit daemon that somebody else runs. It never
// starts one, and never configures one.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// handshakeTimeout is how long a daemon may take to answer before it counts as
// not there.
const handshakeTimeout = 3 * time.Second

// dialTimeout is shorter, so that the cause is known when the handshake gives up.
const dialTimeout = handshakeTimeout - 500*time.Millisecond

// Engine is a BuildKit daemon that answered.
type Engine struct {
	client      *client.Client
	description string
}

// Open connects to the daemon at an address, "unix:///path" or "tcp://host:port",
// and waits until it has answered. A daemon that does not within three seconds
// gives an *engine.UnavailableError that says why; an address that cannot be
// understood gives one as well.
func Open(ctx context.Context, address string) (*Engine, error) {
	dial, err := dialer(address)
	if err != nil {
		return nil, refuse(address, err, err.Error())
	}
	c, err := client.New(ctx, address, client.WithContextDialer(dial.dial))
	if err != nil {
		return nil, refuse(address, err, err.Error())
	}
	// New only prepares a connection: nothing is known before the daemon answers.
	workers, version, err := handshake(ctx, c)
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("waiting for the BuildKit daemon at %s: %w", address, context.Cause(ctx))
		}
		return nil, refuse(address, err, explain(err, dial.lastError()))
	}
	return &Engine{client: c, description: describe(address, version, workers)}, nil
}

// Client returns the connection to the daemon.
func (e *Engine) Client(context.Context) (*client.Client, error) { return e.client, nil }

// Description names the daemon's address, its version and its worker.
func (e *Engine) Description() string { return e.description }

// Close ends the connection; the daemon goes on.
func (e *Engine) Close() error {
	err := e.client.Close()
	if err != nil && status.Code(err) != codes.Canceled {
		return fmt.Errorf("closing the connection to the BuildKit daemon: %w", err)
	}
	return nil // Canceled: it was closed before
}

// handshake asks for the daemon's workers and version.
func handshake(ctx context.Context, c *client.Client) ([]*client.WorkerInfo, string, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		return nil, "", err
	}
	if len(workers) == 0 {
		return nil, "", errors.New("the daemon has no worker")
	}
	version := workers[0].BuildkitVersion.Version
	return workers, version, nil
}

func describe(address, version string, workers []*client.WorkerInfo) string {
	if version == "" {
		version = "of unknown version"
	}
	isolation := "RUN isolated as the daemon decides"
	if executor := workers[0].Labels["org.mobyproject.buildkit.worker.executor"]; executor != "" {
		isolation = "RUN in its " + executor + " worker"
	}
	if workers[0].Labels["org.mobyproject.buildkit.worker.oci.process-mode"] == "no-sandbox" {
		isolation += " without a process sandbox"
	}
	return fmt.Sprintf("BuildKit %s at %s, %s", version, address, isolation)
}

// explain turns what the handshake failed with into a line for the user. The
// error of the connection itself says more than what became of it in gRPC.
func explain(err, dialErr error) string {
	code := status.Code(err)
	switch {
	case dialErr != nil:
		return fmt.Sprintf("no connection: %v; is buildkitd running and listening there?", dialErr)
	case code == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("connected, but no answer within %v; is it a buildkitd that listens there, and without TLS?", handshakeTimeout)
	default:
		return fmt.Sprintf("connected, but the handshake failed: %v; is it a buildkitd that listens there, and without TLS?", err)
	}
}

func refuse(address string, err error, line string) error {
	return &unavailable.Error{Address: address, Missing: []string{line}, Err: err}
}

// connector opens connections to one endpoint and remembers how the last attempt
// went.
type connector struct {
	network, endpoint string

	mu  sync.Mutex
	err error
}

// dialer understands an address. Its errors say what an address looks like.
func dialer(address string) (*connector, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("not an address: %w; addresses look like unix:///run/buildkit/buildkitd.sock or tcp://host:1234", err)
	}
	switch u.Scheme {
	case "unix":
		path := strings.TrimPrefix(address, "unix://")
		if path == address || path == "" {
			return nil, errors.New("the address lacks a path; write unix:///run/buildkit/buildkitd.sock")
		}
		return &connector{network: "unix", endpoint: path}, nil
	case "tcp":
		if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
			return nil, errors.New("the address lacks a host or a port; write tcp://host:1234")
		}
		return &connector{network: "tcp", endpoint: u.Host}, nil
	case "":
		return nil, errors.New("the address lacks a scheme; write unix:///run/buildkit/buildkitd.sock or tcp://host:1234")
	default:
		return nil, fmt.Errorf("addresses that begin with %s:// are not supported; use unix:// or tcp://", u.Scheme)
	}
}

func (d *connector) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, d.network, d.endpoint)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	return conn, err
}

func (d *connector) lastError() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}
