//go:build !linux || !cgo || !seccomp

package ociruntime

// Available says whether this build has an OCI runtime of its own.
const Available = false

// Init makes this process the OCI runtime if it was executed as that, and does not
// return then. In this build it never is.
func Init() {}
