package buildmodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Protection is how the app is kept from being changed by bin/generate.
type Protection string

// The protections, the best first.
const (
	// ByLandlock: the kernel refuses every change of contents and names.
	ByLandlock Protection = "Landlock"
	// ByBind: the app is a read-only mount in a mount namespace of its own.
	ByBind Protection = "a read-only bind mount"
	// ByCompare: nothing stops a change, but it is found and fails the phase.
	ByCompare Protection = "comparison before and after"
)

// AppChangedError is an extension that changed the app.
type AppChangedError struct {
	// Path is what changed, and What is how.
	Path, What string
}

func (e *AppChangedError) Error() string {
	return fmt.Sprintf("it changed the app, which it must not: %s %s", e.Path, e.What)
}

// confined is a program that runs with the app protected.
type confined struct {
	process
	app string
	// writable are directories that must stay writable, like the output.
	writable []string
	// only limits which protection may be used; empty for any.
	only Protection
	say  func(format string, args ...any)
}

// setupError is a protection that could not be put in force; the program has not
// been started then.
type setupError struct{ err error }

func (e *setupError) Error() string { return e.err.Error() }
func (e *setupError) Unwrap() error { return e.err }

// run runs the program under the best protection that works here.
func (c confined) run(ctx context.Context) (int, error) {
	app, err := filepath.EvalSymlinks(c.app)
	if err != nil {
		return -1, fmt.Errorf("finding the app: %w", err)
	}
	c.app = app
	for _, protection := range []Protection{ByLandlock, ByBind} {
		if err := c.possible(protection); err != nil {
			c.say("the app cannot be protected by %s: %v", protection, err)
			continue
		}
		code, err := c.runUnder(ctx, protection)
		var setup *setupError
		if errors.As(err, &setup) {
			c.say("the app cannot be protected by %s: %v", protection, setup)
			continue
		}
		c.say("the app was protected by %s", protection)
		return code, err
	}
	if c.only != "" && c.only != ByCompare {
		return -1, fmt.Errorf("the app cannot be protected by %s", c.only)
	}
	return c.runCompared(ctx)
}

// possible says what is in the way of a protection, if anything is known to be.
func (c confined) possible(protection Protection) error {
	if c.only != "" && c.only != protection {
		return errors.New("another protection is asked for")
	}
	if !initialised.Load() {
		return errors.New("this program did not call buildmodule.Init")
	}
	if protection != ByLandlock {
		return nil
	}
	// Truncation is controlled from the third version on.
	if version, err := ll.LandlockGetABIVersion(); err != nil || version < 3 {
		return errors.New("this kernel has no Landlock that controls truncation")
	}
	for _, dir := range c.writable {
		if path := c.writableAbove(dir); path != "" {
			return fmt.Errorf("the app lies in %s, which must stay writable", path)
		}
	}
	return nil
}

// writableAbove is a directory between dir, which may lie anywhere, and the app
// in it, that Landlock would make unwritable; empty if there is none. Where
// nothing could be made anyway, like in / for a user whose HOME that is, Landlock
// takes nothing away.
func (c confined) writableAbove(dir string) string {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil || dir == c.app || !contains(dir, c.app) {
		return ""
	}
	for path := filepath.Dir(c.app); ; path = filepath.Dir(path) {
		if unix.Access(path, unix.W_OK) == nil {
			return path
		}
		if path == dir {
			return ""
		}
	}
}

// contains tells whether path is dir or lies below it.
func contains(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// confinement is what the wrapped process is told.
type confinement struct {
	Protection Protection
	App        string
	Path       string
	Args       []string
}

// initialised says that Init was called.
var initialised atomic.Bool

const (
	// wrapperName is the name under which this executable starts itself to
	// confine itself and then become a module's program.
	wrapperName = "graft-confine"
	reportFD    = 3
)

// runUnder runs the program by way of this executable, which confines itself
// and then becomes the program.
func (c confined) runUnder(ctx context.Context, protection Protection) (int, error) {
	told, err := json.Marshal(confinement{protection, c.app, c.path, append([]string{c.path}, c.args...)})
	if err != nil {
		return -1, &setupError{err}
	}
	report, childReport, err := os.Pipe()
	if err != nil {
		return -1, &setupError{err}
	}
	defer report.Close()
	p := c.process
	p.path, p.args = "/proc/self/exe", []string{string(told)}
	p.prepare = func(cmd *exec.Cmd) {
		cmd.Args[0] = wrapperName
		cmd.ExtraFiles = []*os.File{childReport}
		if protection == ByBind {
			inNamespaces(cmd)
		}
	}
	restore := func() {}
	if protection == ByBind {
		restore = makeDumpable()
	}
	p.started = func() {
		childReport.Close()
		restore()
	}
	code, err := p.run(ctx)
	said, readErr := io.ReadAll(io.LimitReader(report, 4096))
	switch {
	case ctx.Err() != nil:
		return -1, context.Cause(ctx)
	case errors.Is(err, errNotStarted):
		return -1, &setupError{err}
	case len(said) == 0 || readErr != nil:
		return code, err
	}
	return -1, decodeReport(string(said))
}

// inNamespaces gives the program a user namespace, in which nobody is anybody
// else than before, and a mount namespace.
func inNamespaces(cmd *exec.Cmd) {
	attr := cmd.SysProcAttr
	attr.Cloneflags |= syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	// Who is not root in there loses all capabilities when the wrapper starts,
	// but for ambient ones. The wrapper gives this one up.
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
}

// makeDumpable lets this process write the maps of a user namespace although it
// has changed its user, until the returned function is called.
func makeDumpable() func() {
	before, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || before == 1 || unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) != nil {
		return func() {}
	}
	return func() { unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
}

// The wrapper's report begins with whose failure it is.
const (
	setupFailed = "S"
	execFailed  = "E"
)

func decodeReport(said string) error {
	kind, text := said[:1], said[1:]
	if kind == setupFailed {
		return &setupError{errors.New(text)}
	}
	number := 0
	if _, err := fmt.Sscanf(text, "%d", &number); err != nil {
		return errors.New(text)
	}
	return &os.PathError{Op: "exec", Path: text[strings.IndexByte(text, ' ')+1:], Err: syscall.Errno(number)}
}
