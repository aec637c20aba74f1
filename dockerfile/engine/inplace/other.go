//go:build !linux

package inplace

import (
	"context"
	"runtime"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// Engine is a BuildKit that works on a root filesystem. There is none on this system.
type Engine struct{}

// Open answers that the engine needs Linux, in an *engine.UnavailableError.
func Open(context.Context, Options) (*Engine, error) {
	return nil, &unavailable.Error{InPlace: true, Missing: []string{"Linux, where this is " + runtime.GOOS}}
}

// Check answers as Open does.
func Check(ctx context.Context, opts Options) (string, error) {
	_, err := Open(ctx, opts)
	return "", err
}

// SetBase does nothing: no Engine can be opened on this system.
func (*Engine) SetBase(context.Context, digest.Digest, []ocispecs.Descriptor, ocispecs.Image, content.Provider) error {
	return nil
}

// Client returns nothing.
func (*Engine) Client(context.Context) (*client.Client, error) { return nil, nil }

// FastForward does nothing.
func (*Engine) FastForward(context.Context, []digest.Digest) error { return nil }

// Description is empty.
func (*Engine) Description() string { return "" }

// Isolation is empty.
func (*Engine) Isolation() string { return "" }

// Lost returns nothing.
func (*Engine) Lost() error { return nil }

// Close does nothing.
func (*Engine) Close() error { return nil }
