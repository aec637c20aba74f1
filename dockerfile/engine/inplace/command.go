//go:build linux

package inplace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/orphans"
)

// command is a process to start in the container.
type command struct {
	path   string
	args   []string
	env    []string
	dir    string
	chroot string
	uid    uint32
	gid    uint32
	groups []uint32
	log    logs.Func

	stdin          io.Reader
	stdout, stderr io.Writer
}

// allowed are the capabilities that a command may have: those that containers have by
// default. One that could look into other processes would find credentials there.
var allowed = []uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD,
	unix.CAP_NET_RAW, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP,
	unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_KILL, unix.CAP_AUDIT_WRITE,
}

// run runs the command, and returns its exit status when nothing is left of it. It
// ends with the context.
func (c *command) run(ctx context.Context, started func()) (int, error) {
	out, err := newPipes(c.stdin, c.stdout, c.stderr)
	if err != nil {
		return 0, err
	}
	defer out.close()
	process, waited, err := c.start(out.theirs())
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", c.path, err)
	}
	out.copy()
	started()
	var state *os.ProcessState
	select {
	case state = <-waited:
	case <-ctx.Done():
		// The whole group: a shell would leave its children behind.
		_ = unix.Kill(-process.Pid, unix.SIGKILL)
		_ = process.Kill()
		state = <-waited
	}
	if err := orphans.Kill(); err != nil {
		return 0, err
	}
	out.wait()
	if state == nil {
		return 0, errors.New("the command's exit status is not known")
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return state.ExitCode(), nil
}

// start starts the process in a thread of its own. The thread gives up capabilities,
// which the process inherits, and it lives as long as the process: the kernel is asked
// to kill the process when its parent ends, and takes that to be the thread.
func (c *command) start(files []*os.File) (*os.Process, <-chan *os.ProcessState, error) {
	type outcome struct {
		process *os.Process
		err     error
	}
	started := make(chan outcome, 1)
	waited := make(chan *os.ProcessState, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		if err := dropCapabilities(); err != nil {
			started <- outcome{err: err}
			return
		}
		p, err := os.StartProcess(c.path, c.args, &os.ProcAttr{
			Dir: c.dir, Env: c.env, Files: files,
			Sys: &syscall.SysProcAttr{
				Chroot: c.chroot, Setsid: true, Pdeathsig: syscall.SIGKILL,
				Credential: &syscall.Credential{Uid: c.uid, Gid: c.gid, Groups: c.groups},
			},
		})
		started <- outcome{p, err}
		if err != nil {
			return
		}
		state, err := p.Wait()
		if err != nil {
			c.log.Write(slog.LevelDebug, fmt.Sprintf("waiting for the command of a RUN: %v", err))
		}
		waited <- state
	}()
	o := <-started
	return o.process, waited, o.err
}

// dropCapabilities takes from the calling thread's bounding set what a command may not
// have.
func dropCapabilities() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if slices.Contains(allowed, c) {
			continue
		}
		held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil || held == 0 {
			continue // the kernel does not know it, or the container does not have it
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("keep capability %d from a RUN: %w", c, err)
		}
	}
	// What is inheritable comes back when root executes a program.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read the capabilities of this process: %w", err)
	}
	var mask [2]uint32
	for _, c := range allowed {
		mask[c/32] |= 1 << (c % 32)
	}
	for n := range data {
		data[n].Inheritable &= mask[n]
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("keep capabilities from a RUN: %w", err)
	}
	return nil
}

// pipes are the standard streams of a command.
type pipes struct {
	null   *os.File
	ours   []*os.File
	given  []*os.File
	to     []io.Writer
	copies sync.WaitGroup
}

func newPipes(stdin io.Reader, stdout, stderr io.Writer) (*pipes, error) {
	if stdin != nil {
		return nil, errors.New("in place a command has no standard input")
	}
	p := &pipes{}
	var err error
	if p.null, err = os.Open(os.DevNull); err != nil {
		return nil, err
	}
	for _, w := range []io.Writer{stdout, stderr} {
		if w == nil {
			w = io.Discard
		}
		r, theirs, err := os.Pipe()
		if err != nil {
			p.close()
			return nil, fmt.Errorf("make a pipe for a command: %w", err)
		}
		p.ours, p.given, p.to = append(p.ours, r), append(p.given, theirs), append(p.to, w)
	}
	return p, nil
}

func (p *pipes) theirs() []*os.File { return append([]*os.File{p.null}, p.given...) }

// copy passes on what the command writes. It is called when the command has its ends.
func (p *pipes) copy() {
	for _, f := range p.given {
		f.Close()
	}
	for n, r := range p.ours {
		p.copies.Go(func() { _, _ = io.Copy(p.to[n], r) })
	}
}

// wait waits until all is passed on: every writer has ended.
func (p *pipes) wait() { p.copies.Wait() }

func (p *pipes) close() {
	for _, f := range append(slices.Concat(p.ours, p.given), p.null) {
		f.Close()
	}
}
