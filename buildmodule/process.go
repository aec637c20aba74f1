package buildmodule

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// process is a module's program, ready to be run.
type process struct {
	path string
	args []string
	dir  string
	env  []string
	out  io.Writer
	err  io.Writer
}

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
	if err := start(cmd); err != nil {
		return -1, err
	}
	err := cmd.Wait()
	// Whoever is left in the group has nobody to work for.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
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

// starter starts all programs, from one thread that never ends: the kernel sends
// the death signal when the thread that started a program goes.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func start(cmd *exec.Cmd) error {
	done := make(chan error)
	starter() <- func() { done <- cmd.Start() }
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
