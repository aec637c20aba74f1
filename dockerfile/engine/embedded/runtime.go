//go:build linux

package embedded

import (
	"os/exec"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/assembly"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/ociruntime"
)

// runcProgram is the OCI runtime of a build that has none of its own.
const runcProgram = "runc"

// runtimeCommand returns the command by which BuildKit calls its OCI runtime.
func runtimeCommand(state string) (string, error) {
	if ociruntime.Available {
		return ociruntime.Link(runtimeDir(state))
	}
	return runcProgram, nil
}

// runtimeDescription names the OCI runtime.
func runtimeDescription() string {
	if ociruntime.Available {
		return "its own OCI runtime (libcontainer " + assembly.ModuleVersion("github.com/opencontainers/runc") + ", seccomp)"
	}
	path, err := exec.LookPath(runcProgram)
	if err != nil {
		return runcProgram
	}
	return path
}

// version is that of the BuildKit that is compiled in.
func version() string { return assembly.ModuleVersion(assembly.BuildKit) }
