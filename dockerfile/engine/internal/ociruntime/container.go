//go:build linux && cgo && seccomp

package ociruntime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/go-runc"
	"github.com/moby/sys/userns"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runc/libcontainer/utils"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/orphans"
)

// run makes the container that a bundle describes, waits for its end, and removes what
// notes it, unless that is to be kept for delete.
func (c command) run() (status int, err error) {
	// Libcontainer takes the working directory for the bundle's.
	if err := os.Chdir(c.bundle); err != nil {
		return 0, fmt.Errorf("opening the bundle: %w", err)
	}
	var spec specs.Spec
	if err := readJSON("config.json", &spec); err != nil {
		return 0, fmt.Errorf("reading the bundle %s: %w", c.bundle, err)
	}
	if spec.Linux == nil {
		return 0, fmt.Errorf("the bundle %s is not for Linux", c.bundle)
	}
	process, err := newProcess(spec.Process)
	if err != nil {
		return 0, err
	}
	process.Init = true
	// In a user namespace of others control groups are not to be had, and done without.
	limited := os.Geteuid() != 0 || userns.RunningInUserNS()
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:      c.id,
		NoPivotRoot:     c.noPivot,
		Spec:            &spec,
		RootlessEUID:    os.Geteuid() != 0,
		RootlessCgroups: limited,
	})
	if err != nil {
		return 0, err
	}
	if !config.Namespaces.IsPrivate(configs.NEWPID) {
		// What the container's processes leave has nobody else before the container ends.
		if err := orphans.Adopt(true); err != nil {
			return 0, err
		}
	}
	if err := os.MkdirAll(c.root, 0o700); err != nil {
		return 0, fmt.Errorf("making the directory that notes containers: %w", err)
	}
	container, err := libcontainer.Create(c.root, c.id, config)
	if err != nil {
		return 0, err
	}
	status, err = c.await(container, process)
	if !c.keep {
		err = errors.Join(err, container.Destroy())
	}
	return status, err
}

// exec runs one more process in a container, and waits for its end.
func (c command) exec() (status int, err error) {
	container, err := libcontainer.Load(c.root, c.id)
	if err != nil {
		return 0, err
	}
	state, err := container.Status()
	if err != nil {
		return 0, err
	}
	if state != libcontainer.Running {
		return 0, fmt.Errorf("the container %s is %s", c.id, state)
	}
	var described specs.Process
	if err := readJSON(c.process, &described); err != nil {
		return 0, fmt.Errorf("reading the process to execute: %w", err)
	}
	process, err := newProcess(&described)
	if err != nil {
		return 0, err
	}
	return c.await(container, process)
}

// kill sends a signal to the container's first process.
func (c command) kill() error {
	container, err := libcontainer.Load(c.root, c.id)
	if err != nil {
		return err
	}
	return container.Signal(c.signal)
}

// deathGrace is how long a container that is killed may take to end.
const deathGrace = 10 * time.Second

// delete removes a container that has ended, or ends it before if that is forced.
func (c command) delete() error {
	container, err := libcontainer.Load(c.root, c.id)
	if errors.Is(err, libcontainer.ErrNotExist) {
		// One whose start failed early has its directory all the same.
		return errors.Join(err, os.RemoveAll(filepath.Join(c.root, c.id)))
	}
	if err != nil {
		return err
	}
	state, err := container.Status()
	if err != nil {
		return err
	}
	if state == libcontainer.Stopped {
		return container.Destroy()
	}
	if !c.force && state != libcontainer.Created {
		return fmt.Errorf("the container %s is %s", c.id, state)
	}
	if err := container.Signal(unix.SIGKILL); err != nil {
		return err
	}
	for patience := time.Now().Add(deathGrace); time.Now().Before(patience); time.Sleep(5 * time.Millisecond) {
		if state, err := container.Status(); err != nil || state == libcontainer.Stopped {
			return errors.Join(err, container.Destroy())
		}
	}
	return fmt.Errorf("the container %s was killed, and did not end within %v", c.id, deathGrace)
}

// state describes a container in JSON.
func (c command) state(out io.Writer) error {
	container, err := libcontainer.Load(c.root, c.id)
	if err != nil {
		return err
	}
	status, err := container.Status()
	if err != nil {
		return err
	}
	state, err := container.State()
	if err != nil {
		return err
	}
	described := runc.Container{
		ID: c.id, Status: status.String(), Created: state.Created, Rootfs: state.Config.Rootfs,
	}
	described.Bundle, described.Annotations = utils.Annotations(state.Config.Labels)
	if status != libcontainer.Stopped {
		described.Pid = state.InitProcessPid
	}
	return json.NewEncoder(out).Encode(described)
}

// readJSON reads a file that holds one value.
func readJSON(file string, value any) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(content, value)
}
