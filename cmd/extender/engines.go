package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
	"github.com/graft-cnb/graft/dockerfile/engine"
	"github.com/graft-cnb/graft/dockerfile/engine/inplace"
	"github.com/graft-cnb/graft/platform"
)

// engines are the engines of a pool, as they are applied with.
type engines struct {
	pool *engine.Pool
	log  *platform.Log
}

// open opens an engine, and says which.
func (e *engines) open(ctx context.Context) (chain.Engine, error) {
	opened, err := e.pool.Open(ctx)
	if err != nil {
		return nil, withCode(err)
	}
	e.log.Infof("Engine: %s", opened.Description())
	return opened, nil
}

// lost tells how an engine that open has given went away, and whether there is another.
func (e *engines) lost(ctx context.Context, used chain.Engine) (lost error, again bool) {
	opened, ok := used.(engine.Engine)
	if !ok {
		return nil, false
	}
	return e.pool.Lost(ctx, opened)
}

// codedApplier applies Dockerfiles, and knows the exit code of a failure to have an engine
// for a base image.
type codedApplier struct{ *chain.Applier }

// Apply does what chain.Applier.Apply does.
func (a codedApplier) Apply(ctx context.Context, apps ...dockerfile.Application) ([]dockerfile.Applied, error) {
	applied, err := a.Applier.Apply(ctx, apps...)
	var unavailable *engine.UnavailableError
	if errors.As(err, &unavailable) {
		err = platform.WithCode(platform.CodeEngine, err)
	}
	return applied, err
}

// withCode gives the failure to have an engine its exit code: that none can be had is one
// of its own.
func withCode(err error) error {
	var unavailable *engine.UnavailableError
	if errors.As(err, &unavailable) {
		return platform.WithCode(platform.CodeEngine, err)
	}
	return platform.WithCode(platform.CodeExtend, err)
}

// preflight tells which engine would be used, or what is missing.
func preflight(ctx context.Context, in platform.ExtenderInputs) error {
	description, err := newPool(in, newExtender(in, nil).Identity(), in.Log).Check(ctx)
	if err != nil {
		return withCode(err)
	}
	in.Log.Infof("Engine: %s", description)
	return nil
}

// warner takes warnings.
type warner interface {
	Warnf(format string, args ...any)
}

// newPool makes the engines that the platform asked for. The identity is the application's,
// unless the platform names it.
func newPool(in platform.ExtenderInputs, identity string, warn warner) *engine.Pool {
	if in.AppID != "" {
		identity = in.AppID
	}
	return engine.NewPool(in.BuildKit, identity, engine.Options{
		Own:                engine.Own(in.Engine),
		InContainer:        in.InContainer,
		InPlace:            inplace.Options{Skip: ownFiles(in), Labels: platform.DistroLabels("/etc/os-release")},
		StateDir:           in.StateDir,
		InsecureRegistries: in.InsecureRegistries,
		RegistryCA:         in.RegistryCA,
		CacheTTL:           in.CacheTTL,
		CacheSize:          in.CacheSize,
		TLS:                engine.TLS(in.BuildKitTLS),
		Log:                func(level slog.Level, message string) { logEngine(in.Log, warn, level, message) },
	})
}

// ownFiles are the places that are the platform's or this program's, and no part of an
// image that is extended in place.
func ownFiles(in platform.ExtenderInputs) []string {
	files := slices.Clone(in.Builder.Untouched)
	for _, file := range []string{in.ProgressFile, in.Report} {
		if file != "" {
			files = append(files, file)
		}
	}
	return files
}

func logEngine(log *platform.Log, warn warner, level slog.Level, message string) {
	switch {
	case level >= slog.LevelWarn:
		warn.Warnf("%s", message)
	case level >= slog.LevelInfo:
		log.Infof("%s", message)
	default:
		log.Debugf("%s", message)
	}
}
