//go:build linux

package inplace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/damage"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/orphans"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/registries"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/statelock"
	"github.com/graft-cnb/graft/dockerfile/internal/decompress"
)

// Engine is a BuildKit in this process that works on a root filesystem.
type Engine struct {
	opts  Options
	state string
	lock  *os.File
	root  *root
	// heritage is withheld as long as the engine is open.
	heritage *heritage

	mu     sync.Mutex
	server *server
	closed bool
}

// Open finds out whether the engine can work here, and takes the state directory; it
// waits while another process has it. BuildKit itself is started by SetBase.
//
// Where the engine cannot work, all that stands in the way is told in an
// *engine.UnavailableError.
//
// From then on this process can no longer be inspected by others, and calls no program to
// decompress what it reads: a RUN would find credentials in its memory and in its
// environment. Until Close its umask is 022, and what it starts inherits no files.
func Open(ctx context.Context, opts Options) (*Engine, error) {
	state, done, err := prepare(opts)
	if err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("keep the memory of this process from a RUN: %w", err)
	}
	if err := decompress.WithoutPrograms(); err != nil {
		return nil, err
	}
	lock, err := statelock.Lock(ctx, state, opts.Log)
	if err != nil {
		return nil, err
	}
	e := &Engine{opts: opts, state: state, lock: lock, root: &root{
		dir:    opts.root(),
		skip:   opts.leftAlone(state),
		mounts: []string{inside(state, opts.root()) + "/", "/dev/shm/" + secretsPrefix},
		record: done,
		warn:   func(format string, args ...any) { opts.debug(fmt.Sprintf(format, args...)) },
	}}
	if e.heritage, err = withhold(); err != nil {
		lock.Close()
		return nil, err
	}
	if err := errors.Join(makeState(state), opts.openWay(state), orphans.Adopt(true)); err != nil {
		return nil, errors.Join(err, e.heritage.giveBack(), lock.Close())
	}
	return e, nil
}

// SetBase tells the engine which image the root filesystem was made from: the digest
// of its manifest, its layers, and its configuration. Layers are read from blobs when they
// are written to a shared cache, and never otherwise; nil: they cannot be. SetBase starts
// BuildKit, and is called before Client.
//
// An image that the root filesystem plainly was not made from gives an
// *engine.UnavailableError: in this container no engine can extend it in place.
func (e *Engine) SetBase(ctx context.Context, manifest digest.Digest, layers []ocispecs.Descriptor, config ocispecs.Image, blobs content.Provider) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.server != nil {
		return errors.New("the in-place engine extends one base image: open it again for another")
	}
	image, err := newBaseImage(manifest, layers, config)
	if err != nil {
		return err
	}
	image.blobs = blobs
	if err := e.root.record.belongsTo(manifest); err != nil {
		return refuse(err)
	}
	if err := e.opts.checkContainer(config); err != nil {
		return refuse(err)
	}
	e.root.record.Base = manifest
	s, err := e.start(ctx, image)
	if err != nil {
		return err
	}
	e.server = s
	return nil
}

// start starts BuildKit. A damaged cache is given up: it is a cache, after all.
func (e *Engine) start(ctx context.Context, image baseImage) (*server, error) {
	if err := reviveState(e.state, e.opts.Log); err != nil {
		return nil, err
	}
	if err := makeState(e.state); err != nil {
		return nil, err
	}
	hosts, err := registries.Hosts(e.opts.InsecureRegistries, e.opts.authorities(), e.opts.Silence)
	if err != nil {
		return nil, err
	}
	s, err := newServer(ctx, e.state, e.root, image, hosts, e.opts.Log)
	if isDamage(err) {
		// Nothing has been done to the root filesystem yet.
		if err := giveUp(e.state, err, e.opts.Log); err != nil {
			return nil, err
		}
		s, err = newServer(ctx, e.state, e.root, image, hosts, e.opts.Log)
	}
	if err != nil {
		return nil, fmt.Errorf("open the state directory %s: %w", e.state, err)
	}
	s.client, err = client.New(ctx, "passthrough:///graft-inplace", client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return s.listener.DialContext(ctx)
	}))
	if err != nil {
		return nil, errors.Join(err, s.close(func() {}))
	}
	return s, nil
}

// Client returns the connection to BuildKit. SetBase has to be called before.
func (e *Engine) Client(context.Context) (*client.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server == nil {
		return nil, errors.New("the in-place engine does not know its base image yet")
	}
	return e.server.client, nil
}

// FastForward brings the root filesystem to the state with exactly these layers on the
// base, named by the digests of their tar files. Those that are not there yet have to
// be in the cache.
func (e *Engine) FastForward(ctx context.Context, added []digest.Digest) error {
	e.mu.Lock()
	s := e.server
	e.mu.Unlock()
	if s == nil {
		if len(added) == 0 {
			return nil
		}
		return errors.New("apply layers to the root filesystem: the in-place engine does not know its base image yet")
	}
	path, err := s.stores.layers.pathOf(ctx, added)
	if err != nil {
		return fmt.Errorf("apply layers to the root filesystem: %w", err)
	}
	if err := e.root.forward(ctx, path); err != nil {
		return fmt.Errorf("apply layers to the root filesystem: %w", err)
	}
	return nil
}

// Description names the engine's version, and says that nothing is isolated.
func (e *Engine) Description() string { return description() }

// Isolation says that there is none.
func (e *Engine) Isolation() string { return isolation }

// isolation is what a RUN shares with the container.
const isolation = "RUN not isolated, as with kaniko: it sees the files of this container, a docker config file included"

func description() string { return fmt.Sprintf("in-place BuildKit %s, %s", version(), isolation) }

// Lost returns nothing: the engine ends with this process.
func (e *Engine) Lost() error { return nil }

// Close ends the engine and what still runs in it, and gives the state directory back.
// The root filesystem stays as it is.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	var err error
	if e.server != nil {
		// One that could not be started has not ended in order, and leaves its mark.
		err = e.server.close(e.prune)
		if err == nil {
			err = damage.Leave(e.state)
		}
	}
	return errors.Join(err, orphans.Kill(), orphans.Adopt(false), e.heritage.giveBack(), e.lock.Close())
}
