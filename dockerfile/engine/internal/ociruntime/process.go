//go:build linux && cgo && seccomp

package ociruntime

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/docker/go-units"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/utils"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/orphans"
)

// newProcess makes libcontainer's process of the one that a bundle describes. It has
// this process's standard streams.
func newProcess(described *specs.Process) (*libcontainer.Process, error) {
	switch {
	case described == nil || len(described.Args) == 0:
		return nil, errors.New("there is no command to run")
	case !filepath.IsAbs(described.Cwd):
		return nil, fmt.Errorf("the working directory %q is not absolute", described.Cwd)
	case described.Terminal:
		return nil, errors.New("this OCI runtime gives no terminals")
	}
	p := &libcontainer.Process{
		Args: described.Args, Env: described.Env, Cwd: described.Cwd,
		UID: int(described.User.UID), GID: int(described.User.GID),
		Label: described.SelinuxLabel, AppArmorProfile: described.ApparmorProfile,
		NoNewPrivileges: &described.NoNewPrivileges,
		Scheduler:       described.Scheduler, IOPriority: described.IOPriority,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		LogLevel: strconv.Itoa(int(logrus.GetLevel())),
	}
	for _, group := range described.User.AdditionalGids {
		p.AdditionalGroups = append(p.AdditionalGroups, int(group))
	}
	if caps := described.Capabilities; caps != nil {
		p.Capabilities = &configs.Capabilities{
			Bounding: caps.Bounding, Effective: caps.Effective, Permitted: caps.Permitted,
			Inheritable: caps.Inheritable, Ambient: caps.Ambient,
		}
	}
	for _, limit := range described.Rlimits {
		name := strings.ToLower(strings.TrimPrefix(limit.Type, "RLIMIT_"))
		known, err := (&units.Ulimit{Name: name}).GetRlimit()
		if err != nil {
			return nil, fmt.Errorf("the resource limit %s: %w", limit.Type, err)
		}
		p.Rlimits = append(p.Rlimits, configs.Rlimit{Type: known.Type, Hard: limit.Hard, Soft: limit.Soft})
	}
	return p, nil
}

// await runs a process in a container until it ends, passes signals on to it, and
// returns its status as a shell would.
func (c command) await(container *libcontainer.Container, process *libcontainer.Process) (status int, err error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	defer signal.Stop(signals)
	if err := container.Run(process); err != nil {
		return 0, err
	}
	go pass(signals, process)
	if c.pidFile != "" {
		if err = writePID(c.pidFile, process); err != nil {
			_ = process.Signal(unix.SIGKILL) // it may have ended by itself
		}
	}
	ended, waitErr := process.Wait()
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) {
		return 0, errors.Join(err, waitErr)
	}
	return utils.ExitStatus(unix.WaitStatus(ended.Sys().(syscall.WaitStatus))), err
}

// ownSignals are those that mean this process: its children's, and those of Go's
// scheduler and of pipes that were closed.
var ownSignals = []os.Signal{unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE}

// pass passes signals on to a process for as long as they come. That a child has ended may be
// said of orphans, in a container without a pid namespace of its own.
func pass(signals <-chan os.Signal, process *libcontainer.Process) {
	pid, _ := process.Pid() // it was started
	for s := range signals {
		if s == unix.SIGCHLD {
			_ = orphans.Reap(pid) // those that are left end with this process
		}
		if !slices.Contains(ownSignals, s) {
			_ = process.Signal(s) // it may have ended
		}
	}
}

// writePID writes the process's number, as it is outside of the container. Who waits
// for the file finds it whole.
func writePID(file string, process *libcontainer.Process) error {
	pid, err := process.Pid()
	if err != nil {
		return err
	}
	partial := file + ".partial"
	err = os.WriteFile(partial, []byte(strconv.Itoa(pid)), 0o644)
	if err == nil {
		err = os.Rename(partial, file)
	}
	if err != nil {
		return fmt.Errorf("writing the process's number: %w", err)
	}
	return nil
}
