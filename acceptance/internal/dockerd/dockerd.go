// Package dockerd is for tests and benchmarks that need Docker's engine: it starts a
// daemon apart from any that the machine has, and ends it with all that it started.
//
// It speaks to no other Docker daemon, nor changes anything of the machine's network. Of a
// containerd that the machine has, which dockerd uses in place of one of its own, it uses
// namespaces that nobody else does.
package dockerd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	startPatience = time.Minute
	endPatience   = time.Minute
)

// Options say how a daemon is started.
type Options struct {
	// Dockerd and Docker are the paths of the two programs.
	Dockerd, Docker string
	// Path is the search path in which both find others, runc among them.
	Path string
	// Data is the directory of its images and containers, which stays; only one daemon at
	// a time can have it. Empty: one that is removed with the daemon.
	Data string
	// Args are added to its command line.
	Args []string
}

// Daemon is a running Docker daemon. Its containers have the network "none" or "host".
type Daemon struct {
	// Host is its address, as DOCKER_HOST has it: a socket.
	Host    string
	options Options
	dir     string
	process *exec.Cmd
}

// Start starts a daemon, and returns when it answers. It needs root.
func Start(options Options) (_ *Daemon, err error) {
	dir, err := os.MkdirTemp("", "graft-docker-") // short: a socket's path must be
	if err != nil {
		return nil, err
	}
	d := &Daemon{Host: "unix://" + filepath.Join(dir, "docker.sock"), options: options, dir: dir}
	if err := d.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", options.Dockerd, err), os.RemoveAll(dir))
	}
	for deadline := time.Now().Add(startPatience); d.Command("version").Run() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			err := fmt.Errorf("%s does not answer within %v; it said:\n%s", options.Dockerd, startPatience, d.Said())
			return nil, errors.Join(err, d.Stop())
		}
	}
	return d, nil
}

func (d *Daemon) start() error {
	// A daemon reads the machine's own configuration unless it is given another.
	config := filepath.Join(d.dir, "daemon.json")
	if err := os.WriteFile(config, []byte("{}"), 0o644); err != nil {
		return err
	}
	data := d.options.Data
	if data == "" {
		data = filepath.Join(d.dir, "data")
	}
	d.process = exec.Command(d.options.Dockerd, append([]string{
		"--config-file", config, "--data-root", data, "--exec-root", filepath.Join(d.dir, "exec"),
		"--pidfile", filepath.Join(d.dir, "pid"), "--host", d.Host,
		"--containerd-namespace", filepath.Base(d.dir), "--containerd-plugins-namespace", filepath.Base(d.dir) + "-plugins",
		"--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false",
	}, d.options.Args...)...)
	d.process.Env = []string{"PATH=" + d.options.Path, "HOME=" + d.dir}
	// In a mount namespace of its own, so that no mount can be left of it.
	d.process.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	log, err := os.Create(d.log())
	if err != nil {
		return err
	}
	defer log.Close()
	d.process.Stdout, d.process.Stderr = log, log
	return d.process.Start()
}

func (d *Daemon) log() string { return filepath.Join(d.dir, "log") }

// Said is the end of what the daemon has logged.
func (d *Daemon) Said() string {
	said, err := os.ReadFile(d.log())
	if err != nil {
		return err.Error()
	}
	return string(said[max(0, len(said)-2048):])
}

// Command is the docker command, speaking to this daemon.
func (d *Daemon) Command(args ...string) *exec.Cmd {
	c := exec.Command(d.options.Docker, args...)
	c.Env = []string{"PATH=" + d.options.Path, "HOME=" + d.dir, "DOCKER_HOST=" + d.Host}
	return c
}

// Load puts an image into the daemon under a name.
func (d *Daemon) Load(reference string, image v1.Image) error {
	return d.LoadAll(map[string]v1.Image{reference: image})
}

// LoadAll puts images into the daemon under their names, at once: layers that they share
// are sent once.
func (d *Daemon) LoadAll(images map[string]v1.Image) error {
	tags := map[name.Tag]v1.Image{}
	for reference, image := range images {
		tag, err := name.NewTag(reference)
		if err != nil {
			return err
		}
		tags[tag] = image
	}
	archive, to := io.Pipe()
	go func() { to.CloseWithError(tarball.MultiWrite(tags, to)) }()
	c := d.Command("load", "--quiet")
	c.Stdin = archive
	out, err := c.CombinedOutput()
	archive.Close() // or the writer waits, if docker left early
	if err != nil {
		return fmt.Errorf("docker load of %v: %w\n%s", slices.Sorted(maps.Keys(images)), err, out)
	}
	return nil
}

// Stop ends the daemon together with its containers, and removes what it made.
func (d *Daemon) Stop() error {
	// What still runs in it would outlive it.
	if ids, err := d.Command("ps", "--quiet", "--no-trunc").Output(); err == nil && len(ids) > 0 {
		_ = d.Command(append([]string{"kill"}, strings.Fields(string(ids))...)...).Run()
	}
	_ = d.process.Process.Signal(syscall.SIGTERM) // somebody may have ended it
	ended := make(chan struct{})
	go func() {
		_ = d.process.Wait() // its exit code is its own affair
		close(ended)
	}()
	var err error
	select {
	case <-ended:
	case <-time.After(endPatience):
		err = fmt.Errorf("%s does not end within %v; it said:\n%s", d.options.Dockerd, endPatience, d.Said())
		_ = d.process.Process.Kill()
		<-ended
	}
	// Its containerd, when it was killed and could not end that itself.
	return errors.Join(err, killAll(d.dir), os.RemoveAll(d.dir))
}

// killAll kills the processes whose command line holds a text.
func killAll(mark string) error {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, line := range lines {
		if said, err := os.ReadFile(line); err != nil || !bytes.Contains(said, []byte(mark)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line)))
		if err != nil {
			return err
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
	return nil
}
