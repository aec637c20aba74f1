//go:build linux

package inplace

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/worker/base"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/assembly"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/damage"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
)

// stopTimeout is how long the engine waits for solves that were cut off.
const stopTimeout = 3 * time.Second

// server is a BuildKit with one worker that works on the root filesystem.
type server struct {
	state      string
	log        logs.Func
	stores     *stores
	worker     *localWorker
	cache      solver.CacheManager
	controller *control.Controller
	stop       context.CancelFunc
	grpc       *grpc.Server
	listener   *bufconn.Listener
	client     *client.Client
}

// newServer opens the state directory's databases and puts a BuildKit together. What breaks
// down with them gives a *damage.Panic, and leaves them open: a transaction that was cut off
// would be waited for. They are to be removed then, and no longer used.
func newServer(ctx context.Context, state string, r *root, image baseImage, hosts docker.RegistryHosts, log logs.Func) (*server, error) {
	s := &server{state: state, log: log}
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	if err := damage.Guard(func() error { return s.open(own, r, image, hosts) }); err != nil {
		stop()
		var broken *damage.Panic
		if s.stores != nil && !errors.As(err, &broken) {
			err = errors.Join(err, s.stores.close())
		}
		return nil, err
	}
	s.serve(image, r.dir)
	return s, nil
}

func (s *server) open(ctx context.Context, r *root, image baseImage, hosts docker.RegistryHosts) (err error) {
	if s.stores, err = openStores(ctx, s.state, r); err != nil {
		return err
	}
	if err := s.stores.ready(ctx, image, s.log); err != nil {
		return err
	}
	if s.worker, err = s.newWorker(ctx, r, image, hosts); err != nil {
		return err
	}
	s.controller, s.cache, err = assembly.Controller(ctx, s.state, s.worker, hosts)
	return err
}

// newWorker makes the worker.
func (s *server) newWorker(ctx context.Context, r *root, image baseImage, hosts docker.RegistryHosts) (*localWorker, error) {
	id, err := base.ID(s.state)
	if err != nil {
		return nil, err
	}
	exec := &executor{root: r, state: s.state, log: s.log}
	inner, err := base.NewWorker(ctx, base.WorkerOpt{
		ID:              id,
		Root:            s.state,
		Labels:          map[string]string{"org.mobyproject.buildkit.worker.executor": "inplace"},
		Platforms:       []ocispecs.Platform{platforms.Normalize(platforms.DefaultSpec())},
		BuildkitVersion: client.BuildkitVersion{Package: assembly.BuildKit, Version: version()},
		Executor:        exec,
		Snapshotter:     s.stores.snapshot,
		ContentStore:    s.stores.content,
		Applier:         s.stores.layers,
		Differ:          s.stores.layers,
		RegistryHosts:   hosts,
		LeaseManager:    s.stores.leases,
		GarbageCollect:  s.stores.meta.GarbageCollect,
		MetadataStore:   s.stores.records,
		MountPoolRoot:   filepath.Join(s.state, "cachemounts"),
	})
	if err != nil {
		return nil, err
	}
	inner.SourceManager.Register(&baseSource{base: image, cache: inner.CacheMgr})
	return &localWorker{
		Worker:  inner,
		manager: &manager{Manager: inner.CacheMgr, states: s.stores.snapshot},
		exec:    exec,
	}, nil
}

// serve answers on connections in memory.
func (s *server) serve(image baseImage, root string) {
	s.grpc = assembly.Server(gate(image, root))
	s.controller.Register(s.grpc)
	s.listener = bufconn.Listen(1 << 20)
	go func() { _ = s.grpc.Serve(s.listener) }() // it ends with Stop
}

// close cuts off what still runs, prunes, and closes the databases.
func (s *server) close(prune func()) error {
	if s.client != nil {
		_ = s.client.Close() // nothing else uses the connection
	}
	s.stop()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.grpc.Stop()
	}()
	select {
	case <-stopped:
		prune()
	case <-time.After(stopTimeout):
		return errors.New("a solve that was cut off does not end")
	}
	err := s.controller.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(err, s.stores.close())
}

// version is that of the BuildKit that is compiled in.
func version() string { return assembly.ModuleVersion(assembly.BuildKit) }
