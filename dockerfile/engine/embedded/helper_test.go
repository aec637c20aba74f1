//go:build linux

package embedded_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
)

// helperEnv names what the test binary is to be instead of a test. A helper
// stands for a program that uses the engine: one that a test can kill.
const (
	helperEnv  = "GRAFT_ENGINE_TEST_HELPER"
	stateEnv   = "GRAFT_ENGINE_TEST_STATE"
	commandEnv = "GRAFT_ENGINE_TEST_COMMAND"
)

const (
	helperRun          = "run"          // run the command in an engine and print its output
	helperOrdinary     = "ordinary"     // become an ordinary user, then helperRun
	helperNoNamespaces = "nonamespaces" // helperOrdinary where no user namespace can be made
	helperLoopback     = "loopback"     // helperRun on a machine that is its own name server
	helperNoGroups     = "nogroups"     // helperRun where no control groups can be made
	helperUnmasked     = "unmasked"     // helperRun as root of a container that may make user namespaces
	helperMasked       = "masked"       // helperUnmasked where parts of /proc are masked
)

const loopbackResolver = "nameserver 127.0.0.7\n"

// The ordinary user that tests make up, in a mount namespace of their own.
const (
	ordinaryUID   = 64321
	ordinaryUser  = "graft-test"
	ordinaryRange = ordinaryUser + ":300000:65536\n"
)

func helperMain(role string) int {
	var err error
	switch role {
	case helperOrdinary:
		err = becomeOrdinary()
	case helperNoNamespaces:
		// The machine's limit is not a test's to change, but what says so can be.
		if err = standIn("/proc/sys/user/max_user_namespaces", "0\n"); err == nil {
			err = becomeOrdinary()
		}
	case helperNoGroups:
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err == nil {
			err = unix.Unmount("/sys/fs/cgroup", unix.MNT_DETACH)
		}
	case helperMasked:
		if err = standIn("/proc/uptime", "masked"); err == nil {
			err = withoutAdministration()
		}
	case helperUnmasked:
		err = withoutAdministration()
	case helperLoopback:
		err = standIn("/etc/resolv.conf", loopbackResolver)
	}
	if err == nil {
		err = helperSolve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func helperSolve() error {
	ctx := context.Background()
	e, err := embedded.Open(ctx, embedded.Options{StateDir: os.Getenv(stateEnv)})
	if err != nil {
		return err
	}
	fmt.Println("open:", e.Description())
	out, err := os.MkdirTemp(os.Getenv(stateEnv), "out-")
	if err != nil {
		return err
	}
	result, err := run(ctx, e, os.Getenv(commandEnv), out)
	fmt.Print(result.Output)
	for _, name := range result.Cached {
		fmt.Println("cached:", name)
	}
	if err != nil {
		e.Close()
		return err
	}
	return e.Close()
}

// becomeOrdinary makes this process, which has a mount namespace of its own, one of a
// user who has subordinate ids.
func becomeOrdinary() error {
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	passwd = fmt.Appendf(passwd, "%s:x:%d:%d::/nonexistent:/bin/sh\n", ordinaryUser, ordinaryUID, ordinaryUID)
	err = errors.Join(standIn("/etc/passwd", string(passwd)),
		standIn("/etc/subuid", ordinaryRange), standIn("/etc/subgid", ordinaryRange))
	if err != nil {
		return err
	}
	if err := syscall.Setgroups([]int{ordinaryUID}); err != nil {
		return err
	}
	if err := syscall.Setgid(ordinaryUID); err != nil {
		return err
	}
	if err := syscall.Setuid(ordinaryUID); err != nil {
		return err
	}
	// As a program started by that user is, and one that changed its user is not:
	// newuidmap looks at who owns the process.
	return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
}

// withoutAdministration executes this program once more, as helperRun, without the capability
// to mount.
func withoutAdministration() error {
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0); err != nil {
		return err
	}
	if err := os.Setenv(helperEnv, helperRun); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

// standIn puts a file with the content in the place of another, for this process, which
// has a mount namespace of its own, and those that it starts.
func standIn(file, content string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("leaving the machine's mounts: %w", err)
	}
	f, err := os.CreateTemp("", "etc-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := unix.Mount(f.Name(), file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("standing in for %s: %w", file, err)
	}
	return nil
}

// helper is a started helper process.
type helper struct {
	*exec.Cmd
	lines  *bufio.Scanner
	errors bytes.Buffer
}

// startHelper starts the test binary in a role.
func startHelper(t *testing.T, role, state, command string) *helper {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := &helper{Cmd: exec.Command(exe)}
	h.Env = append(os.Environ(), helperEnv+"="+role, stateEnv+"="+state, commandEnv+"="+command)
	h.Stderr = &h.errors
	h.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if role != helperRun {
		h.SysProcAttr.Cloneflags = unix.CLONE_NEWNS
	}
	if role == helperOrdinary || role == helperNoNamespaces || role == helperMasked || role == helperUnmasked {
		h.SysProcAttr.Pdeathsig = 0 // a change of user clears it
	}
	out, err := h.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.lines = bufio.NewScanner(out)
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if h.ProcessState == nil {
			h.Process.Kill()
			h.Wait()
		}
	})
	return h
}

// output waits for the helper's end and returns what it printed.
func (h *helper) output(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for h.lines.Scan() {
		text.WriteString(h.lines.Text() + "\n")
	}
	if err := h.Wait(); err != nil {
		t.Fatalf("helper: %v: %s\n%s", err, h.errors.String(), text.String())
	}
	return text.String()
}
