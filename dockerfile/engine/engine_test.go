//go:build linux

package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/sirupsen/logrus"

	"github.com/graft-cnb/graft/dockerfile/engine"
	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/ociruntime"
	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

func TestMain(m *testing.M) {
	embedded.Init()
	os.Exit(m.Run())
}

// Solve a graph wherever the address says. The program's main begins with
// embedded.Init.
func ExampleOpen() {
	ctx := context.Background()
	e, err := engine.Open(ctx, "", engine.Options{})
	var unavailable *engine.UnavailableError
	if errors.As(err, &unavailable) {
		fmt.Println("what is missing:", unavailable.Missing)
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer e.Close()

	c, err := e.Client(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	graph, err := llb.Scratch().File(llb.Mkfile("/hello", 0o644, []byte("hello"))).Marshal(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = c.Solve(ctx, graph, client.SolveOpt{
		Exports: []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: "result"}},
	}, nil)
	fmt.Println(err)
}

// What keeps an engine from being had is one type, embedded or remote.
func TestUnavailable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"": "state directory cannot be made", "unix:///nonexistent.sock": "unix:///nonexistent.sock", "smtp://somewhere": "smtp",
	} {
		e, err := engine.Open(t.Context(), address, engine.Options{StateDir: filepath.Join(file, "state")})
		if err == nil {
			e.Close()
			t.Errorf("%q: an engine was opened", address)
			continue
		}
		var unavailable *engine.UnavailableError
		if !errors.As(err, &unavailable) || unavailable.Address != address || len(unavailable.Missing) == 0 {
			t.Errorf("%q: the error is %#v", address, err)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error lacks %q: %v", address, want, err)
		}
	}
}

// The empty address is the embedded engine, and its description says so.
func TestEmbedded(t *testing.T) {
	needs.Root(t)
	if !ociruntime.Available {
		needs.Program(t, "runc", "runc")
	}
	e, err := engine.Open(t.Context(), "", engine.Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if d := e.Description(); !strings.HasPrefix(d, "embedded BuildKit") || !strings.Contains(d, "RUN isolated") {
		t.Errorf("the description is %q", d)
	}
	c, err := e.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ListWorkers(t.Context()); err != nil {
		t.Error(err)
	}
}

// BuildKit's own log goes to the hook, at debug level, and nowhere else.
func TestBuildKitLogsToTheHook(t *testing.T) {
	open := func(log func(slog.Level, string)) (elsewhere *bytes.Buffer) {
		elsewhere = &bytes.Buffer{}
		logrus.SetOutput(elsewhere)
		if _, err := engine.Open(t.Context(), "unix:///nonexistent.sock", engine.Options{Log: log}); err == nil {
			t.Fatal("an engine was opened")
		}
		return elsewhere
	}
	var lines []string
	elsewhere := open(func(level slog.Level, text string) { lines = append(lines, level.String()+" "+text) })
	logrus.Warn("beware")
	if len(lines) == 0 || !strings.HasPrefix(lines[len(lines)-1], "DEBUG buildkit: ") || !strings.Contains(lines[len(lines)-1], "beware") {
		t.Errorf("the hook got %q", lines)
	}
	log.Print("a word of net/http")
	if len(lines) == 0 || !strings.HasPrefix(lines[len(lines)-1], "DEBUG buildkit: a word of net/http") {
		t.Errorf("the hook got %q", lines)
	}
	heard := len(lines)
	silent := open(nil)
	logrus.Error("not to be heard")
	log.Print("nor this")
	if len(lines) != heard || elsewhere.Len() > 0 || silent.Len() > 0 {
		t.Errorf("without a hook the log went to %q, %q and %q", lines[heard:], elsewhere, silent)
	}
}
