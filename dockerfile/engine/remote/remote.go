// Package remote reaches a BuildKit daemon that somebody else runs. It never
// starts one, and never configures one.
package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/worker/label"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// handshakeTimeout is how long a daemon may take to answer before it counts as
// not there, unless another patience is asked for.
const handshakeTimeout = 3 * time.Second

// silence is Options.Silence unless it is set. A daemon that is only busy answers before.
const silence = time.Minute

// Options say how a daemon is reached. The zero value is good for use.
type Options struct {
	// TLS is for addresses that begin with tcp://; others are as safe as the socket or
	// the program that leads there.
	TLS TLS
	// Patience is how long the daemon may take to answer. Zero: three seconds.
	Patience time.Duration
	// Silence is how long a daemon that has answered may say nothing before it counts as
	// lost, and with it what it was doing. Zero: a minute.
	Silence time.Duration
}

// Engine is a BuildKit daemon that answered.
type Engine struct {
	client      *client.Client
	description string
	isolation   string
	life        *life
	docker      *docker // nil for a daemon that is BuildKit's own
	closing     sync.Once
	closed      chan struct{}
}

// Open connects to the daemon at an address and waits until it has answered.
// See Schemes for the addresses. A daemon that does not answer in time
// gives an *engine.UnavailableError that says why, and so does an address that
// cannot be understood, or files for TLS that cannot be used.
func Open(ctx context.Context, address string, opts Options) (*Engine, error) {
	if opts.Patience == 0 {
		opts.Patience = handshakeTimeout
	}
	if opts.Silence == 0 {
		opts.Silence = silence
	}
	if isDocker(address) {
		return openDocker(ctx, address, opts)
	}
	dial, err := newDialer(address, opts)
	if err != nil {
		return nil, refuse(address, err, err.Error())
	}
	return open(ctx, address, dial, opts)
}

// open connects and waits for an answer.
func open(ctx context.Context, address string, dial *dialer, opts Options, more ...client.ClientOpt) (*Engine, error) {
	c, err := client.New(ctx, address, append(more, client.WithContextDialer(dial.dial))...)
	if err != nil {
		return nil, refuse(address, err, err.Error())
	}
	// New only prepares a connection: nothing is known before the daemon answers.
	worker, err := handshake(ctx, c, opts.Patience)
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("waiting for the BuildKit daemon at %s: %w", address, context.Cause(ctx))
		}
		return nil, refuse(address, err, explain(err, dial.lastError(), opts.Patience))
	}
	place := address
	if dial.secured {
		place += " with TLS"
	}
	dial.life.start()
	isolation := isolationOf(worker)
	e := &Engine{client: c, description: describe(place, worker) + ", " + isolation, isolation: isolation, life: &dial.life, closed: make(chan struct{})}
	go e.watch(opts.Silence)
	return e, nil
}

// Client returns the connection to the daemon.
func (e *Engine) Client(context.Context) (*client.Client, error) { return e.client, nil }

// Description names the daemon's address, its version and what it says of how it
// isolates a RUN.
func (e *Engine) Description() string { return e.description }

// Isolation returns what the daemon says of how it isolates a RUN.
func (e *Engine) Isolation() string { return e.isolation }

// Lost returns how the connection to the daemon ended, if it did before Close.
func (e *Engine) Lost() error { return e.life.lost() }

// Close ends the connection; the daemon goes on.
func (e *Engine) Close() error {
	e.closing.Do(func() { close(e.closed) })
	err := errors.Join(e.client.Close(), e.docker.close())
	if err != nil && status.Code(err) != codes.Canceled {
		return fmt.Errorf("closing the connection to the BuildKit daemon: %w", err)
	}
	return nil // Canceled: it was closed before
}

// handshake asks for the daemon's workers and returns the one that solves.
func handshake(ctx context.Context, c *client.Client, patience time.Duration) (*client.WorkerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	workers, err := c.ListWorkers(ctx)
	if err != nil {
		return nil, err
	}
	if len(workers) == 0 {
		return nil, errNoWorker
	}
	return workers[0], nil
}

var errNoWorker = errors.New("the daemon has no worker")

func describe(place string, worker *client.WorkerInfo) string {
	version := worker.BuildkitVersion.Version
	if version == "" {
		version = "of unknown version"
	}
	return fmt.Sprintf("BuildKit %s at %s", version, place)
}

func isolationOf(worker *client.WorkerInfo) string {
	isolation := "RUN isolated by the daemon"
	if executor := worker.Labels[label.Executor]; executor != "" {
		isolation += " (" + executor + " worker)"
	}
	if worker.Labels[label.OCIProcessMode] == "no-sandbox" {
		isolation += ", but not from its processes"
	}
	return isolation
}

// explain turns what the handshake failed with into a line for the user. The
// error of the connection itself says more than what became of it in gRPC.
func explain(err, dialErr error, patience time.Duration) string {
	code := status.Code(err)
	var tlsErr *tlsError
	switch {
	case errors.As(dialErr, &tlsErr):
		return explainTLS(tlsErr)
	case dialErr != nil:
		cause := strings.Join(strings.Fields(dialErr.Error()), " ") // a program's words may be lines
		return fmt.Sprintf("no connection: %s; is buildkitd running and listening there?", cause)
	case errors.Is(err, errNoWorker):
		return "the daemon has no worker; start it with one, see its log for why it has none"
	case code == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("connected, but no answer within %v; is it a buildkitd that listens there, and without TLS?", patience)
	default:
		return fmt.Sprintf("connected, but the handshake failed: %v; is it a buildkitd that listens there, and without TLS?", err)
	}
}

func refuse(address string, err error, line string) error {
	return &unavailable.Error{Address: address, Missing: []string{line}, Err: err}
}
