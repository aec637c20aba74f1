//go:build linux

package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
)

// sleepFor makes a RUN that nobody else has: by its number its processes are found.
func sleepFor() (command, mark string) {
	// No number of a temporary directory is as long.
	mark = fmt.Sprintf("1000%09d", rand.IntN(1e9))
	// A process in the background, which nobody waits for, has to end as well.
	return fmt.Sprintf("busybox sleep %s & echo running; busybox sleep %s", mark, mark), mark
}

// processesWith lists the processes of the machine whose arguments contain a text.
func processesWith(text string) (found []string) {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		args, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(args), text) && path != fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
			found = append(found, strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return found
}

// left lists the processes of a RUN, and the mounts of a state directory in the mount
// namespace of whatever process: the engine has one of its own.
func left(state, mark string) (found []string) {
	found = processesWith(mark)
	tables, _ := filepath.Glob("/proc/[0-9]*/mountinfo")
	for _, table := range tables {
		mounts, err := os.ReadFile(table)
		if err != nil {
			continue // the process has ended
		}
		for line := range strings.Lines(string(mounts)) {
			if strings.Contains(line, state) {
				found = append(found, table+": "+line)
			}
		}
	}
	return found
}

// checkNothingLeft looks for processes and mounts of an engine that has ended in order.
func checkNothingLeft(t *testing.T, state, mark string) {
	t.Helper()
	if found := left(state, mark); len(found) > 0 {
		t.Errorf("left are %q", found)
	}
}

// nothingIsLeft waits until there are none of one that was killed: what the kernel ends
// then it ends a moment later.
func nothingIsLeft(t *testing.T, state, mark string) {
	t.Helper()
	var found []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if found = left(state, mark); len(found) == 0 {
			return
		}
	}
	t.Errorf("after %v there are left %q", patience, found)
}

// checkGone looks for control groups that there were.
func checkGone(t *testing.T, groups []string) {
	t.Helper()
	for _, group := range groups {
		if _, err := os.Stat(group); err == nil {
			t.Errorf("the control group %s is left", group)
		}
	}
}

// startSleeping solves a RUN that never ends and returns when it runs. What the solve
// came to is sent to the channel.
func startSleeping(t *testing.T, ctx context.Context, e *embedded.Engine) (mark string, solved chan error) {
	t.Helper()
	command, mark := sleepFor()
	solved = make(chan error, 1)
	out := t.TempDir()
	go func() {
		_, err := run(ctx, e, command, out)
		solved <- err
	}()
	eventually(t, "the RUN runs", func() bool { return len(processesWith("sleep\x00"+mark)) == 2 })
	return mark, solved
}

// Ctrl-C: the caller cancels its solve and closes the engine.
func TestCancelledSolveLeavesNothing(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	e := open(t, embedded.Options{StateDir: state})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mark, solved := startSleeping(t, ctx, e)
	groups := controlGroups(t, state)

	begin := time.Now()
	cancel()
	if err := await(t, "the solve ends", solved); err == nil {
		t.Error("a solve that was cancelled succeeded")
	}
	eventually(t, "the RUN ends", func() bool { return len(processesWith(mark)) == 0 })
	if err := e.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	t.Logf("ended after %v", time.Since(begin))
	checkNothingLeft(t, state, mark)
	checkGone(t, groups)
}

// Close does not wait for a solve that is under way.
func TestCloseEndsARunningSolve(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	e := open(t, embedded.Options{StateDir: state})
	mark, solved := startSleeping(t, t.Context(), e)
	groups := controlGroups(t, state)

	begin := time.Now()
	if err := e.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if took := time.Since(begin); took > patience { // the RUN sleeps for longer
		t.Errorf("closing took %v", took)
	}
	checkNothingLeft(t, state, mark)
	checkGone(t, groups)
	if err := await(t, "the solve ends", solved); err == nil {
		t.Error("a solve succeeded in an engine that was closed")
	}
	if err := e.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

// kill -9 on the program ends the engine and its RUN with it, and the next engine removes
// what else is left.
func TestKilledProgramLeavesNothing(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	command, mark := sleepFor()
	h := startHelper(t, helperRun, state, command)
	eventually(t, "the RUN runs", func() bool { return len(processesWith("sleep\x00"+mark)) == 2 })
	groups := controlGroups(t, state)
	if len(groups) == 0 {
		t.Error("the RUN has no control group to look for")
	}
	if err := h.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	h.Wait()
	nothingIsLeft(t, state, mark)

	e := open(t, embedded.Options{StateDir: state})
	if _, err := run(t.Context(), e, "true", t.TempDir()); err != nil {
		t.Errorf("a RUN after the crash: %v", err)
	}
	for _, dir := range []string{"runc-*/executor/*/config.json", "runtime/*/*", "tmp/*"} {
		if left, _ := filepath.Glob(filepath.Join(state, dir)); len(left) > 0 {
			t.Errorf("the next engine leaves %q", left)
		}
	}
	checkGone(t, groups)
}

// controlGroups lists the control groups of the RUNs of a state directory, in
// every hierarchy there is. Other engines on this machine have theirs beside.
func controlGroups(t *testing.T, state string) []string {
	t.Helper()
	var groups []string
	containers, err := filepath.Glob(filepath.Join(state, "runtime", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, container := range containers {
		for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			found, err := filepath.Glob(filepath.Join(hierarchy, "buildkit", filepath.Base(container)))
			if err != nil {
				t.Fatal(err)
			}
			groups = append(groups, found...)
		}
	}
	return groups
}

// An engine that dies takes nothing else with it: solves fail, and Close tells why.
func TestKilledEngineIsTold(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	e, err := embedded.Open(t.Context(), embedded.Options{StateDir: state})
	if err != nil {
		t.Fatal(err)
	}
	mark, solved := startSleeping(t, t.Context(), e)
	if err := unix.Kill(engineOf(t, os.Getpid()), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the solve ends without an engine", solved); err == nil {
		t.Error("a solve succeeded without an engine")
	}
	if err := e.Close(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("closing an engine that was killed: %v", err)
	}
	nothingIsLeft(t, state, mark)
	open(t, embedded.Options{StateDir: state})
}

// engineOf finds the engine process that another has started.
func engineOf(t *testing.T, parent int) int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		var pid, ppid int
		var state string
		_, after, _ := strings.Cut(string(stat), ") ")
		fmt.Sscan(string(stat), &pid)
		fmt.Sscan(after, &state, &ppid)
		if ppid == parent && strings.HasPrefix(string(args), "graft-engine\x00") {
			return pid
		}
	}
	t.Fatal("there is no engine process")
	return 0
}

// Opening ends with its context.
func TestOpenIsCancelled(t *testing.T) {
	needRoot(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := embedded.Open(ctx, embedded.Options{StateDir: t.TempDir()})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
