//go:build linux

package inplace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	ctdmetadata "github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/moby/buildkit/cache/metadata"
	containerdsnapshot "github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/buildkit/util/leaseutil"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/damage"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
)

// namespace is where containerd's databases have what is BuildKit's.
const namespace = "buildkit"

// tmpDir is where files are that live as long as a RUN.
func tmpDir(state string) string { return filepath.Join(state, "tmp") }

// makeState makes the state directory, and removes what a killed engine left in it.
// Users other than root must get through it: a RUN of theirs is led to mounts that
// are in it.
func makeState(state string) error {
	for _, dir := range []string{filepath.Dir(state), state, filepath.Join(state, "snapshots"), filepath.Join(state, "snapshots", "snapshots")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("make the state directory: %w", err)
		}
		if err := os.Chmod(dir, 0o711); err != nil {
			return fmt.Errorf("make the state directory: %w", err)
		}
	}
	if err := os.RemoveAll(tmpDir(state)); err != nil {
		return fmt.Errorf("remove what an earlier run left in the state directory: %w", err)
	}
	if err := os.Mkdir(tmpDir(state), 0o711); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	return nil
}

// databases are the files that the cache's records are in.
func databases(state string) []string {
	var files []string
	for _, name := range []string{"containerdmeta.db", "metadata_v2.db", "snapshots/metadata.db", "cache.db", "history.db"} {
		files = append(files, filepath.Join(state, name))
	}
	return files
}

// reviveState gives the cache up if it is damaged, and marks the state directory as used.
// Everything in the databases is read once: this process breaks down with what it cannot
// read, and nobody is there to start it again.
func reviveState(state string, log logs.Func) error {
	files := databases(state)
	return damage.Revive(state, files, func() error { return dropCache(state) }, warner(log),
		func() error { return damage.Read(files) })
}

// giveUp gives a cache up that nothing was wrong with before it was used.
func giveUp(state string, problem error, log logs.Func) error {
	var broken *damage.Panic
	if errors.As(problem, &broken) {
		log.Write(slog.LevelDebug, fmt.Sprintf("%v\n%s", broken, broken.Stack))
	}
	err := damage.GiveUp(state, problem, func() error { return dropCache(state) }, warner(log))
	return errors.Join(err, makeState(state))
}

// dropCache removes the cache from a state directory.
func dropCache(state string) error {
	for _, path := range append(databases(state), filepath.Join(state, "snapshots"), filepath.Join(state, "content")) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// warner writes warnings to a log.
func warner(log logs.Func) func(string) {
	return func(warning string) { log.Write(slog.LevelWarn, warning) }
}

// shortages are what keeps a cache from being used without anything being wrong with it.
var shortages = []error{
	context.Canceled, context.DeadlineExceeded,
	unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EACCES, unix.EPERM,
}

// isDamage tells whether a cache that could not be opened is to blame itself.
func isDamage(err error) bool {
	return err != nil && !slices.ContainsFunc(shortages, func(one error) bool { return errors.Is(err, one) })
}

// stores are the databases of the state directory.
type stores struct {
	state    string
	db       *bbolt.DB
	meta     *ctdmetadata.DB
	plain    snapshots.Snapshotter
	blobs    content.Store
	records  *metadata.Store
	claims   *claims
	content  *containerdsnapshot.Store
	leases   *leaseutil.Manager
	snapshot *snapshotter
	layers   *layers
}

// openStores opens them. Nothing is mounted, and nothing applied.
func openStores(ctx context.Context, state string, r *root) (_ *stores, err error) {
	s := &stores{state: state}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.plain, err = native.NewSnapshotter(filepath.Join(state, "snapshots")); err != nil {
		return nil, err
	}
	s.blobs, err = local.NewStore(filepath.Join(state, "content"))
	if err != nil {
		return nil, err
	}
	if s.db, err = bbolt.Open(filepath.Join(state, "containerdmeta.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType}); err != nil {
		return nil, err
	}
	s.meta = ctdmetadata.NewDB(s.db, s.blobs, map[string]snapshots.Snapshotter{snapshotterName: s.plain})
	if err := s.meta.Init(ctx); err != nil {
		return nil, err
	}
	if s.records, err = metadata.NewStore(filepath.Join(state, "metadata_v2.db")); err != nil {
		return nil, err
	}
	s.claims = newClaims(s.meta.ContentStore())
	s.content = containerdsnapshot.NewContentStore(s.claims, namespace)
	s.leases = leaseutil.WithNamespace(ctdmetadata.NewLeaseManager(s.meta), namespace)
	s.layers = &layers{content: s.content}
	s.snapshot = &snapshotter{
		Snapshotter: containerdsnapshot.NewSnapshotter(snapshotterName, s.meta.Snapshotter(snapshotterName), namespace, nil),
		root:        r, layers: s.layers, leases: s.leases, life: ctx, extracted: map[string]layer{},
	}
	s.layers.states = s.snapshot
	r.open = s.layers.tar
	return s, nil
}

// close closes what is open of them.
func (s *stores) close() error {
	var errs []error
	if s.plain != nil {
		errs = append(errs, s.plain.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	return errors.Join(errs...)
}
