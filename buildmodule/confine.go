package buildmodule

import (
	"context"
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

	"github.com/graft-cnb/graft/platform"
)

// Protection is how the app is kept from being changed by bin/generate.
type Protection string

// The protections, the best first.
//
// A read-only mount refuses every change, while Landlock knows nothing of modes, times
// and extended attributes. Without root it takes a user namespace, and that has a price:
// a module sees files of others as nobody's, cannot give a file to one of its further
// groups, and programs with a set-user-ID bit do not get what that promises. A module
// that is no root has little use for any of that, and none for an app that changes.
const (
	// ByBind: the app is a read-only mount in a mount namespace, which root has made
	// before this process became the build user (see ReadOnlyApp).
	ByBind Protection = "a read-only bind mount"
	// ByUserBind: the same in a user namespace, which an ordinary user may make.
	ByUserBind Protection = "a read-only bind mount in a user namespace"
	// ByLandlock: the kernel refuses every change of contents and names, and no other.
	ByLandlock Protection = "Landlock"
	// ByCompare: nothing stops a change, but it is found and fails the phase.
	ByCompare Protection = "comparison before and after"
)

var errAppIsRoot = errors.New("it is the root directory")

// AppChangedError is an extension that changed the app.
type AppChangedError struct {
	// Path is what changed, and What is how.
	Path, What string
}

func (e *AppChangedError) Error() string {
	return fmt.Sprintf("it changed the app, which it must not: %s %s", platform.Printable(e.Path), e.What)
}

// confined is a program that runs with the app protected.
type confined struct {
	process
	app string
	// writable are directories that must stay writable, like the output.
	writable []string
	// readOnly is where ByBind runs it; nil if nobody could make that.
	readOnly *ReadOnlyApp
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
	before, err := os.Stat(app)
	if err != nil {
		return -1, fmt.Errorf("finding the app: %w", err)
	}
	code, err := c.runProtected(ctx)
	if after, statErr := os.Lstat(app); code == 0 && (statErr != nil || !os.SameFile(before, after)) {
		// No protection of the app keeps a directory above it in its place.
		return code, &AppChangedError{app, "is no longer in its place"}
	}
	return code, err
}

func (c confined) runProtected(ctx context.Context) (int, error) {
	for _, protection := range []Protection{ByBind, ByUserBind, ByLandlock} {
		if err := c.possible(protection); err != nil {
			c.say("the app cannot be protected by %s: %v", protection, err)
			continue
		}
		if protection == ByBind {
			c.say("the app is protected by %s", protection)
			c.process.start = c.readOnly.start
			return c.process.run(ctx)
		}
		code, err := c.runUnder(ctx, protection)
		var setup *setupError
		if !errors.As(err, &setup) {
			return code, err
		}
		c.say("the app cannot be protected by %s: %v", protection, setup)
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
	if protection == ByBind {
		if c.readOnly == nil || c.readOnly.app != c.app {
			return errors.New("it was not made while this process was root")
		}
		return nil
	}
	if !initialised.Load() {
		return errors.New("this program did not call buildmodule.Init")
	}
	if c.app == "/" {
		return errAppIsRoot
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

// initialised says that Init was called.
var initialised atomic.Bool

const (
	// wrapperName is the name under which this executable starts itself to
	// confine itself and then become a module's program. Its arguments are the
	// protection, the app, the program and what the program gets.
	wrapperName = "graft-confine"
	reportFD    = 3
)

// runUnder runs the program by way of this executable, which confines itself
// and then becomes the program.
func (c confined) runUnder(ctx context.Context, protection Protection) (int, error) {
	report, childReport, err := os.Pipe()
	if err != nil {
		return -1, &setupError{err}
	}
	defer report.Close()
	p := c.process
	p.path, p.args = "/proc/self/exe", append([]string{string(protection), c.app, c.path}, c.args...)
	p.prepare = func(cmd *exec.Cmd) {
		cmd.Args[0] = wrapperName
		cmd.ExtraFiles = []*os.File{childReport}
		if protection == ByUserBind {
			inNamespaces(cmd)
		}
	}
	restore := func() {}
	if protection == ByUserBind {
		restore = makeDumpable()
	}
	said := make(chan []byte, 1)
	p.started = func(err error) {
		childReport.Close()
		restore()
		if err == nil {
			go func() { said <- c.readReport(report, protection) }()
		}
	}
	code, err := p.run(ctx)
	if errors.Is(err, errNotStarted) {
		return -1, &setupError{err}
	}
	failure := <-said
	switch {
	case ctx.Err() != nil:
		return -1, context.Cause(ctx)
	case len(failure) == 0:
		return code, err
	}
	return -1, decodeReport(string(failure))
}

// readReport waits until the wrapper has become the program, which closes the
// report, or has said why it has not.
func (c confined) readReport(report io.Reader, protection Protection) []byte {
	said, _ := io.ReadAll(io.LimitReader(report, 4096))
	if len(said) == 0 {
		c.say("the app is protected by %s", protection)
	}
	return said
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
