package remote

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	buildkit "github.com/moby/buildkit/client"
	"github.com/moby/moby/client"

	"github.com/graft-cnb/graft/dockerfile/internal/dockerd"
)

// dockerScheme is that of addresses of Docker daemons, which have a BuildKit of their
// own behind their API.
const dockerScheme = "docker"

// docker is a Docker daemon.
type docker struct {
	client *client.Client
	// version is the daemon's.
	version string
	// sends tells that its BuildKit can send what it makes to its client. Else it can only
	// put it into the daemon's store of images.
	sends bool
}

// openDocker connects to the BuildKit of the daemon at an address that begins with
// docker://.
func openDocker(ctx context.Context, address string, opts Options) (*Engine, error) {
	patient, cancel := context.WithTimeout(ctx, opts.Patience)
	defer cancel()
	d, err := newDocker(patient, address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("waiting for the Docker daemon at %s: %w", address, context.Cause(ctx))
		}
		return nil, refuse(address, err, err.Error())
	}
	dial := &dialer{connect: func(ctx context.Context) (net.Conn, error) {
		return d.client.DialHijack(ctx, "/grpc", "h2c", nil)
	}}
	// What the daemon asks of its client goes over a connection of its own.
	session := buildkit.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
		return d.client.DialHijack(ctx, "/session", proto, meta)
	})
	e, err := open(ctx, address, dial, opts, session)
	if err != nil {
		_ = d.close()
		return nil, err
	}
	e.docker = d
	e.description = fmt.Sprintf("BuildKit of Docker %s at %s, %s", d.version, d.client.DaemonHost(), e.isolation)
	return e, nil
}

// newDocker connects to the daemon itself.
func newDocker(ctx context.Context, address string) (*docker, error) {
	host, err := dockerd.Address(strings.TrimPrefix(address, dockerScheme+"://"))
	if err != nil {
		return nil, fmt.Errorf("the address cannot be understood (%w); write docker:// for the daemon that DOCKER_HOST names, docker:///path/of/socket or docker://host:port", err)
	}
	c, err := dockerd.Connect(ctx, host)
	if err != nil {
		return nil, err
	}
	info, err := c.Info(ctx, client.InfoOptions{})
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("ask the Docker daemon at %s what it is: %w", c.DaemonHost(), err)
	}
	d := &docker{client: c, version: info.Info.ServerVersion}
	for _, status := range info.Info.DriverStatus {
		// With containerd's store of images BuildKit has all its exporters.
		d.sends = d.sends || status[0] == "driver-type" && strings.HasPrefix(status[1], "io.containerd.")
	}
	return d, nil
}

func (d *docker) close() error {
	if d == nil {
		return nil
	}
	return d.client.Close()
}

// isDocker tells whether an address is that of a Docker daemon.
func isDocker(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == dockerScheme
}

// Stores tells that BuildKit cannot send what it makes to its client, and only puts it into
// the daemon's store of images, with its exporter "moby".
func (e *Engine) Stores() bool { return e.docker != nil && !e.docker.sends }

// SaveImage streams an image of the daemon's store as docker save does. The caller closes
// it.
func (e *Engine) SaveImage(ctx context.Context, image string) (io.ReadCloser, error) {
	return dockerd.Saved(ctx, e.docker.client, image)
}

// LoadImage puts an image into the store, as docker load does.
func (e *Engine) LoadImage(ctx context.Context, archive io.Reader) error {
	return dockerd.Load(ctx, e.docker.client, archive)
}

// RemoveImage takes a name away in the store, and the image with its last one.
func (e *Engine) RemoveImage(ctx context.Context, name string) error {
	if _, err := e.docker.client.ImageRemove(ctx, name, client.ImageRemoveOptions{}); err != nil {
		return fmt.Errorf("remove the image %s from the Docker daemon: %w", name, err)
	}
	return nil
}
