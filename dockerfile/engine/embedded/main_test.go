//go:build linux

package embedded_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/tonistiigi/fsutil"

	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/enginetest"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/ociruntime"
	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

// TestMain lets the test binary become an engine process, or one of the helpers that
// tests start.
func TestMain(m *testing.M) {
	embedded.Init()
	if role := os.Getenv(helperEnv); role != "" {
		os.Exit(helperMain(role))
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	needs.Root(t)
	if !ociruntime.Available {
		needs.Program(t, "runc", "runc")
	}
	needs.Program(t, "busybox", "busybox-static")
}

// open opens an engine that is closed with the test.
func open(t *testing.T, opts embedded.Options) *embedded.Engine {
	t.Helper()
	if opts.Log == nil {
		log := &enginetest.Log{}
		log.ShowOnFailure(t)
		opts.Log = log.Write
	}
	e, err := embedded.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return e
}

// run runs a shell command in a root that holds nothing but busybox, and returns the
// directory that it leaves in /out.
func run(ctx context.Context, e *embedded.Engine, command, out string) (enginetest.Seen, error) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return enginetest.Seen{}, err
	}
	programs, err := fsutil.NewFS(filepath.Dir(busybox))
	if err != nil {
		return enginetest.Seen{}, err
	}
	local := llb.Local("programs", llb.IncludePatterns([]string{"busybox"}))
	state := llb.Scratch().
		File(llb.Copy(local, "busybox", "/bin/busybox", &llb.CopyInfo{CreateDestPath: true})).
		File(llb.Mkdir("/tmp", 0o1777)).
		Run(llb.Args([]string{"/bin/busybox", "sh", "-c", command}), llb.AddEnv("PATH", "/bin"), llb.WithCustomName("run")).
		AddMount("/out", llb.Scratch())
	definition, err := state.Marshal(ctx)
	if err != nil {
		return enginetest.Seen{}, err
	}
	c, err := e.Client(ctx)
	if err != nil {
		return enginetest.Seen{}, err
	}
	return solve(ctx, c, definition, client.SolveOpt{
		LocalMounts: map[string]fsutil.FS{"programs": programs},
		Exports:     []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: out}},
	})
}

// solve solves a graph, and returns what there was to see of it.
func solve(ctx context.Context, c *client.Client, definition *llb.Definition, opt client.SolveOpt) (enginetest.Seen, error) {
	status := make(chan *client.SolveStatus)
	seen := enginetest.Watch(status)
	_, err := c.Solve(ctx, definition, opt, status)
	return <-seen, err
}

// patience is how long is waited for what happens in a moment on a machine that has
// nothing else to do.
const patience = time.Minute

// eventually waits for a condition that is about to hold.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not within %v: %s", patience, what)
}

// await waits for an outcome that somebody sends.
func await(t *testing.T, what string, outcome <-chan error) error {
	t.Helper()
	select {
	case err := <-outcome:
		return err
	case <-time.After(patience):
		t.Fatalf("not within %v: %s", patience, what)
		return nil
	}
}

// needOverlayfs needs overlayfs where tests keep their state: without it files are copied,
// or, by root of a container, no engine is run.
func needOverlayfs(t *testing.T) {
	t.Helper()
	needRoot(t)
	err := overlayutils.Supported(t.TempDir())
	needs.That(t, err == nil, fmt.Sprintf("a temporary directory in which overlayfs works, which TMPDIR may name (%v)", err))
}

// workerDir is where the engine keeps its snapshots and their records: its name says how.
func workerDir(t *testing.T, state string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(state, "runc-*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the state directory has the workers %q (%v), wanted one", found, err)
	}
	return found[0]
}
