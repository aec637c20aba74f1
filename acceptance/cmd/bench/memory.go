package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// peakMemory runs a command and returns the most memory that it and all its descendants
// had at one time, in bytes.
func peakMemory(cmd *exec.Cmd) (int64, error) {
	return peakMemoryOf(cmd, func() int { return cmd.Process.Pid })
}

// peakMemoryOf runs a command and returns the most memory that a process and all its
// descendants had at one time, in bytes: what they share counts once. It looks every few
// milliseconds, so a shorter peak is missed. The process may be none, with the number 0,
// for a while.
func peakMemoryOf(cmd *exec.Cmd, pid func() int) (int64, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var peak int64
	for {
		select {
		case err := <-ended:
			if err != nil {
				return 0, fmt.Errorf("%s: %w\n%s", cmd, err, out.Bytes())
			}
			return peak, nil
		case <-time.After(5 * time.Millisecond):
			if n := pid(); n != 0 {
				peak = max(peak, memoryOf(n))
			}
		}
	}
}

// memoryOf is the memory of a process and its descendants. One that has ended has none.
func memoryOf(pid int) int64 {
	all := proportionalSize(pid)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return all
	}
	for _, task := range tasks {
		children, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		for _, child := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(child); err == nil && !sameMemory(pid, n) {
				all += memoryOf(n)
			}
		}
	}
	return all
}

// sameMemory tells whether two processes have one memory, as a child has with its parent
// until it executes a program: it must not count twice.
func sameMemory(pid, child int) bool {
	const kcmpVM = 1
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(pid), uintptr(child), kcmpVM, 0, 0, 0)
	return errno == 0 && order == 0
}

// proportionalSize is the kernel's Pss of a process: pages that several processes have
// count for each in part.
func proportionalSize(pid int) int64 {
	summary, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(summary)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}
