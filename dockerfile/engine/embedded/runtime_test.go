//go:build linux

package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/enginetest"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/ociruntime"
)

// Whichever runtime runs a RUN: its system calls are filtered, and a filtered one is
// refused. The engine's description says which runtime that is, and so does Check.
func TestRunIsFiltered(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	e := open(t, embedded.Options{StateDir: state})
	result, err := run(t.Context(), e, `
		busybox grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status
		busybox unshare -U true || echo no user namespace`, t.TempDir())
	if err != nil {
		t.Fatalf("%v\n%s", err, result.Output)
	}
	for _, want := range []string{"Seccomp:\t2\n", "no user namespace"} {
		if !strings.Contains(result.Output, want) {
			t.Errorf("a RUN lacks %q:\n%s", want, result.Output)
		}
	}
	want := "runc"
	if ociruntime.Available {
		want = "by its own OCI runtime (libcontainer "
	}
	busy, err := embedded.Check(t.Context(), embedded.Options{StateDir: state})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	idle, err := embedded.Check(t.Context(), embedded.Options{StateDir: state})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{e.Description(), busy, idle} {
		if !strings.Contains(d, want) {
			t.Errorf("the description %q does not say %q", d, want)
		}
	}
}

// A build with its own runtime needs no runc, and starts none that there is.
func TestOwnRuntimeNeedsNoRunc(t *testing.T) {
	needOwnRuntime(t)
	needRoot(t)
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	t.Setenv("PATH", programs)
	// One that would fail a RUN, if it were called.
	trap := "#!" + busybox + " sh\necho a runc was called >&2; exit 9\n"
	enginetest.Program(t, filepath.Join(programs, "busybox"), program)
	enginetest.Program(t, filepath.Join(programs, "runc"), []byte(trap))
	for _, with := range []string{"a runc that fails", "no runc"} {
		e := open(t, embedded.Options{StateDir: t.TempDir()})
		if result, err := run(t.Context(), e, "true", t.TempDir()); err != nil {
			t.Errorf("with %s in PATH: %v\n%s", with, err, result.Output)
		}
		e.Close()
		os.Remove(filepath.Join(programs, "runc"))
	}
}

// The same without root's privileges.
func TestOrdinaryUsersRunIsFiltered(t *testing.T) {
	state := needOrdinary(t)
	output := startHelper(t, helperOrdinary, state, "busybox grep ^Seccomp: /proc/self/status").output(t)
	if !strings.Contains(output, "Seccomp:\t2\n") {
		t.Errorf("an ordinary user's RUN is not filtered:\n%s", output)
	}
}

// How a process ended is BuildKit's to judge, so every runtime has to say it alike, and
// why one could not be started has to be in the output.
func TestRunsThatFail(t *testing.T) {
	needRoot(t)
	e := open(t, embedded.Options{StateDir: t.TempDir()})
	for _, test := range []struct{ command, status, output string }{
		{"exit 7", "exit code: 7", ""},
		{"exec /nonexistent", "exit code: 127", "/nonexistent"},
	} {
		result, err := run(t.Context(), e, test.command, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), test.status) || !strings.Contains(result.Output, test.output) {
			t.Errorf("%s: %v\n%s", test.command, err, result.Output)
		}
	}
	output, err := runArgs(t, e, "/nonexistent")
	if err == nil || !strings.Contains(err.Error(), "exit code: 1") || !strings.Contains(output, "/nonexistent") ||
		!strings.Contains(output, "no such file or directory") {
		t.Errorf("a command that is not there: %v\n%s", err, output)
	}
	// And the engine goes on.
	if _, err := run(t.Context(), e, "true", t.TempDir()); err != nil {
		t.Error(err)
	}
}

// runArgs runs a command without a shell.
func runArgs(t *testing.T, e *embedded.Engine, args ...string) (output string, err error) {
	t.Helper()
	definition, err := llb.Scratch().File(llb.Mkdir("/tmp", 0o1777)).
		Run(llb.Args(args)).Root().Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	result, err := solve(t.Context(), c, definition, client.SolveOpt{
		Exports: []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: t.TempDir()}},
	})
	return result.Output, err
}

// A container of BuildKit's gateway has further processes, which are signalled and end
// with a status of their own; and so does its first.
func TestGatewayContainer(t *testing.T) {
	needRoot(t)
	e := open(t, embedded.Options{StateDir: t.TempDir()})
	c, err := e.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	programs, err := fsutil.NewFS(filepath.Dir(busybox))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Build(t.Context(), client.SolveOpt{LocalMounts: map[string]fsutil.FS{"programs": programs}}, "graft-test",
		func(ctx context.Context, g gateway.Client) (*gateway.Result, error) {
			return nil, useContainer(ctx, t, g)
		}, nil)
	if err != nil {
		t.Error(err)
	}
}

func useContainer(ctx context.Context, t *testing.T, g gateway.Client) error {
	local := llb.Local("programs", llb.IncludePatterns([]string{"busybox"}))
	definition, err := llb.Scratch().File(llb.Copy(local, "busybox", "/busybox")).Marshal(ctx)
	if err != nil {
		return err
	}
	root, err := g.Solve(ctx, gateway.SolveRequest{Definition: definition.ToPB()})
	if err != nil {
		return err
	}
	container, err := g.NewContainer(ctx, gateway.NewContainerRequest{
		Mounts: []gateway.Mount{{Dest: "/", MountType: pb.MountType_BIND, Ref: root.Ref}},
	})
	if err != nil {
		return err
	}
	defer container.Release(ctx)
	start := func(script string) (gateway.ContainerProcess, error) {
		return container.Start(ctx, gateway.StartRequest{Args: []string{"/busybox", "sh", "-c", script}, Cwd: "/"})
	}
	first, err := start("trap 'exit 3' TERM; while :; do /busybox sleep 0.05; done")
	if err != nil {
		return err
	}
	// One that fails would end the container.
	further, err := start("exit 0")
	if err != nil {
		return err
	}
	if got, err := exitCode(further.Wait()); err != nil || got != 0 {
		t.Errorf("a further process: status %d (%v)", got, err)
	}
	if err := first.Signal(ctx, unix.SIGTERM); err != nil {
		return err
	}
	if got, err := exitCode(first.Wait()); err != nil || got != 3 {
		t.Errorf("the first process, told to end: status %d (%v)", got, err)
	}
	return nil
}

// exitCode returns the status that a process's error tells.
func exitCode(err error) (uint32, error) {
	var exit *gatewaypb.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.ExitCode != gatewaypb.UnknownExitStatus:
		return exit.ExitCode, nil
	}
	return 0, fmt.Errorf("not an exit status: %w", err)
}

// needOwnRuntime skips what tests the program's own runtime, in a build without: the
// tests run in either build.
func needOwnRuntime(t *testing.T) {
	t.Helper()
	if !ociruntime.Available {
		t.Skip("this build has no OCI runtime of its own: it is tested with -tags seccomp and cgo")
	}
}
