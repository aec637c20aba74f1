//go:build linux && cgo && seccomp

package ociruntime

import (
	"fmt"
	"os"
	"path/filepath"

	// The rules for devices, in control groups of either version.
	_ "github.com/opencontainers/cgroups/devices"
	"github.com/opencontainers/runc/libcontainer"
	// What enters the namespaces, before Go's runtime starts its threads.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
)

// Available says whether this build has an OCI runtime of its own.
const Available = true

// The first process of a container is this program once more, until it executes the
// container's command. It becomes that here, and not in Init, so that it is still in
// the first thread, and so that most of the program's packages need not be set up in
// each container.
func init() {
	if isRuntime() && len(os.Args) == 2 && os.Args[1] == "init" {
		libcontainer.Init()
	}
}

// Init makes this process the OCI runtime if it was executed as that, and does not
// return then. In any other process it returns at once.
func Init() {
	if isRuntime() {
		os.Exit(runtimeMain(os.Args[1:]))
	}
}

// isRuntime says whether the program was executed as the runtime.
func isRuntime() bool { return len(os.Args) > 0 && filepath.Base(os.Args[0]) == Name }

// Exit statuses of failures of the runtime itself. They are runc's: the second tells
// a process that could not be started from one that failed.
const (
	statusFailed     = 1
	statusExecFailed = 255
)

// runtimeMain carries a command line out, and returns the exit status: that of the
// container's process, where one was waited for.
func runtimeMain(args []string) int {
	command, err := parse(args)
	if err == nil {
		err = command.log()
	}
	status := 0
	if err == nil {
		status, err = command.do()
	}
	if err == nil {
		return status
	}
	// What is written here is the end of the output of the RUN that could not be started.
	fmt.Fprintf(os.Stderr, "%s: %v\n", command.name, err)
	if command.name == "exec" {
		return statusExecFailed
	}
	return statusFailed
}
