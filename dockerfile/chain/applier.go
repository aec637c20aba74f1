package chain

import (
	"context"
	"crypto/x509"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/buildkit/client"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/result"
)

// Engine solves build graphs: a BuildKit, wherever it runs.
type Engine interface {
	// Client connects to the engine.
	Client(ctx context.Context) (*client.Client, error)
	// Description is a line about the engine, Isolation the part of it that says what
	// keeps a RUN apart from the machine.
	Description() string
	Isolation() string
	// Close gives the engine back; one that was started is stopped.
	Close() error
}

// Forgetful is an Engine that may be a process of this run's own: opened again, it has
// forgotten what an earlier solve has left in its memory, and only that.
type Forgetful interface {
	// Forgets tells whether that is so.
	Forgets() bool
}

// Storing is an Engine that may not be able to send what it makes, but only to put it
// into a store of images that it belongs to: a Docker daemon's, by BuildKit's exporter
// "moby".
type Storing interface {
	// Stores tells whether that is so; the rest is of use only then.
	Stores() bool
	// SaveImage streams an image as docker save does. The caller closes it.
	SaveImage(ctx context.Context, name string) (io.ReadCloser, error)
	// LoadImage takes an image as docker load does.
	LoadImage(ctx context.Context, archive io.Reader) error
	// RemoveImage takes a name away, and the image with its last one.
	RemoveImage(ctx context.Context, name string) error
}

// Progress says how the engine's progress is shown.
type Progress struct {
	// Mode is BuildKit's: auto (the default), tty, plain, quiet, rawjson.
	Mode string
	// Output gets the display. Nil: nothing is shown.
	Output io.Writer
	// Redact takes out of what is shown what nobody should see. Nil: nothing is taken out.
	Redact func(string) string
}

// DefaultEpoch is the time that images are dated with unless another is asked
// for: the one that Cloud Native Buildpacks tools use.
var DefaultEpoch = time.Date(1980, time.January, 1, 0, 0, 1, 0, time.UTC)

// Applier applies Dockerfiles. The zero value can do everything that needs no
// engine, anonymously and in silence.
type Applier struct {
	// Engine opens an engine. It is called only when something has to be solved,
	// once for all images of an Apply, and once more each time that Lost says so;
	// what it returns as an error is returned as it is. Apply closes the engine.
	Engine func(ctx context.Context) (Engine, error)
	// Lost is asked after a solve has failed, with the engine closed, how the engine
	// went away by itself (nil: it did not), and whether it is worth while to open
	// another. Nil: engines are never lost.
	Lost func(ctx context.Context, e Engine) (lost error, again bool)
	// Keychain gives the credentials of registries. They reach the engine through
	// the session only. Nil: anonymous.
	Keychain authn.Keychain
	// InsecureRegistries are hosts that are spoken to over plain HTTP, or TLS
	// that is not verified. Images from there reach the engine through the
	// session, since the engine does not know of this list.
	InsecureRegistries []string
	// Secrets are what `RUN --mount=type=secret` may ask for, by id.
	Secrets map[string][]byte
	// SSH is what `RUN --mount=type=ssh` may use.
	SSH SSH
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
	// PullSilence is how long the registry of the base may send nothing to an engine
	// that pulls it, before the build is given up. Zero: a minute.
	PullSilence time.Duration
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
	// CacheFrom are the caches that an engine may take from, and CacheTo those that it
	// gives to when an image is solved. One that fails is worth a warning, and no more.
	CacheFrom, CacheTo map[dockerfile.Kind][]Cache
	// CacheSilence is how long the registry of a cache may be silent before the cache is
	// left out, and how long there may be no progress in writing one. Zero: 10 seconds,
	// and 10 minutes.
	CacheSilence time.Duration
	// Find gets what BuildKit's linter finds in a Dockerfile, once, one call at a time.
	// Nil: Warn gets it as a line.
	Find func(dockerfile.Finding)
	// Warn, Info and Debug get what there is to say, without a newline at the end,
	// one call at a time. Nil: dropped.
	Warn, Info, Debug func(format string, args ...any)
}
