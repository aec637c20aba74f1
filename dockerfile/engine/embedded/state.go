//go:build linux

package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// lockFile is what the process that uses a state directory holds a lock on.
func lockFile(state string) string { return filepath.Join(state, "lock") }

// The parts of the state directory that live no longer than one engine. BuildKit's
// own, with the cache, stand beside them.

// tmpDir is where the engine's temporary files are.
func tmpDir(state string) string { return filepath.Join(state, "tmp") }

// runtimeDir is what the engine takes for XDG_RUNTIME_DIR.
func runtimeDir(state string) string { return filepath.Join(state, "runtime") }

// runcDir is where runc notes its containers.
func runcDir(state string) string { return filepath.Join(runtimeDir(state), "runc") }

// systemRuncDir is where runc notes them when it is root and nobody tells it
// otherwise; BuildKit does not.
const systemRuncDir = "/run/runc"

// pruneMark is the file whose time says when the cache was last pruned.
func pruneMark(state string) string { return filepath.Join(state, "pruned") }

// cleanTimeout bounds how long one leftover container may take to delete.
const cleanTimeout = 10 * time.Second

// cleanState removes what a killed engine left in its state directory: the notes and
// control groups of containers, bundles, temporary files. Processes and mounts it
// cannot have left, since they ended with its namespaces.
//
// It runs in the new engine's mount namespace and under the lock, so that no mount of
// another engine can stand below what it removes.
func cleanState(ctx context.Context, state string, say *messenger) error {
	containers, err := os.ReadDir(runcDir(state))
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("looking for containers that an earlier run left: %w", err)
	}
	for _, c := range containers {
		say.log(slog.LevelDebug, "deleting container "+c.Name()+", left by an earlier run")
		ctx, cancel := context.WithTimeout(ctx, cleanTimeout)
		// runc compares start times before it kills, so that a process that has the
		// number of one that is gone is safe. What matters here is the control group.
		out, err := exec.CommandContext(ctx, "runc", "--root", runcDir(state), "delete", "--force", c.Name()).CombinedOutput()
		cancel()
		if err != nil {
			say.log(slog.LevelDebug, fmt.Sprintf("runc delete: %v: %s", err, out))
		}
	}
	bundles, err := filepath.Glob(filepath.Join(state, workerPrefix+"*", "executor"))
	if err != nil {
		return fmt.Errorf("looking for what an earlier run left: %w", err)
	}
	for _, dir := range append(bundles, tmpDir(state), runtimeDir(state)) {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing what an earlier run left in the state directory: %w", err)
		}
	}
	for _, dir := range []string{tmpDir(state), runcDir(state)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the state directory: %w", err)
		}
	}
	return nil
}
