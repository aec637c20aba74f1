package engine

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
	"github.com/graft-cnb/graft/dockerfile/engine/inplace"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/assembly"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// CacheImports are the types of shared caches that an engine of this program can take
// from.
func CacheImports() []string { return assembly.CacheImports() }

// CacheExports are the types of shared caches that an engine of this program can give to.
func CacheExports() []string { return assembly.CacheExports() }

// openOwn opens an engine of this program.
func openOwn(ctx context.Context, opts Options) (Engine, error) {
	return choose(opts,
		func() (Engine, error) {
			e, err := embedded.Open(ctx, opts.embedded())
			if err != nil {
				return nil, err
			}
			return e, nil
		},
		func() (Engine, error) {
			e, err := inplace.Open(ctx, opts.inPlace())
			if err != nil {
				return nil, err
			}
			return e, nil
		})
}

// checkOwn describes the engine that openOwn would open.
func checkOwn(ctx context.Context, opts Options) (string, error) {
	return choose(opts,
		func() (string, error) { return embedded.Check(ctx, opts.embedded()) },
		func() (string, error) { return inplace.Check(ctx, opts.inPlace()) })
}

// choose tries the engines of this program: the isolating one first, and the other only
// in a container.
func choose[T any](opts Options, tryEmbedded, tryInPlace func() (T, error)) (T, error) {
	var none T
	if opts.Own == OwnInPlace {
		if !opts.InContainer {
			return none, &unavailable.Error{InPlace: true, Missing: []string{"this is no container that is made for one build, and what is built would change this machine itself: use another engine, or say -in-container if it is one"}}
		}
		return tryInPlace()
	}
	found, err := tryEmbedded()
	var isolating *UnavailableError
	if opts.Own == OwnEmbedded || !opts.InContainer || !errors.As(err, &isolating) {
		return found, err
	}
	logs.Func(opts.Log).Write(slog.LevelDebug, "the embedded engine cannot run here: "+strings.Join(isolating.Missing, "; "))
	found, err = tryInPlace()
	var working *UnavailableError
	if errors.As(err, &working) {
		return none, unavailable.JoinOwn(isolating, working)
	}
	return found, err
}

func (o Options) inPlace() inplace.Options {
	in := o.InPlace
	in.StateDir = o.StateDir
	in.InsecureRegistries = o.InsecureRegistries
	in.RegistryCA = o.RegistryCA
	in.Silence = o.Silence
	in.CacheTTL = o.CacheTTL
	in.CacheSize = o.CacheSize
	in.Log = o.Log
	return in
}
