//go:build linux

package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
)

// A RUN is executed and its result exported; a second engine on the same state
// directory finds it in the cache.
func TestRunIsCachedInTheStateDirectory(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	for i, wantCached := range []bool{false, true} {
		out := t.TempDir()
		begin := time.Now()
		e := open(t, embedded.Options{StateDir: state})
		ready := time.Since(begin)
		result, err := run(t.Context(), e, "echo made > /out/file; echo said", out)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(out, "file"))
		if err != nil || string(content) != "made\n" {
			t.Errorf("engine %d: the file is %q (%v)", i, content, err)
		}
		if cached := slices.Contains(result.Cached, "run"); cached != wantCached {
			t.Errorf("engine %d: RUN cached: %v, want %v", i, cached, wantCached)
		}
		if said := strings.Contains(result.Output, "said"); said == wantCached {
			t.Errorf("engine %d: output of RUN: %q", i, result.Output)
		}
		t.Logf("ready after %v, everything after %v: %s", ready, time.Since(begin), e.Description())
	}
}

// Nothing of the program's environment, processes and files may be visible to a RUN.
func TestRunSeesNothingOfTheProgram(t *testing.T) {
	needRoot(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GRAFT_ENGINE_TEST_SECRET", "do not tell")
	e := open(t, embedded.Options{StateDir: t.TempDir()})
	checkIsolation(t, func(command string) (string, error) {
		result, err := run(t.Context(), e, command, t.TempDir())
		return result.Output, err
	}, "bin dev etc out proc sys tmp", secret)
}

// checkIsolation looks around in a RUN whose root directory is to hold the names in root.
func checkIsolation(t *testing.T, run func(command string) (string, error), root, secret string) {
	t.Helper()
	output, err := run(fmt.Sprintf(`
		echo env: $(busybox env | busybox sort)
		echo root: $(busybox ls /)
		echo processes: $(busybox ls /proc | busybox grep -c '^[0-9]')
		echo first: $(busybox head -c 18 /proc/1/cmdline | busybox tr '\0' ' ')
		echo ambient: $(busybox grep CapAmb /proc/self/status)
		echo $(busybox grep ^Groups /proc/self/status)
		busybox printf 'descriptors: '; busybox ls -C /proc/1/fd
		busybox test -e %s && echo the secret is there
		exit 0`, secret))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for line := range strings.Lines(output) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		values[name] = value
	}
	for name, want := range map[string]string{
		"env":         "HOME=/ PATH=/bin PWD=/ SHLVL=1",
		"root":        root,
		"ambient":     "CapAmb: 0000000000000000",
		"first":       "/bin/busybox sh -c",
		"descriptors": "0 1 2",
		"Groups":      "0",
	} {
		if got := strings.Join(strings.Fields(values[name]), " "); got != want {
			t.Errorf("%s in a RUN: %q, want %q", name, got, want)
		}
	}
	if n, err := strconv.Atoi(values["processes"]); err != nil || n > 5 {
		t.Errorf("a RUN sees %q processes", values["processes"])
	}
	if strings.Contains(output, "do not tell") || strings.Contains(output, "the secret is there") {
		t.Error("a RUN sees the program's environment or files")
	}
	if t.Failed() {
		t.Log(output)
	}
}

// Engines on one state directory take turns, say that they wait, and stop waiting
// when they are told to.
func TestOpenWaitsForTheLock(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	first := open(t, embedded.Options{StateDir: state})

	// whenWaiting is a log that calls a function when the engine says that it waits.
	whenWaiting := func(call func()) func(slog.Level, string) {
		return func(level slog.Level, text string) {
			if level == slog.LevelInfo && text == "waiting for another process that uses the engine's state directory "+state {
				call()
			}
		}
	}

	hung, end := context.WithTimeout(t.Context(), patience)
	defer end()
	ctx, cancel := context.WithCancel(hung)
	defer cancel()
	if _, err := embedded.Open(ctx, embedded.Options{StateDir: state, Log: whenWaiting(cancel)}); !errors.Is(err, context.Canceled) {
		t.Fatalf("opening a second engine: %v, want that it waits, says so, and is cancelled", err)
	}

	waits, second := make(chan error, 1), make(chan error, 1)
	go func() {
		e, err := embedded.Open(t.Context(), embedded.Options{StateDir: state, Log: whenWaiting(func() { waits <- nil })})
		if err == nil {
			err = e.Close()
		}
		second <- err
	}()
	await(t, "the second engine says that it waits", waits)
	select {
	case err := <-second:
		t.Fatalf("the second engine did not wait: %v", err)
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the second engine opens", second); err != nil {
		t.Errorf("the second engine: %v", err)
	}
}

// Records that were not used for the time to live are dropped when the engine ends,
// with what they hold on disk; younger ones are kept.
func TestCloseDropsOldRecords(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	solveOnce := func(ttl time.Duration) (cached bool) { return solveIn(t, state, ttl) }
	solveOnce(time.Hour)
	if !solveOnce(time.Nanosecond) {
		t.Error("a record was dropped before its time")
	}
	snapshots, err := os.ReadDir(filepath.Join(workerDir(t, state), "snapshots", "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	if len(snapshots) > 0 {
		t.Errorf("%d snapshots are left of a cache in which everything was old", len(snapshots))
	}
	if solveOnce(time.Hour) {
		t.Error("an old record was used again")
	}
}

// The zero options keep the cache in the user's cache directory.
func TestDefaultStateDirectory(t *testing.T) {
	needRoot(t)
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	open(t, embedded.Options{}).Close()
	if _, err := os.Stat(filepath.Join(cache, "graft", "cache.db")); err != nil {
		t.Error(err)
	}
}

// A RUN uses the machine's name servers, also those that listen on the machine itself.
func TestRunResolvesNamesAsTheMachineDoes(t *testing.T) {
	needRoot(t)
	output := startHelper(t, helperLoopback, t.TempDir(), "busybox cat /etc/resolv.conf").output(t)
	if !strings.Contains(output, loopbackResolver) {
		t.Errorf("a RUN lacks %q in its resolv.conf:\n%s", loopbackResolver, output)
	}
}

// solveIn runs one step in an engine of its own, and tells whether it came from the cache
// in the state directory. Records that nobody used for the time to live are dropped after it.
func solveIn(t *testing.T, state string, ttl time.Duration) (cached bool) {
	t.Helper()
	e := open(t, embedded.Options{StateDir: state, CacheTTL: ttl})
	result, err := run(t.Context(), e, "echo made > /out/file", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return slices.Contains(result.Cached, "run")
}
