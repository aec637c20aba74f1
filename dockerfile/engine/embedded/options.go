// Package embedded runs BuildKit as part of this program: no daemon, no socket
// file, nothing to install. Only a build without cgo, or without the tag seccomp, needs
// runc: any other is its own OCI runtime.
//
// The engine is a process of its own, started from this program's executable, in
// namespaces of its own: a mount namespace, so that no mount can stay on the
// machine, and a pid namespace of which it is the first process, so that whatever
// a RUN started ends with it, however it ends. An ordinary user's engine gets a
// user namespace too, and so does root's in a container that allows no more; where that
// container's /proc cannot be mounted anew, a process that keeps watch stands in for the pid
// namespace. The program talks to it over a socket pair with BuildKit's
// own client.
//
// It keeps everything below its state directory, for which one process at a time
// holds a lock. It never writes elsewhere, and it knows nothing of what is built.
package embedded

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
)

// Options say how the embedded engine is opened. The zero value is good for use;
// the fields are those of engine.Options.
type Options struct {
	// StateDir is where the cache is kept. Empty: the directory graft in the user's
	// cache directory.
	StateDir string
	// InsecureRegistries are registry hosts, with port, that may be talked to over
	// plain HTTP or over TLS that cannot be verified.
	InsecureRegistries []string
	// RegistryCA are certificates that registries may have theirs from, beside those
	// that the system trusts.
	RegistryCA []*x509.Certificate
	// Silence is how long a registry may neither send nor take anything before a request
	// is given up. Zero: 30 seconds.
	Silence time.Duration
	// CacheTTL is the age from which records that nobody used are dropped. Zero:
	// they are kept.
	CacheTTL time.Duration
	// CacheSize is the size in bytes that the cache has at most when the engine has been
	// closed. Zero: any.
	CacheSize int64
	// Log receives warnings, and what BuildKit logs, the latter at debug level.
	Log logs.Func
}

// stateDir returns the absolute state directory.
func (o Options) stateDir() (string, error) {
	dir := o.StateDir
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("finding the user's cache directory: %w", err)
		}
		dir = filepath.Join(cache, "graft")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the state directory %s: %w", dir, err)
	}
	return abs, nil
}
