package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/graft-cnb/graft/acceptance/internal/dockerd"
	"github.com/graft-cnb/graft/acceptance/internal/restorer"
)

// The build user of the base images.
const builderUID, builderGID = "1001", "1000"

// container is a default container of a build image in Docker's engine, with the extender
// and a builder, as platforms start it: the same volumes for one run after the other, and
// each time a new root filesystem.
type container struct {
	daemon *dockerd.Daemon
	image  v1.Image
	// name is the image's in the daemon.
	name string
	dir  string
	// programs are files by what they are in /cnb/lifecycle.
	programs map[string]string
}

// newContainer prepares one of the image in a layout, which Docker gets unless it has it,
// and a group of extensions with a Dockerfile for each of the lines.
func newContainer(t tools, d *dockerd.Daemon, dir, base string, lines ...string) (*container, error) {
	digest, err := layoutDigest(base)
	if err != nil {
		return nil, err
	}
	index, err := layout.ImageIndexFromPath(base)
	if err != nil {
		return nil, err
	}
	hash, err := v1.NewHash(digest)
	if err != nil {
		return nil, err
	}
	c := &container{daemon: d, dir: dir, name: "graft-bench:" + hash.Hex[:12], programs: map[string]string{"extender": t.extender, "builder": t.builder, "rootfs": t.rootfs}}
	if c.image, err = index.Image(hash); err != nil {
		return nil, err
	}
	if d.Command("image", "inspect", c.name).Run() != nil {
		fmt.Fprintf(os.Stderr, "==> giving %s to Docker (once)\n", filepath.Base(base))
		if err := d.Load(c.name, c.image); err != nil {
			return nil, err
		}
	}
	files := map[string]string{
		"platform/env/X":       "1",
		"workspace/file":       "",
		"layers/group.toml":    "",
		"layers/analyzed.toml": fmt.Sprintf("[build-image]\nreference = %q\n", "registry.invalid/builder@"+digest),
	}
	for i, line := range lines {
		id := "extension-" + strconv.Itoa(i)
		files["layers/group.toml"] += fmt.Sprintf("[[group-extensions]]\nid = %q\nversion = \"1\"\napi = \"0.10\"\n", id)
		files["layers/generated/"+id+"/build.Dockerfile"] = "ARG base_image\nFROM ${base_image}\nUSER root\n" + line + "\n"
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	return c, c.forget()
}

// forget empties the cache, so that it holds what a platform's restorer leaves.
func (c *container) forget() error {
	kaniko := filepath.Join(c.dir, "kaniko")
	if err := os.RemoveAll(kaniko); err != nil {
		return err
	}
	return restorer.Restore(kaniko, c.image)
}

// command runs a program of the container with docker run.
func (c *container) command(options []string, program string, args ...string) *exec.Cmd {
	all := []string{"run", "--rm", "--network", "none", "--user", "0:0",
		"--env", "CNB_PLATFORM_API=0.15", "--env", "CNB_USER_ID=" + builderUID, "--env", "CNB_GROUP_ID=" + builderGID}
	for _, volume := range []string{"layers", "workspace", "platform", "kaniko"} {
		all = append(all, "--volume", filepath.Join(c.dir, volume)+":/"+volume)
	}
	for name, file := range c.programs {
		all = append(all, "--volume", file+":/cnb/lifecycle/"+name+":ro")
	}
	all = append(append(all, options...), "--entrypoint", program, c.name)
	return c.daemon.Command(append(all, args...)...)
}

// start is docker run of a program that does nothing: what all others cost as well.
func (c *container) start() *exec.Cmd { return c.command(nil, "/bin/true") }

func (c *container) extender(options ...string) *exec.Cmd {
	return c.command(options, "/cnb/lifecycle/extender", "-kind", "build")
}

// files counts what is in the image.
func (c *container) files() (int, error) {
	out, err := c.command(nil, "/bin/sh", "-c", "find / -xdev | wc -l").Output()
	if err != nil {
		return 0, fmt.Errorf("counting files of %s: %w", c.name, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// extend runs the extender and tells how long that took, docker run included. It is an
// error when it worked in another way than the one that is to be measured: in place, and
// with all steps from the cache or none.
func (c *container) extend(cached bool) (time.Duration, error) {
	cmd := c.extender()
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begin)
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	if !strings.Contains(string(out), "Engine: in-place") {
		return 0, fmt.Errorf("the extender does not work in place:\n%s", out)
	}
	if strings.Contains(string(out), " CACHED\n") != cached {
		return 0, fmt.Errorf("wanted all steps from the cache: %v, and the extender says:\n%s", cached, out)
	}
	_, err = c.built()
	return took, err
}

// built is when the builder of the last run started.
func (c *container) built() (time.Time, error) {
	path := filepath.Join(c.dir, "layers/builder.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, fmt.Errorf("what the builder recorded: %w", err)
	}
	var record struct{ Started time.Time }
	return record.Started, errors.Join(json.Unmarshal(text, &record), os.Remove(path))
}

// memory is the most that the container's processes needed at one time, in bytes, while
// the extender ran.
func (c *container) memory() (int64, error) {
	name := "bench-" + strconv.Itoa(os.Getpid())
	cmd := c.extender("--name", name)
	var pid atomic.Int64
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for pid.Load() == 0 {
			select {
			case <-ended:
				return
			case <-time.After(5 * time.Millisecond):
			}
			out, err := c.daemon.Command("inspect", "--format", "{{.State.Pid}}", name).Output()
			if err != nil {
				continue // there is no container yet
			}
			if n, err := strconv.Atoi(strings.TrimSpace(string(out))); err == nil {
				pid.Store(int64(n))
			}
		}
	}()
	peak, err := peakMemoryOf(cmd, func() int { return int(pid.Load()) })
	if err == nil && peak == 0 {
		err = errors.New("the container ended before anybody could look at its memory")
	}
	return peak, err
}
