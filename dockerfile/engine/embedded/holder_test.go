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
