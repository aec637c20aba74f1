//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/oci"
	resources "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network/cniprovider"
	"github.com/moby/buildkit/util/network/netproviders"
	"github.com/moby/buildkit/worker/base"
	"github.com/moby/buildkit/worker/runc"
	"github.com/moby/sys/userns"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/assembly"
)

// workerPrefix is how the directory of a worker begins; the snapshotter's name
// follows.
const workerPrefix = "runc-"

// newWorker makes the worker: an OCI runtime, the host's network, overlayfs.
func newWorker(ctx context.Context, o order, hosts docker.RegistryHosts, say *messenger) (*base.Worker, readiness, error) {
	ready := readiness{Version: version(), Rootless: userns.RunningInUserNS()}
	state := o.StateDir
	command, err := runtimeCommand(state)
	if err != nil {
		return nil, ready, err
	}
	factory := inOrder(snapshotter(state, say))
	ready.Snapshotter = factory.Name
	// What was being fetched is begun again: BuildKit does not go on with half a layer,
	// and fails on it.
	if err := os.RemoveAll(filepath.Join(state, workerPrefix+factory.Name, "content", "ingest")); err != nil {
		return nil, ready, fmt.Errorf("drop what was fetched by half: %w", err)
	}
	mend := wroteInFuture(filepath.Join(state, workerPrefix+factory.Name))
	processes := oci.ProcessSandbox
	if o.Shared {
		processes = oci.NoProcessSandbox
	}
	opt, err := runc.NewWorkerOpt(state, factory, ready.Rootless, processes,
		nil, // labels
		nil, // id map: a user namespace is around the engine, not around a RUN
		netproviders.Opt{Mode: "host", CNI: cniprovider.Opt{Root: state}}, // no CNI to install, and package mirrors are reached
		nil,                // DNS: the host's
		command, "", false, // no AppArmor profile, no SELinux label
		nil, "", "", nil) // parallelism, trace socket, cgroup parent, CDI devices: BuildKit's defaults
	if err != nil {
		return nil, ready, err
	}
	if mend {
		if err := mendLastUse(opt.MetadataStore, say); err != nil {
			say.log(slog.LevelDebug, err.Error()) // records are kept for longer, and no run fails for that
		}
	}
	opt.Executor = hostNetwork{opt.Executor}
	opt.RegistryHosts = hosts
	opt.BuildkitVersion = client.BuildkitVersion{Package: assembly.BuildKit, Version: ready.Version}
	w, err := base.NewWorker(ctx, opt)
	if err != nil {
		return nil, ready, err
	}
	return w, ready, nil
}

// hostNetwork asks for the host's network by its name where a RUN asks for none.
// It would get the same without, but with a resolv.conf for a network of its own,
// from which name servers on this machine are dropped.
type hostNetwork struct{ executor.Executor }

func (h hostNetwork) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{}) (resources.Recorder, error) {
	if process.Meta.NetMode == pb.NetMode_UNSET {
		process.Meta.NetMode = pb.NetMode_HOST
	}
	return h.Executor.Run(ctx, id, root, mounts, process, started)
}

// inOrder lets snapshotters begin with their database, and with no directory that is not in
// it. They make the database when they are used first: a cache without it would be taken for
// one that has lost it. And a directory that a killed engine has left, before it was noted,
// stands in the way of the snapshot that gets its number next.
func inOrder(factory runc.SnapshotterFactory) runc.SnapshotterFactory {
	inner := factory.New
	factory.New = func(root string) (snapshots.Snapshotter, error) {
		made, err := inner(root)
		if err != nil {
			return nil, err
		}
		err = made.Walk(context.Background(), func(context.Context, snapshots.Info) error { return nil })
		cleaner, cleans := made.(snapshots.Cleaner)
		switch {
		case errdefs.IsNotFound(err): // there is nothing in it
			err = emptyDir(filepath.Join(root, "snapshots"))
		case err == nil && cleans:
			err = cleaner.Cleanup(context.Background())
		}
		if err != nil {
			return nil, errors.Join(err, made.Close())
		}
		return made, nil
	}
	return factory
}

// emptyDir removes all that is in a directory.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// snapshotter is overlayfs wherever it works; else whole copies, which always work
// and are slow.
func snapshotter(state string, say *messenger) runc.SnapshotterFactory {
	err := overlayutils.Supported(state)
	if err == nil {
		return runc.SnapshotterFactory{Name: "overlayfs", New: func(root string) (snapshots.Snapshotter, error) {
			return overlay.NewSnapshotter(root, overlay.AsynchronousRemove)
		}}
	}
	say.log(slog.LevelWarn, fmt.Sprintf("overlayfs does not work in the state directory %s (%v); files are copied instead, which is slow: use a state directory on ext4 or xfs", state, err))
	return runc.SnapshotterFactory{Name: "native", New: native.NewSnapshotter}
}
