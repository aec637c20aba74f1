package acceptance

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/graft-cnb/graft/acceptance/internal/dockerd"
)

// dockerDaemon is a Docker daemon of a test's own.
type dockerDaemon struct {
	*dockerd.Daemon
	// host is its address, as DOCKER_HOST has it: a socket.
	host string
}

// startDocker starts a real Docker daemon for the test, with nothing in its store and
// without a network but "none" and "host". Arguments are added to its command line. It is
// ended with the test, together with its containers.
func startDocker(t *testing.T, args ...string) *dockerDaemon {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to run dockerd")
	needProgram(t, "dockerd", "docker.io")
	needProgram(t, "docker", "docker.io")
	options := dockerd.Options{Path: searchPath(), Args: args}
	var err error
	options.Dockerd, err = lookPath("dockerd")
	check(t, err)
	options.Docker, err = lookPath("docker")
	check(t, err)
	d, err := dockerd.Start(options)
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("dockerd said:\n%s", d.Said())
		}
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &dockerDaemon{Daemon: d, host: d.Host}
}

// command is the docker command, speaking to this daemon.
func (d *dockerDaemon) command(args ...string) *exec.Cmd { return d.Command(args...) }

// docker runs the docker command, which must succeed, and returns what it printed.
func (d *dockerDaemon) docker(t *testing.T, args ...string) string {
	t.Helper()
	o := finish(t, d.command(args...))
	if o.code != 0 {
		t.Fatalf("docker %s: %v", strings.Join(args, " "), o)
	}
	return strings.TrimSpace(o.stdout)
}

// load puts an image into the daemon under a name.
func (d *dockerDaemon) load(t *testing.T, reference string, image v1.Image) {
	t.Helper()
	check(t, d.Load(reference, image))
}

// The daemon that tests start is one that runs containers.
func TestDockerOfTheTests(t *testing.T) {
	d := startDocker(t)
	d.load(t, "small:1", smallImage(t, nil))
	if out := d.docker(t, "run", "--rm", "small:1", "cat", "/data/old/file"); out != "of the base" {
		t.Errorf("the container said %q", out)
	}
}
