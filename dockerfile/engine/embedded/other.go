//go:build !linux

package embedded

import (
	"context"
	"runtime"

	"github.com/moby/buildkit/client"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// Engine is a BuildKit in a process of this program. There is none on this system.
type Engine struct{}

// Init does nothing on this system.
func Init() {}

// Open answers that the engine needs Linux, in an *engine.UnavailableError.
func Open(context.Context, Options) (*Engine, error) {
	return nil, &unavailable.Error{Missing: []string{"Linux, where this is " + runtime.GOOS}}
}

// Check answers as Open does.
func Check(ctx context.Context, opts Options) (string, error) {
	_, err := Open(ctx, opts)
	return "", err
}

// Client returns nothing: no Engine can be opened on this system.
func (*Engine) Client(context.Context) (*client.Client, error) { return nil, nil }

// Description is empty.
func (*Engine) Description() string { return "" }

// Isolation is empty.
func (*Engine) Isolation() string { return "" }

// Lost returns nothing.
func (*Engine) Lost() error { return nil }

// Close does nothing.
func (*Engine) Close() error { return nil }
