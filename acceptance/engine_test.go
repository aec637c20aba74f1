package acceptance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
)

// engine is where a scene's extender solves.
type engine struct {
	name string
	// address of a daemon; empty for the embedded engine.
	address string
	// state is the embedded engine's state directory.
	state string
}

// embedded is the embedded engine with the state directory that tests share: one
// that has been used before, as on a machine where people work.
func embedded(t *testing.T) engine {
	t.Helper()
	return embeddedIn(t, filepath.Join(filepath.Dir(programs), "state"))
}

// embeddedIn is the embedded engine with a state directory of its own.
func embeddedIn(t *testing.T, state string) engine {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to run the embedded engine with the owners of files")
	needProgram(t, "runc", "runc")
	return engine{name: "embedded", state: state}
}

// needOverlayfs needs overlayfs beside an engine's state directory: without it files are
// copied, with a warning.
func needOverlayfs(t *testing.T, state string) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to mount")
	dir, err := os.MkdirTemp(filepath.Dir(state), "overlayfs-")
	check(t, err)
	defer os.RemoveAll(dir)
	err = overlayutils.Supported(dir)
	need(t, err == nil, fmt.Sprintf("a temporary directory in which overlayfs works, which TMPDIR may name (%v)", err))
}

// needProgram ends the test if a program is not installed.
func needProgram(t *testing.T, program, debianPackage string) {
	t.Helper()
	_, err := lookPath(program)
	need(t, err == nil, "the program "+program+" (Debian: "+debianPackage+")")
}

// searchPath is the PATH of the programs: Debian keeps runc where an ordinary
// user does not look.
func searchPath() string { return os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin" }

func lookPath(program string) (string, error) {
	for _, dir := range filepath.SplitList(searchPath()) {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// buildkitd starts a real daemon for the test, with nothing in its cache.
func buildkitd(t *testing.T) engine {
	t.Helper()
	e, _ := startBuildkitd(t)
	return e
}

// startBuildkitd is buildkitd for a test that does something to the daemon, or gives it
// further arguments.
func startBuildkitd(t *testing.T, args ...string) (engine, *exec.Cmd) {
	t.Helper()
	program := os.Getenv("GRAFT_TEST_BUILDKITD")
	need(t, program != "", "GRAFT_TEST_BUILDKITD to name a buildkitd (hack/buildkitd.sh)")
	need(t, os.Geteuid() == 0, "root, to run buildkitd")
	needProgram(t, "runc", "runc")
	dir, err := os.MkdirTemp("", "graft-buildkitd-") // short: a socket's path must be
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "buildkitd.sock")
	daemon := exec.Command(program, append([]string{"--root", filepath.Join(dir, "root"), "--addr", "unix://" + socket,
		"--config", filepath.Join(dir, "none.toml"), "--otel-socket-path", filepath.Join(dir, "otel.sock")}, args...)...)
	daemon.Env = []string{"PATH=" + searchPath(), "HOME=" + dir}
	// In a mount namespace of its own, so that no mount can be left of it.
	daemon.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	log, err := os.Create(filepath.Join(dir, "log"))
	check(t, err)
	defer log.Close()
	daemon.Stdout, daemon.Stderr = log, log
	check(t, daemon.Start())
	t.Cleanup(func() { stopDaemon(t, daemon, log.Name()) })
	eventually(t, "buildkitd makes its socket", func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	return engine{name: "buildkitd", address: "unix://" + socket}, daemon
}

func stopDaemon(t *testing.T, daemon *exec.Cmd, log string) {
	t.Helper()
	_ = daemon.Process.Signal(syscall.SIGTERM) // a test may have ended it
	ended := make(chan struct{})
	go func() {
		_ = daemon.Wait() // its exit code is its own affair
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Errorf("%s does not end", filepath.Base(daemon.Path))
		_ = daemon.Process.Kill()
		<-ended
	}
	if t.Failed() {
		if said, err := os.ReadFile(log); err == nil {
			t.Logf("%s said:\n%s", filepath.Base(daemon.Path), said[max(0, len(said)-2048):])
		}
	}
}

// eachEngine runs a test with the embedded engine and with a daemon.
func eachEngine(t *testing.T, test func(t *testing.T, e engine)) {
	t.Run("embedded", func(t *testing.T) { test(t, embedded(t)) })
	t.Run("buildkitd", func(t *testing.T) { test(t, buildkitd(t)) })
}

// patience is how long is waited for what happens in a moment on a machine that has
// nothing else to do.
const patience = time.Minute

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// nothingLeft waits until a list is empty, of what goes away a moment after whom it
// belonged to.
func nothingLeft(t *testing.T, what string, list func() []string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left := list()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s are left after %v: %v", what, patience, left)
			return
		}
	}
}

// await waits for the end of a command that was started; one that does not end is killed.
func await(t *testing.T, c *exec.Cmd) {
	t.Helper()
	hung := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	_ = c.Wait() // the exit code tells
	if !hung.Stop() {
		t.Errorf("%v has not ended after %v", c.Args, patience)
	}
}

// processesWith lists the processes whose command line holds a text.
func processesWith(t *testing.T, text string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	check(t, err)
	var found []string
	for _, entry := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err == nil && strings.Contains(string(line), text) {
			found = append(found, entry.Name()+": "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// mountsBelow lists the mounts at or below dir in the mount namespace of every
// process: one that is nowhere else to be seen keeps a directory busy all the
// same.
func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	tables, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	check(t, err)
	var found []string
	for _, table := range tables {
		mounts, err := os.ReadFile(table)
		if err != nil {
			if table == "/proc/self/mountinfo" || !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
			continue // the process has ended
		}
		for line := range strings.Lines(string(mounts)) {
			fields := strings.Fields(line)
			if len(fields) > 4 && (fields[4] == dir || strings.HasPrefix(fields[4], dir+"/")) {
				found = append(found, table+": "+line)
			}
		}
	}
	return found
}

// uniqueSeconds is a time to sleep that no other process sleeps.
func uniqueSeconds() string { return fmt.Sprintf("1000%09d", rand.IntN(1e9)) }

// endProcesses ends the processes whose command line holds a mark that is unique
// to the test.
func endProcesses(t *testing.T, mark string) {
	t.Helper()
	for _, process := range processesWith(t, mark) {
		pid, err := strconv.Atoi(process[:strings.Index(process, ":")])
		check(t, err)
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
}
