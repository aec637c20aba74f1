package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
	"github.com/graft-cnb/graft/dockerfile/engine"
	"github.com/graft-cnb/graft/platform"
)

// persistent applies Dockerfiles in one engine after the other, until one of them lives
// long enough. What is applied stays the same, build_id included.
type persistent struct {
	applier chain.Applier
	engines *engine.Pool
	log     *platform.Log
}

// Apply does what chain.Applier.Apply does.
func (p *persistent) Apply(ctx context.Context, app dockerfile.Application) (dockerfile.Applied, error) {
	for {
		var used engine.Engine
		applier := p.applier
		applier.Engine = func(ctx context.Context) (chain.Engine, error) {
			e, err := p.open(ctx)
			if err != nil {
				return nil, err
			}
			used = e
			return e, nil
		}
		applied, err := applier.Apply(ctx, app)
		if err == nil || used == nil || ctx.Err() != nil {
			return applied, err
		}
		lost, again := p.engines.Lost(ctx, used)
		if lost == nil {
			return applied, err
		}
		if !again {
			return applied, fmt.Errorf("the BuildKit engine was lost in the midst of the build (%w): %w", lost, err)
		}
		p.log.Warnf("The BuildKit engine was lost in the midst of the build (%v); starting again with another", lost)
	}
}

// open opens an engine.
func (p *persistent) open(ctx context.Context) (engine.Engine, error) {
	e, err := p.engines.Open(ctx)
	if err != nil {
		return nil, withCode(err)
	}
	p.log.Infof("Engine: %s", e.Description())
	return e, nil
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
	description, err := newPool(in).Check(ctx)
	if err != nil {
		return withCode(err)
	}
	in.Log.Infof("Engine: %s", description)
	return nil
}

// newPool makes the engines that the platform asked for.
func newPool(in platform.ExtenderInputs) *engine.Pool {
	return engine.NewPool(in.BuildKit, in.AppID, engine.Options{
		StateDir:           in.StateDir,
		InsecureRegistries: in.InsecureRegistries,
		CacheTTL:           in.CacheTTL,
		CacheSize:          in.CacheSize,
		TLS:                engine.TLS(in.BuildKitTLS),
		Log:                func(level slog.Level, message string) { logEngine(in.Log, level, message) },
	})
}

func logEngine(log *platform.Log, level slog.Level, message string) {
	switch {
	case level >= slog.LevelWarn:
		log.Warnf("%s", message)
	case level >= slog.LevelInfo:
		log.Infof("%s", message)
	default:
		log.Debugf("%s", message)
	}
}
