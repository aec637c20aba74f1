//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/buildkit/client"
	"google.golang.org/grpc"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// closeTimeout is how long the engine process may take to end in order before it
// is killed. What a RUN started has no say in it: BuildKit kills that at once.
const closeTimeout = 3500 * time.Millisecond

// Engine is a BuildKit in a process of this program.
type Engine struct {
	client      *client.Client
	process     *process
	lock        *os.File
	description string
	isolation   string
	closing     sync.Once
	ending      atomic.Bool
	closed      error
	lost        atomic.Bool // found out by Close
}

// Open starts the engine and returns when it answers. It waits while another
// process uses the same state directory. The context bounds the opening alone.
//
// Where the engine cannot run, all that is missing is told in an
// *engine.UnavailableError.
func Open(ctx context.Context, opts Options) (*Engine, error) {
	if !initialised.Load() {
		return nil, errNotInitialised
	}
	dir, requirements, err := prepare(opts)
	if err != nil {
		return nil, err
	}
	lock, err := lockState(ctx, dir, opts.Log)
	if err != nil {
		return nil, err
	}
	e, err := open(ctx, dir, lock, requirements, opts)
	if errors.Is(err, errCrashed) {
		// It has left the mark of use: this time it looks more thoroughly at what it opens.
		opts.Log.Write(slog.LevelDebug, fmt.Sprintf("starting the engine once more: %v", err))
		e, err = open(ctx, dir, lock, requirements, opts)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return e, nil
}

// prepare finds the state directory, and all that keeps the engine from running.
func prepare(opts Options) (dir string, req requirements, err error) {
	dir, err = opts.stateDir()
	if err != nil {
		return "", req, refuse(err, fmt.Sprintf("no state directory: %v; set HOME or name a directory", err))
	}
	req = requirementsOf(os.Geteuid())
	if req.direct {
		dir = directDir(dir)
	}
	missing := req.missing(dir)
	if len(missing) == 0 {
		if line := req.settle(dir); line != "" {
			missing = append(missing, line)
		}
	}
	if len(missing) > 0 {
		return "", req, refuse(nil, missing...)
	}
	return dir, req, nil
}

func open(ctx context.Context, dir string, lock *os.File, requirements requirements, opts Options) (*Engine, error) {
	p, conn, err := startProcess(requirements, dir, lock, opts.Log)
	if err != nil {
		return nil, err
	}
	var ready *readiness
	// Before its order the process has not touched anything.
	if err = noteHolder(lock, p.cmd.Process.Pid); err == nil {
		ready, err = p.begin(ctx, opts.order(dir, requirements))
	}
	if err != nil {
		conn.Close()
		p.kill()
		return nil, err
	}
	c, err := connect(ctx, conn)
	if err != nil {
		conn.Close()
		p.kill()
		return nil, fmt.Errorf("talking to the embedded engine: %w", err)
	}
	return &Engine{client: c, process: p, lock: lock, description: describe(ready, requirements), isolation: requirements.isolation()}, nil
}

// Client returns the connection to the engine.
func (e *Engine) Client(context.Context) (*client.Client, error) { return e.client, nil }

// Forgets is true: the engine is a process that ends when it is closed.
func (e *Engine) Forgets() bool { return true }

// Description names the engine's version, and what a RUN shares with the machine.
func (e *Engine) Description() string { return e.description }

// Isolation returns what a RUN has of its own, and what it shares with the machine.
func (e *Engine) Isolation() string { return e.isolation }

// Lost tells that the engine process has ended before Close, and what it said.
func (e *Engine) Lost() error {
	if !e.lost.Load() && (e.ending.Load() || !e.process.ended()) {
		return nil
	}
	e.process.wait()
	return fmt.Errorf("the engine process has ended by itself (%v): %s", e.process.status, e.process.stderr.String())
}

// Close ends the engine: in order if it can be within a few seconds, by force if
// not. When it returns, no process of the engine is left, and no mount.
func (e *Engine) Close() error {
	e.closing.Do(func() {
		e.lost.Store(e.process.ended())
		e.ending.Store(true)
		// The connection's end is what the engine takes as the sign to stop.
		clientErr := e.client.Close()
		e.closed = e.process.end(closeTimeout)
		if e.closed == nil && clientErr != nil {
			e.closed = fmt.Errorf("closing the connection to the embedded engine: %w", clientErr)
		}
		if e.process.ended() {
			_ = forgetHolder(e.lock) // who comes next looks for the process, and finds none
		}
		e.lock.Close()
	})
	return e.closed
}

// connect makes a client of the one connection and waits for an answer.
func connect(ctx context.Context, conn net.Conn) (*client.Client, error) {
	var taken atomic.Bool
	dial := func(context.Context, string) (net.Conn, error) {
		if taken.Swap(true) {
			return nil, errEnded
		}
		return conn, nil
	}
	c, err := client.New(ctx, "passthrough:///"+processName,
		client.WithContextDialer(dial),
		// An idle connection would be closed, and there is no second one.
		client.WithGRPCDialOption(grpc.WithIdleTimeout(0)))
	if err != nil {
		return nil, err
	}
	if _, err := c.Info(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// isolation is what a RUN has of its own, and what it has not.
func (r requirements) isolation() string {
	if r.shared {
		return "RUN isolated in its own mount, ipc and uts namespaces on the host's network, but not from this container's processes"
	}
	return "RUN isolated in its own mount, pid, ipc and uts namespaces on the host's network"
}

func describe(r *readiness, req requirements) string {
	identity := "as root"
	if r.Rootless {
		identity = "in a user namespace"
	}
	return fmt.Sprintf("embedded BuildKit %s %s (%s), %s, by %s", r.Version, identity, r.Snapshotter, req.isolation(), runtimeDescription())
}

func refuse(err error, missing ...string) error {
	return &unavailable.Error{Missing: missing, Err: err}
}
