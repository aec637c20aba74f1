//go:build linux

package embedded_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/ociruntime"
)

// Root without CAP_SYS_ADMIN that may make a user namespace gets the whole isolation where it
// may mount /proc, and is root of the same ids in a RUN.
func TestRootWithoutAdministration(t *testing.T) {
	needOverlayfs(t)
	state := t.TempDir()
	output := startHelper(t, helperUnmasked, state,
		"echo id $(busybox id -u); busybox chown 70000:33 /tmp && echo owner $(busybox stat -c %u:%g /tmp)").output(t)
	for _, want := range []string{"in a user namespace (overlayfs)", "own mount, pid, ipc", "id 0\n", "owner 70000:33\n"} {
		if !strings.Contains(output, want) {
			t.Errorf("a RUN lacks %q:\n%s", want, output)
		}
	}
	// The cache of an engine that is not in a user namespace is another.
	if _, err := os.Stat(filepath.Join(state, "userns", "cache.db")); err != nil {
		t.Error(err)
	}
}

// Where /proc is masked, a RUN shares the program's processes, and what it leaves running
// ends with it all the same. While it runs, what it starts lives on without its parent, and
// whatever ends is reaped.
func TestRunWithoutPIDNamespaceLeavesNothing(t *testing.T) {
	state, ok := sharedState(t)
	if !ok {
		return
	}
	_, mark := sleepFor()
	// A script is called after its file while it runs, and as a zombie.
	output := startHelper(t, helperMasked, state, strings.ReplaceAll(`
		echo '#!/bin/busybox sh' >/tmp/zMARK
		echo 'echo >/tmp/ran' >>/tmp/zMARK
		busybox chmod +x /tmp/zMARK
		busybox sleep MARK &
		(busybox setsid busybox sleep MARK &)
		(busybox setsid /tmp/zMARK &)
		alive() {
			for p in /proc/[0-9]*/cmdline; do busybox tr '\0' ' ' <$p | busybox grep '^busybox sleep MARK $'; done 2>/dev/null
		}
		unreaped() { busybox cat /proc/[0-9]*/stat 2>/dev/null | busybox grep -c '^[0-9]* (zMARK) '; }
		for i in $(busybox seq 600); do
			[ ! -e /tmp/ran ] || [ $(unreaped) != 0 ] || [ $(alive | busybox wc -l) != 2 ] || break
			busybox sleep 0.1
		done
		[ ! -e /tmp/ran ] || echo unreaped $(unreaped)
		alive | busybox sed s/^/alive/
		echo ids $(busybox head -n 1 /proc/self/uid_map)`, "MARK", mark)).output(t)
	for _, want := range []string{"but not from this container's processes", strings.Repeat("alivebusybox sleep "+mark+" \n", 2), "ids 0 0 1\n", "unreaped 0\n"} {
		if !strings.Contains(output, want) {
			t.Errorf("a RUN lacks %q:\n%s", want, output)
		}
	}
	checkNothingLeft(t, state, mark)
}

// A program that is killed takes with it what the kernel does not end by itself, and so does
// an engine process that is killed.
func TestKilledWithoutPIDNamespaceLeavesNothing(t *testing.T) {
	state, ok := sharedState(t)
	if !ok {
		return
	}
	for _, victim := range []string{"program", "engine"} {
		t.Run(victim, func(t *testing.T) {
			command, mark := sleepFor()
			h := startHelper(t, helperMasked, state, "(busybox setsid busybox sleep "+mark+" &); "+command)
			eventually(t, "the RUN runs", func() bool { return len(processesWith("sleep\x00"+mark)) == 3 })
			pid := h.Process.Pid
			if victim == "engine" {
				pid = childNamed(t, childNamed(t, pid, "graft-engine-keeper"), "graft-engine")
			}
			process, err := os.FindProcess(pid)
			if err != nil {
				t.Fatal(err)
			}
			if err := process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := h.Wait(); err == nil {
				t.Error("the program has ended well")
			}
			nothingIsLeft(t, state, mark)
		})
	}
	if output := startHelper(t, helperMasked, state, "echo alive").output(t); !strings.Contains(output, "alive") {
		t.Errorf("the next engine does not run: %s", output)
	}
}

// sharedState is a state directory for an engine that has no pid namespace. A program without
// an OCI runtime of its own has no such engine, and has to say so.
func sharedState(t *testing.T) (state string, ok bool) {
	t.Helper()
	needOverlayfs(t)
	state = t.TempDir()
	if ociruntime.Available {
		return state, true
	}
	h := startHelper(t, helperMasked, state, "true")
	if err := h.Wait(); err == nil || !strings.Contains(h.errors.String(), "use a build with its own OCI runtime") {
		t.Errorf("an engine with runc: %v: %s", err, h.errors.String())
	}
	return "", false
}

// childNamed is the child of a process that has this zeroth argument.
func childNamed(t *testing.T, parent int, name string) int {
	t.Helper()
	found := 0
	eventually(t, name+" runs", func() bool {
		found = findChild(parent, name)
		return found != 0
	})
	return found
}

func findChild(parent int, name string) int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		var state string
		var ppid int
		fmt.Sscan(string(text[strings.LastIndexByte(string(text), ')')+1:]), &state, &ppid)
		args, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err == nil && ppid == parent && string(args) == name+"\x00" {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err == nil {
				return pid
			}
		}
	}
	return 0
}
