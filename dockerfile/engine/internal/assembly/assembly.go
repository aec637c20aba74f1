// Package assembly puts a BuildKit together around a worker: what the engines of this
// program have in common beyond the way in which they run a RUN. It decides nothing
// about workers, and serves nobody: its caller registers the controller with a server.
package assembly

import (
	"context"
	"path/filepath"
	"runtime/debug"

	"github.com/containerd/containerd/v2/core/remotes/docker"
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
	"google.golang.org/grpc"
)

// Types of caches that are shared between machines.
const (
	cacheRegistry = "registry"
	cacheLocal    = "local"
	cacheInline   = "inline"
)

// CacheImports are the types of caches that these engines can take from.
func CacheImports() []string { return []string{cacheRegistry, cacheLocal} }

// CacheExports are the types of caches that they can give to.
func CacheExports() []string { return []string{cacheRegistry, cacheLocal, cacheInline} }

// Controller makes the controller of a BuildKit with one worker, whose databases are in
// the state directory, and says how caches reach registries. The context ends when the
// engine is to stop.
func Controller(ctx context.Context, state string, w worker.Worker, hosts docker.RegistryHosts) (_ *control.Controller, _ solver.CacheManager, err error) {
	workers := &worker.Controller{}
	if err := workers.Add(w); err != nil {
		return nil, nil, err
	}
	sessions, err := session.NewManager()
	if err != nil {
		return nil, nil, err
	}
	keys, err := bboltcachestorage.NewStore(filepath.Join(state, "cache.db"))
	if err != nil {
		return nil, nil, err
	}
	history, err := boltutil.SafeOpen(filepath.Join(state, "history.db"), 0o600, nil)
	if err != nil {
		return nil, nil, err
	}
	cache := solver.NewCacheManager(ctx, "local", keys, worker.NewCacheResultStorage(workers))
	controller, err := control.NewController(control.Opt{
		SessionManager:   sessions,
		WorkerController: workers,
		CacheManager:     cache,
		CacheStore:       keys,
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
	return controller, cache, err
}

// Server makes a gRPC server for a controller. Unary calls go through the interceptors,
// in their order.
func Server(interceptors ...grpc.UnaryServerInterceptor) *grpc.Server {
	return grpc.NewServer(
		grpc.ChainUnaryInterceptor(append([]grpc.UnaryServerInterceptor{grpcerrors.UnaryServerInterceptor}, interceptors...)...),
		grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
		grpc.WaitForHandlers(true),
	)
}

// BuildKit is the module that is put together here.
const BuildKit = "github.com/moby/buildkit"

// ModuleVersion is that of a module that is compiled in.
func ModuleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == path {
				return module.Version
			}
		}
	}
	return "of unknown version"
}
