//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/worker/base"
	"google.golang.org/grpc"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/assembly"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/registries"
)

// stopTimeout is how long the engine waits for solves that were cut off. It is
// well below closeTimeout.
const stopTimeout = 2 * time.Second

// server is a BuildKit with one worker, as it stands in the engine process.
type server struct {
	order      order
	say        *messenger
	worker     *base.Worker
	controller *control.Controller
	cache      solver.CacheManager
	stop       context.CancelFunc
	readiness  readiness
	closed     bool // in order
}

// newServer opens the state directory's databases and puts a BuildKit together.
func newServer(o order, say *messenger) (*server, error) {
	ctx, stop := context.WithCancel(context.Background())
	s := &server{order: o, say: say, stop: stop}
	if err := s.open(ctx); err != nil {
		stop()
		return nil, fmt.Errorf("opening the state directory %s: %w; if it is damaged, remove it", o.StateDir, err)
	}
	return s, nil
}

func (s *server) open(ctx context.Context) error {
	hosts, err := registries.Hosts(s.order.InsecureRegistries, s.order.RegistryCA, s.order.Silence)
	if err != nil {
		return err
	}
	w, ready, err := newWorker(ctx, s.order, hosts, s.say)
	if err != nil {
		return err
	}
	s.worker, s.readiness = w, ready
	s.controller, s.cache, err = assembly.Controller(ctx, s.order.StateDir, w, hosts)
	return err
}

// serve answers on the connection until it ends, then cuts off what still runs,
// prunes, and closes the databases.
func (s *server) serve(l *listener) error {
	grpcServer := assembly.Server()
	s.controller.Register(grpcServer)
	served := make(chan error, 1)
	go func() { served <- grpcServer.Serve(l) }()

	var err error
	select {
	case <-l.ended:
	case err = <-served:
	}
	s.stop()
	if !within(stopTimeout, grpcServer.Stop) {
		// A RUN that will not die in time ends with this process's namespace, or by its keeper.
		return nil
	}
	if errors.Is(err, grpc.ErrServerStopped) || isClosed(err) {
		err = nil
	}
	s.prune()
	return errors.Join(err, s.close())
}

// close closes BuildKit's databases.
func (s *server) close() error {
	if err := s.controller.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("closing the state directory %s: %w", s.order.StateDir, err)
	}
	s.closed = true
	return nil
}

// within runs f and reports whether it returned in time.
func within(timeout time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-time.After(timeout):
		return false
	}
}
