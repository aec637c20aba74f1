//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/moby/buildkit/cache/remotecache"
	inlineremotecache "github.com/moby/buildkit/cache/remotecache/inline"
	localremotecache "github.com/moby/buildkit/cache/remotecache/local"
	registryremotecache "github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	"google.golang.org/grpc"

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
	w, ready, err := newWorker(ctx, s.order.StateDir, hosts, s.say)
	if err != nil {
		return err
	}
	s.worker, s.readiness = w, ready
	workers := &worker.Controller{}
	if err := workers.Add(w); err != nil {
		return err
	}
	sessions, err := session.NewManager()
	if err != nil {
		return err
	}
	cacheStore, err := bboltcachestorage.NewStore(filepath.Join(s.order.StateDir, "cache.db"))
	if err != nil {
		return err
	}
	history, err := boltutil.SafeOpen(filepath.Join(s.order.StateDir, "history.db"), 0o600, nil)
	if err != nil {
		return err
	}
	s.cache = solver.NewCacheManager(ctx, "local", cacheStore, worker.NewCacheResultStorage(workers))
	s.controller, err = control.NewController(control.Opt{
		SessionManager:   sessions,
		WorkerController: workers,
		CacheManager:     s.cache,
		CacheStore:       cacheStore,
		HistoryDB:        history,
		LeaseManager:     w.LeaseManager(),
		ContentStore:     w.ContentStore(),
		GarbageCollect:   w.GarbageCollect,
		GracefulStop:     ctx.Done(),
		ResolveCacheExporterFuncs: map[string]remotecache.ResolveCacheExporterFunc{
			cacheRegistry: registryremotecache.ResolveCacheExporterFunc(sessions, hosts),
			cacheLocal:    localremotecache.ResolveCacheExporterFunc(sessions),
			cacheInline:   inlineremotecache.ResolveCacheExporterFunc(),
		},
		ResolveCacheImporterFuncs: map[string]remotecache.ResolveCacheImporterFunc{
			cacheRegistry: registryremotecache.ResolveCacheImporterFunc(sessions, w.ContentStore(), hosts),
			cacheLocal:    localremotecache.ResolveCacheImporterFunc(sessions),
		},
	})
	return err
}

// serve answers on the connection until it ends, then cuts off what still runs,
// prunes, and closes the databases.
func (s *server) serve(l *listener) error {
	grpcServer := grpc.NewServer(
		grpc.UnaryInterceptor(grpcerrors.UnaryServerInterceptor),
		grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
		grpc.WaitForHandlers(true),
	)
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
		// A RUN that will not die in time ends with this process's namespace.
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
