package buildmodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a module's program, ready to be run.
type process struct {
	path string
	args []string
	dir  string
	env  []string
	out  io.Writer
	err  io.Writer
	// prepare changes the command before it starts, and started is called once
	// it has, or with an error if it has not; both may be nil.
	prepare func(*exec.Cmd)
	started func(error)
	// start starts the command; nil for what any thread of this process does.
	start func(*exec.Cmd) error
	// alone tells that no other child of this process runs meanwhile, so that
	// whatever the program left behind can be found and killed, even what left
	// its process group.
	alone bool
}

// errNotStarted is wrapped by the error for a program that could not be started.
var errNotStarted = errors.New("not started")

// pipeGrace is how long output is still read after a program ended that left
// children behind with its pipes open.
const pipeGrace = 500 * time.Millisecond

// run runs the program in a process group of its own and returns its exit code.
// When ctx ends the whole group dies, and it dies with this process; what a
// program leaves running when it ends is killed too. The error is set when the
// program could not be run or was killed.
func (p process) run(ctx context.Context) (int, error) {
	cmd := exec.CommandContext(ctx, p.path, p.args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, p.out, p.err
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeGrace
	if p.prepare != nil {
		p.prepare(cmd)
	}
	if p.alone {
		// Orphans become children of this process and not of init.
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	if p.start == nil {
		p.start = start
	}
	err := p.start(cmd)
	if p.started != nil {
		p.started(err)
	}
	if err != nil {
		return -1, fmt.Errorf("%w: %w", errNotStarted, err)
	}
	err = cmd.Wait()
	// Whoever is left in the group has nobody to work for.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if p.alone {
		killOrphans()
	}
	if ctx.Err() != nil {
		return -1, context.Cause(ctx)
	}
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0, nil
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	}
	return -1, err
}

// killOrphans kills all children of this process, and theirs as they become
// its own, until none is left but those that have become another user: nobody
// can kill these, and nobody waits for them.
func killOrphans() {
	for killed := true; killed; {
		killed = false
		for _, pid := range childrenOf(os.Getpid()) {
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				_, _ = syscall.Wait4(pid, nil, 0, nil)
				killed = true
			}
		}
	}
}

// childrenOf lists the children of a process.
func childrenOf(parent int) []int {
	var children []int
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		if err != nil {
			continue
		}
		// The name of the program, in parentheses, may contain anything.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children
}

// startersAtOnce is how many threads start programs: the kernel makes one new
// process of this one at a time, while the others prepare theirs.
const startersAtOnce = 4

// starters start all programs, from threads that never end: the kernel sends the
// death signal when the thread that started a program goes. Files that whoever
// started this process left open are not for modules: one could be the app.
var starters = sync.OnceValue(func() chan<- func() {
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	work := make(chan func())
	for range startersAtOnce {
		go func() {
			runtime.LockOSThread()
			for f := range work {
				f()
			}
		}()
	}
	return work
})

func start(cmd *exec.Cmd) error { return startBy(starters(), cmd) }

func startBy(thread chan<- func(), cmd *exec.Cmd) error {
	// Whoever starts programs begins with closing what they must not have.
	starters()
	done := make(chan error, 1)
	thread <- func() { done <- cmd.Start() }
	return <-done
}

// tail keeps the end of what is written to it.
type tail struct {
	data  []byte
	limit int
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - t.limit; over > t.limit {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

func (t *tail) bytes() []byte {
	return t.data[max(0, len(t.data)-t.limit):]
}
