//go:build linux

package embedded

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/orphans"
)

// An engine without a pid namespace of its own has a keeper, which does what the kernel
// does for a pid namespace: when the engine ends, or the program that started it, however
// that is, all that was started ends. The keeper is the engine's parent and that of all
// orphans below it, and it holds the lock of the state directory until nothing is left.

// keeperName is the zeroth argument of a keeper, by which Init knows it.
const keeperName = "graft-engine-keeper"

// keeperEnd is the signal that tells a keeper to end everything. It is none that a service
// manager or a terminal sends.
const keeperEnd = unix.SIGUSR1

// process is the name of the process that the program starts.
func (r requirements) process() string {
	if r.shared {
		return keeperName
	}
	return processName
}

// keeperMain starts the engine, waits for its end or the order to end, and leaves nothing
// running. It returns the exit status.
func keeperMain() (status int) {
	unix.CloseOnExec(connectionFD)
	unix.CloseOnExec(lockFD)
	// See detach.
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	end := make(chan os.Signal, 1)
	signal.Notify(end, keeperEnd)
	status, err := keep(end)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

func keep(end <-chan os.Signal) (status int, err error) {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(keeperEnd), 0, 0, 0); err != nil {
		return 0, fmt.Errorf("asking to be told of the program's end: %w", err)
	}
	if err := orphans.Adopt(true); err != nil {
		return 0, err
	}
	connection := os.NewFile(connectionFD, "program")
	engine := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{processName}, Dir: "/", Env: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		ExtraFiles: []*os.File{connection, os.NewFile(lockFD, "lock")},
	}
	if err := engine.Start(); err != nil {
		return 0, fmt.Errorf("starting the engine: %w", err)
	}
	// The program takes the end of the connection, and of its order, for the engine's.
	connection.Close()
	os.Stdin.Close()
	ended := make(chan error, 1)
	go func() { ended <- engine.Wait() }()
	select {
	case err = <-ended:
	case <-end:
		_ = engine.Process.Kill() // it may have ended by itself
		err = <-ended
	}
	status = engine.ProcessState.ExitCode()
	if status < 0 {
		err = fmt.Errorf("the engine has ended: %w", err)
	} else {
		err = nil // the engine has said why
	}
	if failed := orphans.KillAll(); failed != nil {
		return 0, failed
	}
	return status, err
}

// endOrphans ends, in an engine without a pid namespace of its own, what a RUN leaves
// running when it ends, as the end of its own pid namespace would. As long as a RUN runs, its
// OCI runtime is the parent of orphans.
func endOrphans(say *messenger) error {
	if err := orphans.Adopt(true); err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		for range ended {
			if err := orphans.Kill(); err != nil {
				say.log(slog.LevelWarn, err.Error())
			}
		}
	}()
	return nil
}
