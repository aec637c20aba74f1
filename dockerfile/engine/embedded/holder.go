//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// The lock is free as soon as an engine process that was killed has closed its files,
// a moment before the kernel has ended what was started in its pid namespace. So the
// lock file names the engine process, and whoever comes next waits for its end.

// holderRetry is how often it is looked whether the process has ended.
const holderRetry = 2 * time.Millisecond

// holderTimeout is how long that is done: a process that the kernel cannot end in this
// time hangs on a device, and has to be left to it.
const holderTimeout = 10 * time.Second

// noteHolder writes the engine process into the locked file, and where its number counts.
func noteHolder(lock *os.File, pid int) error {
	where, err := numbersIn()
	if err != nil {
		return fmt.Errorf("noting the engine process in %s: %w", lock.Name(), err)
	}
	_, start, err := processState(pid)
	if err == nil {
		err = lock.Truncate(0)
	}
	if err == nil {
		_, err = lock.WriteAt(fmt.Appendf(nil, "%d %s %s\n", pid, start, where), 0)
	}
	if err != nil {
		return fmt.Errorf("noting the engine process in %s: %w", lock.Name(), err)
	}
	return nil
}

// forgetHolder says that the engine process has ended.
func forgetHolder(lock *os.File) error { return lock.Truncate(0) }

// numbersIn names the pid namespace that this process is in, on this machine since it was
// started. Containers share state directories, and each has processes of the same numbers.
func numbersIn() (string, error) {
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "", err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return namespace + "@" + strings.TrimSpace(string(boot)), nil
}

// awaitHolder waits until the engine process that the locked file names has ended with
// all that it started.
func awaitHolder(ctx context.Context, lock *os.File) error {
	text := make([]byte, 256)
	n, _ := lock.ReadAt(text, 0) // at its end, of course
	var pid int
	var started, where string
	if _, err := fmt.Sscan(string(text[:n]), &pid, &started, &where); err != nil {
		return nil // nobody, or nobody any more
	}
	// Of a container that is gone nothing is left, and there is no way to wait for another.
	if here, err := numbersIn(); err != nil || here != where {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, holderTimeout,
		errors.New("it was killed, and the kernel cannot end it"))
	defer cancel()
	for {
		state, start, err := processState(pid)
		// A zombie is all that is left of a process: its namespace has ended before.
		if err != nil || start != started || state == "Z" || state == "X" {
			return nil
		}
		select {
		case <-time.After(holderRetry):
		case <-ctx.Done():
			return fmt.Errorf("waiting for the end of the engine process %d: %w", pid, context.Cause(ctx))
		}
	}
}

// processState returns a process's state and when it was started, as proc(5) has them.
// The latter tells it from another of the same number.
func processState(pid int) (state, start string, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", err
	}
	// The name, in parentheses, may hold anything, parentheses and spaces included.
	const stateField, startField = 3, 22
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) <= startField-stateField {
		return "", "", fmt.Errorf("/proc/%d/stat is not as expected: %q", pid, text)
	}
	return fields[0], fields[startField-stateField], nil
}
