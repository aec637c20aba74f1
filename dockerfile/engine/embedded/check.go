//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/statelock"
)

// Check finds out whether the engine can run, by starting and ending it, and describes it
// as Engine.Description does. It prunes nothing, and it does not wait for another process
// that uses the state directory: that the engine runs for that one, with namespaces that
// can be made, is answer enough.
//
// Where the engine cannot run, all that is missing is told in an
// *engine.UnavailableError.
func Check(ctx context.Context, opts Options) (description string, err error) {
	if !initialised.Load() {
		return "", errNotInitialised
	}
	opts.CacheTTL, opts.CacheSize = 0, 0
	dir, requirements, err := prepare(opts)
	if err != nil {
		return "", err
	}
	lock, err := statelock.Try(dir)
	if err != nil {
		return "", err
	}
	if lock == nil {
		if line := requirements.namespaces(); line != "" {
			return "", refuse(nil, line)
		}
		return fmt.Sprintf("embedded BuildKit %s, %s, by %s; another process uses its state directory %s, and an engine waits for that", version(), requirements.isolation(), runtimeDescription(), dir), nil
	}
	if err := awaitHolder(ctx, lock); err != nil {
		lock.Close()
		return "", err
	}
	e, err := open(ctx, dir, lock, requirements, opts)
	if err != nil {
		lock.Close()
		return "", err
	}
	if err := e.Close(); err != nil {
		return "", fmt.Errorf("ending the engine after a trial: %w", err)
	}
	return e.Description(), nil
}

var errNotInitialised = errors.New("embedded.Init was not called: call it first thing in main (in a test: in TestMain)")
