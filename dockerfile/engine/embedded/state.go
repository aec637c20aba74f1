//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

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

// cleanState removes what a killed engine left in its state directory, and the control
// groups of its containers. Processes and mounts it cannot have left, since they ended
// with its namespaces.
//
// It runs in the new engine's mount namespace and under the lock, so that no mount of
// another engine can stand below what it removes.
func cleanState(state string, say *messenger) error {
	bundles, err := filepath.Glob(bundlePattern(state))
	if err != nil {
		return fmt.Errorf("looking for what an earlier run left: %w", err)
	}
	for _, bundle := range bundles {
		id := filepath.Base(filepath.Dir(bundle))
		say.log(slog.LevelDebug, "removing the container "+id+", left by an earlier run")
		removeControlGroups(id, say)
	}
	executors, err := filepath.Glob(executorPattern(state))
	if err != nil {
		return fmt.Errorf("looking for what an earlier run left: %w", err)
	}
	for _, dir := range append(executors, tmpDir(state), runtimeDir(state)) {
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

// executorPattern matches the directories in which BuildKit makes the bundles of
// containers, one for each snapshotter.
func executorPattern(state string) string { return filepath.Join(state, workerPrefix+"*", "executor") }

// bundlePattern matches the bundles. A bundle is there before its container has a control
// group, and has the container's name.
func bundlePattern(state string) string { return filepath.Join(executorPattern(state), "*", "rootfs") }

// groupGrace is how long processes that were killed may take to leave their control
// group.
const groupGrace = 2 * time.Second

// removeControlGroups removes a container's control groups in all hierarchies. The kernel
// keeps one that has processes, and those that were killed a moment ago still count.
func removeControlGroups(id string, say *messenger) {
	patience := time.Now().Add(groupGrace)
	for _, pattern := range []string{"/sys/fs/cgroup/buildkit", "/sys/fs/cgroup/*/buildkit"} {
		groups, err := filepath.Glob(filepath.Join(pattern, id))
		if err != nil {
			continue // there is no such hierarchy
		}
		for _, group := range groups {
			err := removeControlGroup(group)
			for errors.Is(err, unix.EBUSY) && time.Now().Before(patience) {
				time.Sleep(5 * time.Millisecond)
				err = removeControlGroup(group)
			}
			if err != nil {
				say.log(slog.LevelDebug, fmt.Sprintf("removing a control group that an earlier run left: %v", err))
			}
		}
	}
}

// removeControlGroup removes a control group after those that a RUN has made in it. What
// looks like files in it goes with it, and cannot be removed.
func removeControlGroup(group string) error {
	entries, err := os.ReadDir(group)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := removeControlGroup(filepath.Join(group, e.Name())); err != nil {
			return err
		}
	}
	return os.Remove(group)
}
