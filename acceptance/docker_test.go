package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// dockerDaemon is a Docker daemon of a test's own.
type dockerDaemon struct {
	// host is its address, as DOCKER_HOST has it: a socket.
	host string
	// process is the daemon, for tests that do something to it.
	process *exec.Cmd
}

// startDocker starts a real Docker daemon for the test, with nothing in its store and
// without a network but "none" and "host". Arguments are added to its command line. It is
// ended with the test, together with its containers.
func startDocker(t *testing.T, args ...string) *dockerDaemon {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to run dockerd")
	needProgram(t, "dockerd", "docker.io")
	needProgram(t, "docker", "docker.io")
	program, err := lookPath("dockerd")
	check(t, err)
	dir, err := os.MkdirTemp("", "graft-docker-") // short: a socket's path must be
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	// A daemon reads the machine's own configuration unless it is given another.
	config := filepath.Join(dir, "daemon.json")
	check(t, os.WriteFile(config, []byte("{}"), 0o644))
	socket := filepath.Join(dir, "docker.sock")
	daemon := exec.Command(program, append([]string{
		"--config-file", config, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", "unix://" + socket,
		"--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false",
	}, args...)...)
	daemon.Env = []string{"PATH=" + searchPath(), "HOME=" + dir}
	// In a mount namespace of its own, so that no mount can be left of it.
	daemon.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	log, err := os.Create(filepath.Join(dir, "log"))
	check(t, err)
	defer log.Close()
	daemon.Stdout, daemon.Stderr = log, log
	check(t, daemon.Start())
	d := &dockerDaemon{host: "unix://" + socket, process: daemon}
	t.Cleanup(func() {
		// What still runs in it would outlive it.
		if ids, err := d.command("ps", "--quiet", "--no-trunc").Output(); err == nil && len(ids) > 0 {
			_ = d.command(append([]string{"kill"}, strings.Fields(string(ids))...)...).Run()
		}
		stopDaemon(t, daemon, log.Name())
		// Its containerd, when it was killed and could not end that itself.
		endProcesses(t, dir)
	})
	eventually(t, 30*time.Second, "dockerd answers", func() bool {
		return d.command("version").Run() == nil
	})
	return d
}

// command is the docker command, speaking to this daemon.
func (d *dockerDaemon) command(args ...string) *exec.Cmd {
	program, err := lookPath("docker")
	if err != nil {
		program = "docker" // its error is better than ours
	}
	c := exec.Command(program, args...)
	c.Env = []string{"PATH=" + searchPath(), "HOME=" + filepath.Dir(strings.TrimPrefix(d.host, "unix://")), "DOCKER_HOST=" + d.host}
	return c
}

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
	tag, err := name.NewTag(reference)
	check(t, err)
	archive := filepath.Join(t.TempDir(), "image.tar")
	check(t, tarball.WriteToFile(archive, tag, image))
	d.docker(t, "load", "--quiet", "--input", archive)
}

// The daemon that tests start is one that runs containers.
func TestDockerOfTheTests(t *testing.T) {
	d := startDocker(t)
	d.load(t, "small:1", smallImage(t, nil))
	if out := d.docker(t, "run", "--rm", "small:1", "cat", "/data/old/file"); out != "of the base" {
		t.Errorf("the container said %q", out)
	}
}
