// Package engine is where a build graph is solved: by a BuildKit that is embedded
// in this program, in a container of the program's own making or on the root of the one
// that it runs in, or by a BuildKit daemon elsewhere. All are used through the
// same BuildKit client, so that nobody who describes a graph needs to know which
// of them solves it.
//
// It never knows what is being built: no Dockerfile, no image extension, no
// buildpack. It reads no flag and no environment variable of its own.
package engine

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
	"github.com/graft-cnb/graft/dockerfile/engine/inplace"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
	"github.com/graft-cnb/graft/dockerfile/engine/remote"
)

// Engine solves build graphs.
type Engine interface {
	// Client returns the client of this engine. It belongs to the engine: do not
	// close it. It may be used from several goroutines.
	Client(ctx context.Context) (*client.Client, error)
	// Description says in one line which engine this is, and what keeps the
	// process of a RUN apart from the machine.
	Description() string
	// Isolation returns the part of the description that says what keeps the process of
	// a RUN apart from the machine.
	Isolation() string
	// Lost returns how the engine went away by itself, while it was in use. Nil: it did
	// not, as far as is known. It may be called after Close.
	Lost() error
	// Close ends the engine and whatever still runs in it, within seconds. A
	// solve that is under way fails. Close may be called more than once.
	Close() error
}

var (
	_ Engine = (*embedded.Engine)(nil)
	_ Engine = (*inplace.Engine)(nil)
	_ Engine = (*remote.Engine)(nil)
)

// UnavailableError says that no engine can run here, or that the one named cannot
// be reached, and lists all that is missing.
type UnavailableError = unavailable.Error

// TLS names the files that make a connection to a daemon at tcp:// a safe one.
type TLS = remote.TLS

// Own says which engine of this program the empty address stands for.
type Own string

const (
	// OwnAny is the embedded engine where it can run, and else, in a container, the
	// one that works in place.
	OwnAny Own = ""
	// OwnEmbedded is the embedded engine, which isolates what it runs.
	OwnEmbedded Own = "embedded"
	// OwnInPlace is the engine that works on the root filesystem of the container
	// which the program runs in, and isolates nothing. Its Client can be had after
	// inplace.Engine's SetBase.
	OwnInPlace Own = "inplace"
)

// Options say how an engine is opened. The zero value is good for use.
type Options struct {
	// Own is the engine that the empty address stands for.
	Own Own
	// InContainer says that this is a container that is made for one build. Only there
	// does an engine work in place.
	InContainer bool
	// InPlace are what only the in-place engine needs: Skip and Labels. The rest of it
	// is taken from the other options.
	InPlace inplace.Options
	// StateDir is where an engine of this program keeps its cache. Empty: the directory
	// graft in the user's cache directory.
	StateDir string
	// InsecureRegistries are the registry hosts, with port, that the embedded
	// engine may talk to over plain HTTP or TLS that it cannot verify. A remote
	// engine has its own configuration for that.
	InsecureRegistries []string
	// RegistryCA are certificates that registries may have theirs from, beside those that
	// the system trusts. A remote engine has its own configuration for that too.
	RegistryCA []*x509.Certificate
	// Silence is how long a registry may neither send nor take anything before the embedded
	// engine gives a request up. Zero: 30 seconds.
	Silence time.Duration
	// CacheTTL is the age from which the embedded engine drops records of its
	// cache that nobody used. Zero: it keeps them.
	CacheTTL time.Duration
	// CacheSize is the size in bytes that the embedded engine's cache is brought down to
	// when the engine is closed, by dropping what was not used for longest. Zero: it may
	// grow.
	CacheSize int64
	// TLS is how daemons at tcp:// are spoken to. The zero value: without TLS.
	TLS TLS
	// Log receives what the engine has to say: warnings about how it runs, and,
	// at debug level, what BuildKit logs. It may be called from several goroutines
	// at once. Nil: silence.
	Log func(level slog.Level, message string)
}

// Open opens the engine at an address: the empty address stands for an engine of this
// program (see Own), any other for a BuildKit daemon, and remote.Schemes lists their forms. The
// context bounds the opening alone, not the life of the engine.
//
// An engine that cannot run here or cannot be reached gives an *UnavailableError.
// An engine of this program waits until no other process uses its state directory.
//
// A program that opens the embedded engine has to call embedded.Init first thing
// in main.
func Open(ctx context.Context, address string, opts Options) (Engine, error) {
	logs.Capture(opts.Log)
	if address == "" {
		return openOwn(ctx, opts)
	}
	e, err := remote.Open(ctx, address, remote.Options{TLS: opts.TLS})
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (o Options) embedded() embedded.Options {
	return embedded.Options{
		StateDir:           o.StateDir,
		InsecureRegistries: o.InsecureRegistries,
		RegistryCA:         o.RegistryCA,
		Silence:            o.Silence,
		CacheTTL:           o.CacheTTL,
		CacheSize:          o.CacheSize,
		Log:                o.Log,
	}
}
