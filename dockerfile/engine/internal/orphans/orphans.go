//go:build linux

// Package orphans ends what a RUN leaves running, where no pid namespace does that: a
// process asks the kernel for the orphans among its descendants, and kills them.
//
// It never touches a process that is no child of this one.
package orphans

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long processes that were killed may take to end. One that hangs
// on a device longer is left to the kernel, and the caller fails.
const patience = 10 * time.Second

// Adopt asks the kernel to make this process the parent of orphans among its
// descendants, or no longer.
func Adopt(yes bool) error {
	var on uintptr
	if yes {
		on = 1
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, on, 0, 0, 0); err != nil {
		return fmt.Errorf("ask to be told of processes that a RUN leaves: %w", err)
	}
	return nil
}

// Kill kills everything that a command has left running, until there is nothing. What a
// command starts is never in this process's session, and what this process starts
// itself, such as a credential helper, always is.
func Kill() error {
	own, err := unix.Getsid(0)
	if err != nil {
		return fmt.Errorf("find this process's session: %w", err)
	}
	return kill(func(c child) bool { return c.sid != own })
}

// KillAll kills every child of this process, and whatever becomes one by that, until there
// is none. Nobody may be waiting for any of them.
func KillAll() error {
	return kill(func(child) bool { return true })
}

// Reap removes the orphans that have ended, all but one child whom another waits for.
func Reap(but int) error {
	children, err := children()
	if err != nil {
		return err
	}
	for _, c := range children {
		if c.pid != but && c.state == zombie {
			wait(c.pid)
		}
	}
	return nil
}

// kill kills the children that are meant, until there is none.
func kill(meant func(child) bool) error {
	deadline := time.Now().Add(patience)
	for {
		children, err := children()
		if err != nil {
			return err
		}
		var left []int
		for _, c := range children {
			if !meant(c) {
				continue
			}
			left = append(left, c.pid)
			_ = unix.Kill(c.pid, unix.SIGKILL) // it may have ended
			wait(c.pid)
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes that a RUN has left running cannot be ended: %v", left)
		}
		time.Sleep(time.Millisecond)
	}
}

// wait takes a child's exit status, if it has ended.
func wait(pid int) {
	for {
		_, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// child is a child of this process.
type child struct {
	pid, sid int
	state    string
}

// zombie is the state of a process that has ended.
const zombie = "Z"

// children are those of this process.
func children() ([]child, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes that a RUN has left running: %w", err)
	}
	var found []child
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		parent, c, err := family(pid)
		if err == nil && parent == os.Getpid() {
			found = append(found, c)
		}
	}
	return found, nil
}

// family is the parent of a process and the rest that is asked of it, as proc(5) has them.
func family(pid int) (parent int, c child, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, c, err
	}
	// The name, in parentheses, may hold anything, parentheses and spaces included.
	after := string(text[strings.LastIndexByte(string(text), ')')+1:])
	c.pid = pid
	var group int
	if _, err := fmt.Sscan(after, &c.state, &parent, &group, &c.sid); err != nil {
		return 0, c, fmt.Errorf("/proc/%d/stat is not as expected: %w", pid, err)
	}
	return parent, c, nil
}
