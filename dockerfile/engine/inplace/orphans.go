//go:build linux

package inplace

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killPatience is how long processes that were killed may take to end. One that hangs
// on a device longer is left to the kernel, and the step fails.
const killPatience = 10 * time.Second

// adopt asks the kernel to make this process the parent of orphans among its
// descendants, or no longer.
func adopt(yes bool) error {
	var on uintptr
	if yes {
		on = 1
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, on, 0, 0, 0); err != nil {
		return fmt.Errorf("ask to be told of processes that a RUN leaves: %w", err)
	}
	return nil
}

// killOrphans kills everything that a command has left running, until there is
// nothing. What a command starts is never in this process's session, and what this
// process starts itself, such as a credential helper, always is.
func killOrphans() error {
	deadline := time.Now().Add(killPatience)
	for {
		orphans, err := orphans()
		if err != nil || len(orphans) == 0 {
			return err
		}
		for _, pid := range orphans {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
			for {
				_, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
				if !errors.Is(err, unix.EINTR) {
					break
				}
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes that a RUN has left running cannot be ended: %v", orphans)
		}
		time.Sleep(time.Millisecond)
	}
}

// orphans are the children of this process that a command has left to it.
func orphans() ([]int, error) {
	own, err := unix.Getsid(0)
	if err != nil {
		return nil, fmt.Errorf("find this process's session: %w", err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes that a RUN has left running: %w", err)
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		parent, sid, err := family(pid)
		if err == nil && parent == os.Getpid() && sid != own {
			found = append(found, pid)
		}
	}
	return found, nil
}

// family is the parent of a process and its session, as proc(5) has them.
func family(pid int) (parent, sid int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name, in parentheses, may hold anything, parentheses and spaces included.
	after := string(text[strings.LastIndexByte(string(text), ')')+1:])
	var state string
	var group int
	if _, err := fmt.Sscan(after, &state, &parent, &group, &sid); err != nil {
		return 0, 0, fmt.Errorf("/proc/%d/stat is not as expected: %w", pid, err)
	}
	return parent, sid, nil
}
