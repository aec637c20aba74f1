// Package ociruntime is an OCI runtime in this program: what BuildKit otherwise
// needs the program runc for. It exists in builds with cgo and the tag seccomp,
// since namespaces are entered in C and system calls filtered with libseccomp; any
// other build answers that it is not Available.
//
// BuildKit knows a runtime as a command. So the program becomes the runtime when it
// is executed under the runtime's name (see Link), and then takes the part of
// runc's command line that BuildKit's executor makes use of: run, exec, kill,
// delete and state. Containers are made by runc's own library, libcontainer.
//
// It never decides what a container may do, which is the bundle's matter, and it is
// no general runtime: a container is waited for by who runs it, without a terminal.
package ociruntime

import (
	"fmt"
	"os"
	"path/filepath"
)

// Name is the name under which this program is the OCI runtime.
const Name = "graft-oci-runtime"

// Link makes, in a directory, the command that is this program as the OCI runtime,
// and returns its path. The command works for this process and those that it starts,
// also when the program's file has been replaced.
func Link(dir string) (string, error) {
	command := filepath.Join(dir, Name)
	// The process that is about to execute the link is a copy of this one, so its own
	// executable is this program.
	if err := os.Symlink("/proc/self/exe", command); err != nil {
		return "", fmt.Errorf("making the command of the OCI runtime: %w", err)
	}
	return command, nil
}
