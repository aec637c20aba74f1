//go:build linux

package embedded_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/tonistiigi/fsutil"

	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/ociruntime"
)

// TestMain lets the test binary become an engine process, or one of the helpers that
// tests start.
func TestMain(m *testing.M) {
	embedded.Init()
	if role := os.Getenv(helperEnv); role != "" {
		os.Exit(helperMain(role))
	}
	os.Exit(m.Run())
}

// need skips a test that cannot run here, and says so; where everything is required it
// fails.
func need(t *testing.T, ok bool, what string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("GRAFT_REQUIRE_ALL") != "":
		t.Fatalf("this test needs %s, and GRAFT_REQUIRE_ALL is set", what)
	default:
		t.Skipf("SKIPPED, this test needs %s", what)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root")
	if !ociruntime.Available {
		needProgram(t, "runc", "runc")
	}
	needProgram(t, "busybox", "busybox-static")
}

func needProgram(t *testing.T, program, pkg string) {
	t.Helper()
	_, err := exec.LookPath(program)
	need(t, err == nil, "the program "+program+" (package "+pkg+")")
}

// record is a log that a test can look at.
type record struct {
	mu    sync.Mutex
	lines []string
}

func (r *record) log(level slog.Level, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, level.String()+" "+text)
}

func (r *record) has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

// open opens an engine that is closed with the test.
func open(t *testing.T, opts embedded.Options) *embedded.Engine {
	t.Helper()
	if opts.Log == nil {
		var log record
		opts.Log = log.log
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(log.String())
			}
		})
	}
	e, err := embedded.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return e
}

// solved is what came of a solve.
type solved struct {
	cached []string // the names of the steps that were not run
	output string   // what the steps wrote
}

// run runs a shell command in a root that holds nothing but busybox, and returns the
// directory that it leaves in /out.
func run(ctx context.Context, e *embedded.Engine, command, out string) (solved, error) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return solved{}, err
	}
	programs, err := fsutil.NewFS(filepath.Dir(busybox))
	if err != nil {
		return solved{}, err
	}
	local := llb.Local("programs", llb.IncludePatterns([]string{"busybox"}))
	state := llb.Scratch().
		File(llb.Copy(local, "busybox", "/bin/busybox", &llb.CopyInfo{CreateDestPath: true})).
		File(llb.Mkdir("/tmp", 0o1777)).
		Run(llb.Args([]string{"/bin/busybox", "sh", "-c", command}), llb.AddEnv("PATH", "/bin"), llb.WithCustomName("run")).
		AddMount("/out", llb.Scratch())
	definition, err := state.Marshal(ctx)
	if err != nil {
		return solved{}, err
	}
	c, err := e.Client(ctx)
	if err != nil {
		return solved{}, err
	}
	return solve(ctx, c, definition, client.SolveOpt{
		LocalMounts: map[string]fsutil.FS{"programs": programs},
		Exports:     []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: out}},
	})
}

func solve(ctx context.Context, c *client.Client, definition *llb.Definition, opt client.SolveOpt) (solved, error) {
	status := make(chan *client.SolveStatus)
	result := make(chan solved)
	go func() {
		var r solved
		var output bytes.Buffer
		cached := map[string]bool{}
		for s := range status {
			for _, v := range s.Vertexes {
				if v.Cached && !cached[v.Name] {
					cached[v.Name] = true
					r.cached = append(r.cached, v.Name)
				}
			}
			for _, l := range s.Logs {
				output.Write(l.Data)
			}
		}
		r.output = output.String()
		result <- r
	}()
	_, err := c.Solve(ctx, definition, opt, status)
	return <-result, err
}

// eventually waits for a condition that is about to hold.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not within %v: %s", within, what)
}
