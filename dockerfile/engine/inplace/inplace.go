// Package inplace runs BuildKit where no container can be started: in a container
// that may neither mount nor make namespaces. It is BuildKit's solver in this process
// with a worker of its own, whose root filesystem is that of the container, `/`.
//
// The base image is the container's root as it is; no layer of it is ever pulled. A
// RUN is a process like any other in the container. What an operation has changed is
// found by comparing `/` with an index of what it was, and kept as a layer; layers that
// the cache has are applied to `/` before something must run on them, and not otherwise.
// So `/` can only go forward, from the base through one chain of layers.
//
// Nothing is isolated. The package keeps a RUN from the credentials of this process and
// from secrets of other RUNs, and kills what a RUN leaves running; the files of the
// container are open to it. It never mounts, never makes a namespace, and works on `/`
// only if its caller asks for that: never on anything but a container's.
package inplace

import (
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
)

// Options say how the engine is opened. The zero value works on `/`.
type Options struct {
	// Root is the root filesystem to work on. Empty: "/". Any other is entered with
	// chroot(2), and the state directory has to be in it.
	Root string
	// Skip are absolute paths, seen from Root, that belong to no image: whatever
	// changes there is in no layer, and no layer changes anything there. Mounts and
	// the state directory are left alone in any case.
	Skip []string
	// StateDir is where the cache is kept, in the subdirectory "inplace". Empty: the
	// directory graft in the user's cache directory.
	StateDir string
	// InsecureRegistries are registry hosts, with port, that caches may be read from
	// and written to over plain HTTP or over TLS that cannot be verified.
	InsecureRegistries []string
	// RegistryCA are certificates that registries may have theirs from, beside those
	// that the system knows.
	RegistryCA []*x509.Certificate
	// Silence is how long a registry may neither send nor take anything before a request
	// is given up. Zero: 30 seconds.
	Silence time.Duration
	// CacheTTL is the age from which records that nobody used are dropped. Zero:
	// they are kept.
	CacheTTL time.Duration
	// CacheSize is the size in bytes that the cache has at most when the engine has
	// been closed. Zero: any.
	CacheSize int64
	// Environ is the environment that the container was started with, which tells
	// whether it was made from the base image. Nil: that of this process.
	Environ []string
	// Labels are what the container's distribution would be labelled with in the
	// configuration of a base image. An image that has another value for one of them is
	// not what the container was made from; one without tells nothing.
	Labels map[string]string
	// Log receives warnings, and what BuildKit logs, the latter at debug level.
	Log logs.Func
}

// stateDir returns the absolute state directory of this engine.
func (o Options) stateDir() (string, error) {
	dir := o.StateDir
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(cache, "graft")
	}
	dir, err := filepath.Abs(filepath.Join(dir, "inplace"))
	return dir, err
}

func (o Options) root() string {
	if o.Root == "" {
		return "/"
	}
	return filepath.Clean(o.Root)
}

func (o Options) environ() []string {
	if o.Environ == nil {
		return os.Environ()
	}
	return o.Environ
}

// authorities are the certificates of RegistryCA in DER.
func (o Options) authorities() [][]byte {
	var der [][]byte
	for _, c := range o.RegistryCA {
		der = append(der, c.Raw)
	}
	return der
}

func (o Options) debug(message string) { o.Log.Write(slog.LevelDebug, message) }
