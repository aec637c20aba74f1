//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The lock of an engine that was killed is not taken before the kernel has done with it;
// a process that only has the same number is not waited for.
func TestLockWaitsForTheEndOfTheLastEngine(t *testing.T) {
	dir := t.TempDir()
	process := exec.Command("sleep", "1000")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	defer process.Process.Kill()
	lock, err := lockState(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := noteHolder(lock, process.Process.Pid); err != nil {
		t.Fatal(err)
	}
	lock.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := lockState(ctx, dir, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("locking while the process runs: %v", err)
	}
	process.Process.Kill() // and nobody waits for it: a zombie is ended
	lock, err = lockState(t.Context(), dir, nil)
	if err != nil {
		t.Fatalf("locking after the process has ended: %v", err)
	}
	process.Wait()

	// This process, but as if it had been started at another time.
	if _, err := lock.WriteAt(fmt.Appendf(nil, "%d 1\n", os.Getpid()), 0); err != nil {
		t.Fatal(err)
	}
	lock.Close()
	lock, err = lockState(t.Context(), dir, nil)
	if err != nil {
		t.Errorf("locking after another process of that number: %v", err)
	}
	lock.Close()
}

// A note of another container means nothing here: each has processes of the same numbers,
// and those that are started together are of the same time. One was waited for until that
// was given up, and the run failed.
func TestLockIgnoresProcessesOfOtherContainers(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockState(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, start, err := processState(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range []string{"%d %s pid:[1]@another", "%d %s"} {
		if err := lock.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := lock.WriteAt(fmt.Appendf(nil, note+"\n", os.Getpid(), start), 0); err != nil {
			t.Fatal(err)
		}
		lock.Close()
		if lock, err = lockState(t.Context(), dir, nil); err != nil {
			t.Fatalf("%q: %v", note, err)
		}
	}
	if err := noteHolder(lock, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if err := forgetHolder(lock); err != nil {
		t.Fatal(err)
	}
	lock.Close()
	if lock, err = lockState(t.Context(), dir, nil); err != nil {
		t.Fatalf("after an end in order: %v", err)
	}
	lock.Close()
}
