// Package dockerd reaches a Docker daemon, as the docker command does: at DOCKER_HOST or
// the socket that is usual. It never starts one, and knows nothing of what is in it.
package dockerd

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/docker/cli/cli/connhelper"
	"github.com/moby/moby/client"
)

// dialTimeout is how long it may take to connect.
const dialTimeout = 3 * time.Second

// Connect returns a client of the daemon at an address of DOCKER_HOST's form; empty for
// DOCKER_HOST itself, with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, or the usual socket
// (and ssh://, for which the program ssh is run). The daemon has answered. Errors name
// its address and say what to try. The caller closes the client.
func Connect(ctx context.Context, host string) (*client.Client, error) {
	if host == "" {
		host = os.Getenv(client.EnvOverrideHost)
	}
	c, err := open(host)
	if err != nil {
		return nil, fmt.Errorf("the Docker daemon's address %s cannot be used: %w", host, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errSilent)
	defer cancel()
	if _, err := c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		_ = c.Close()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("the Docker daemon at %s does not answer; is it running there (DOCKER_HOST names another)? %w", c.DaemonHost(), err)
	}
	return c, nil
}

var errSilent = fmt.Errorf("there was no answer within %v", dialTimeout)

func open(host string) (*client.Client, error) {
	if strings.HasPrefix(host, "ssh://") {
		helper, err := connhelper.GetConnectionHelper(host)
		if err != nil {
			return nil, err
		}
		return client.New(client.WithHost(helper.Host), client.WithDialContext(helper.Dialer))
	}
	opts := []client.Opt{client.WithTLSClientConfigFromEnv()}
	if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	return client.New(opts...)
}

// Address makes an address as Connect takes it of what stands after "docker://": nothing,
// the path of a socket, or a host and a port.
func Address(rest string) (string, error) {
	switch {
	case rest == "":
		return "", nil
	case strings.HasPrefix(rest, "/"):
		return "unix://" + rest, nil
	}
	if _, port, err := net.SplitHostPort(rest); err != nil || port == "" {
		return "", fmt.Errorf("%q is neither the path of a socket nor a host and a port", rest)
	}
	return "tcp://" + rest, nil
}

// Saved streams an image as docker save does. The caller closes it.
func Saved(ctx context.Context, c *client.Client, image string) (io.ReadCloser, error) {
	saved, err := c.ImageSave(ctx, []string{image})
	if err != nil {
		return nil, fmt.Errorf("have the Docker daemon save the image %s: %w", image, err)
	}
	return saved, nil
}
