package chain

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/buildkit/client"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/base"
	"github.com/graft-cnb/graft/dockerfile/result"
)

// Engine solves build graphs: a BuildKit, wherever it runs.
type Engine interface {
	// Client connects to the engine.
	Client(ctx context.Context) (*client.Client, error)
	// Close gives the engine back; one that was started is stopped.
	Close() error
}

// Progress says how the engine's progress is shown.
type Progress struct {
	// Mode is BuildKit's: auto (the default), tty, plain, quiet, rawjson.
	Mode string
	// Output gets the display. Nil: nothing is shown.
	Output io.Writer
}

// DefaultEpoch is the time that images are dated with unless another is asked
// for: the one that Cloud Native Buildpacks tools use.
var DefaultEpoch = time.Date(1980, time.January, 1, 0, 0, 1, 0, time.UTC)

// Applier applies Dockerfiles. The zero value can do everything that needs no
// engine, anonymously and in silence.
type Applier struct {
	// Engine opens an engine. It is called at most once per Apply, and only when
	// something has to be solved; what it returns as an error is returned as it
	// is. Apply closes the engine.
	Engine func(ctx context.Context) (Engine, error)
	// Keychain gives the credentials of registries. They reach the engine through
	// the session only. Nil: anonymous.
	Keychain authn.Keychain
	// InsecureRegistries are hosts that are spoken to over plain HTTP, or TLS
	// that is not verified. Images from there reach the engine through the
	// session, since the engine does not know of this list.
	InsecureRegistries []string
	// Secrets are what `RUN --mount=type=secret` may ask for, by id.
	Secrets map[string][]byte
	// Proxy are proxy variables (HTTP_PROXY and the like) that every RUN sees. They
	// are in no image, and no key of the cache depends on them.
	Proxy map[string]string
	// RunCA are certificates (PEM) that every RUN finds in a file, named by the
	// usual variables. They are in no image, and no key of the cache depends on
	// their content; whether there are any is part of it.
	RunCA []byte
	// RegistryCA are certificates that registries may have theirs from, beside those
	// that the system knows. Images from there reach the engine through the session.
	RegistryCA []*x509.Certificate
	// BaseMetadata is a directory with image layouts named by digest, in which a
	// platform keeps what it has read of its base images. Empty: there is none.
	BaseMetadata string
	// Progress is the display of what the engine does.
	Progress Progress
	// Epoch dates configuration and history, and the directories that WORKDIR and
	// COPY make. The zero value: DefaultEpoch. (Reading SOURCE_DATE_EPOCH is the
	// caller's business.)
	Epoch time.Time
	// RewriteTimestamps clamps the times of all files in added layers to Epoch.
	// That makes the layers of deterministic Dockerfiles the same in every cold
	// run, and costs a pass over them.
	RewriteTimestamps bool
	// LayerCompression is the form of added layers, wherever they go. Empty:
	// uncompressed.
	LayerCompression result.Compression
	// TempDir is for what has no better place: layers on their way to a registry.
	// Empty: the system's.
	TempDir string
	// Warn, Info and Debug get what there is to say, without a newline at the end,
	// one call at a time. Nil: dropped.
	Warn, Info, Debug func(format string, args ...any)
}

// run is one Apply.
type run struct {
	*Applier
	app      dockerfile.Application
	steps    []*step
	base     *base.Image
	registry base.Options
	contexts map[string]string
	epoch    time.Time

	logMu    sync.Mutex
	imagesMu sync.Mutex
	images   map[string]*base.Image
}

// Apply extends the application's base image and hands the result over to every
// destination (image_extension.md, "Phase: Extension"). What can be known
// without an engine is checked before one is opened. When Apply fails, earlier
// results are as they were.
//
// Errors about a Dockerfile are a *dockerfile.Error, and a *RunError when it was
// a command that failed. When ctx ends, its error is wrapped.
func (a *Applier) Apply(ctx context.Context, app dockerfile.Application) (dockerfile.Applied, error) {
	r := &run{
		Applier:  a,
		app:      app,
		registry: base.Options{Keychain: a.Keychain, InsecureRegistries: a.InsecureRegistries, RootCAs: a.RegistryCA, Metadata: a.BaseMetadata},
		epoch:    a.Epoch,
	}
	if r.epoch.IsZero() {
		r.epoch = DefaultEpoch
	}
	img, err := r.apply(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, ctx.Err()) {
			return dockerfile.Applied{}, fmt.Errorf("extend %s image: %w (%w)", app.Kind, ctx.Err(), err)
		}
		return dockerfile.Applied{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return dockerfile.Applied{}, err
	}
	return dockerfile.Applied{Manifest: digest.String(), Layers: img.Added()}, nil
}

func (r *run) apply(ctx context.Context) (*result.Image, error) {
	outputs, err := r.outputs()
	if err != nil {
		return nil, err
	}
	if r.steps, err = r.parse(); err != nil {
		return nil, err
	}
	if r.base, err = base.Open(ctx, r.app.Base, r.registry); err != nil {
		return nil, err
	}
	r.log(r.Info, "Base image %s is %s", r.app.Base, r.base.Digest)
	if r.base.Metadata != "" {
		r.log(r.Debug, "Manifest and configuration of the base image are from %s", r.base.Metadata)
	}

	// Without an engine: everything but the numbers of named users.
	plan, err := r.convert(ctx, r.offline())
	if err != nil {
		return nil, err
	}
	if err := r.check(plan); err != nil {
		return nil, err
	}

	stage, err := result.NewStage(r.stageDir(outputs))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := stage.Close(); err != nil {
			r.log(r.Warn, "Cannot remove staging directory: %v", err)
		}
	}()
	var added []result.Layer
	if plan.needsEngine() {
		if plan, added, err = r.solve(ctx, stage, plan); err != nil {
			return nil, err
		}
	} else {
		r.log(r.Debug, "No layer is added: no engine is needed")
	}
	config, err := r.config(plan, added)
	if err != nil {
		return nil, err
	}
	img, err := result.New(r.base, added, config)
	if err != nil {
		return nil, err
	}
	return img, img.Deliver(ctx, stage, result.Destinations{
		Extended: r.app.Extended, Outputs: outputs, Registry: r.registry,
	})
}

// outputs reads the names of the destinations.
func (r *run) outputs() ([]result.Output, error) {
	var outputs []result.Output
	for _, name := range r.app.Outputs {
		out, err := result.ParseOutput(name, r.InsecureRegistries)
		if err != nil {
			return nil, err
		}
		outputs = append(outputs, out)
	}
	return outputs, nil
}

// stageDir is where results are made: beside the first that is a directory, so
// that they can be renamed.
func (r *run) stageDir(outputs []result.Output) string {
	if r.app.Extended != "" {
		return filepath.Dir(r.app.Extended)
	}
	for _, out := range outputs {
		if out.Layout != "" {
			return filepath.Dir(out.Layout)
		}
		if out.Archive != "" {
			return filepath.Dir(out.Archive)
		}
	}
	if r.TempDir != "" {
		return r.TempDir
	}
	return os.TempDir()
}

// log writes a line where somebody listens, one at a time.
func (r *run) log(to func(string, ...any), format string, args ...any) {
	if to == nil {
		return
	}
	r.logMu.Lock()
	defer r.logMu.Unlock()
	to(format, args...)
}
