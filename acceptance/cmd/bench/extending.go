package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// tools are what the extender is measured with: BuildKit's own programs, three images,
// and a directory for what they make.
type tools struct {
	extender, buildkitd, buildctl string
	// builder takes the extender's place in containers, and rootfs is the test program of
	// dockerfile/rootfs.
	builder, rootfs string
	// base is a Debian, some the same with 10,000 files more, many with 100,000.
	base, some, many string
	work             string
}

// extending is a base with the same Dockerfile instructions for the extender and for
// buildctl.
type extending struct {
	tools
	dir string
	// base is the directory of an image layout.
	base string
}

// newExtending prepares Dockerfiles for an image: for the extender one for each of the
// lines, which are instructions, and for buildctl one with all of them.
func (t tools) newExtending(dir, base string, lines ...string) (extending, error) {
	x := extending{tools: t, dir: dir, base: base}
	files := map[string]string{"layers/group.toml": "", "app/file": "", "home/file": ""}
	one := "FROM base\nUSER root\n"
	for i, line := range lines {
		id := "extension-" + strconv.Itoa(i)
		files["layers/group.toml"] += fmt.Sprintf("[[group-extensions]]\nid = %q\nversion = \"1\"\napi = \"0.10\"\n", id)
		files["layers/generated/"+id+"/run.Dockerfile"] = "ARG base_image\nFROM ${base_image}\nUSER root\n" + line + "\nUSER 1001\n"
		one += line + "\n"
	}
	files["one/Dockerfile"] = one + "USER 1001\n"
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return x, err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return x, err
		}
	}
	return x, nil
}

// withExtender is the extender with a daemon at an address, or with its own engine and a
// state directory.
func (x extending) withExtender(address, state string) func() *exec.Cmd {
	return func() *exec.Cmd {
		cmd := exec.Command(x.extender, "-kind", "run", "-base", "oci:"+x.base, "-app", "app", "-layers", "layers", "-progress", "plain")
		cmd.Dir = x.dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(x.dir, "home"), "CNB_PLATFORM_API=0.15", "CNB_IN_CONTAINER=false"}
		if address != "" {
			cmd.Env = append(cmd.Env, "BUILDKIT_HOST="+address)
		} else {
			cmd.Env = append(cmd.Env, "CNB_STATE_DIR="+state)
		}
		return cmd
	}
}

// withBuildctl is buildctl with the daemon at an address. It does the same exporter work:
// the base's blobs are where it would write them already.
func (x extending) withBuildctl(address string) (func() *exec.Cmd, error) {
	out := filepath.Join(x.dir, "out")
	if err := linkLayout(x.base, out); err != nil {
		return nil, err
	}
	digest, err := layoutDigest(x.base)
	if err != nil {
		return nil, err
	}
	return func() *exec.Cmd {
		cmd := exec.Command(x.buildctl, "--addr", address, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
			"--local", "dockerfile=one", "--local", "context=app",
			"--oci-layout", "layout="+x.base, "--opt", "context:base=oci-layout://layout@"+digest,
			"--opt", "build-arg:build_id="+strconv.FormatInt(time.Now().UnixNano(), 10),
			"--output", "type=oci,tar=false,compression=uncompressed,dest="+out)
		cmd.Dir = x.dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(x.dir, "home")}
		return cmd
	}, nil
}

// linkLayout makes a layout of the same blobs.
func linkLayout(from, to string) error {
	blobs, err := filepath.Glob(filepath.Join(from, "blobs", "sha256", "*"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(to, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	for _, blob := range blobs {
		if err := os.Link(blob, filepath.Join(to, "blobs", "sha256", filepath.Base(blob))); err != nil {
			return fmt.Errorf("the cache directory and that of the base images must be on one file system: %w", err)
		}
	}
	return nil
}

// layoutDigest is the digest of the only image of a layout.
func layoutDigest(dir string) (string, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return "", err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return "", err
	}
	if n := len(manifest.Manifests); n != 1 {
		return "", fmt.Errorf("the layout %s holds %d images, wanted one", dir, n)
	}
	return manifest.Manifests[0].Digest.String(), nil
}

// daemon is a running buildkitd.
type daemon struct {
	address string
	cmd     *exec.Cmd
	dir     string
}

// startDaemon starts a buildkitd with nothing in its cache.
func (t tools) startDaemon() (*daemon, error) {
	dir, err := os.MkdirTemp(t.work, "bench-d-") // short, as a socket's path must be
	if err != nil {
		return nil, err
	}
	d := &daemon{address: "unix://" + filepath.Join(dir, "sock"), dir: dir}
	d.cmd = exec.Command(t.buildkitd, "--root", filepath.Join(dir, "root"), "--addr", d.address,
		"--config", filepath.Join(dir, "none.toml"), "--otel-socket-path", filepath.Join(dir, "otel.sock"))
	// In a mount namespace of its own, so that no mount can be left of it.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if err := d.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for range 200 {
		if _, err := os.Stat(filepath.Join(dir, "sock")); err == nil {
			return d, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, errors.Join(errors.New("buildkitd makes no socket"), d.stop())
}

// stop ends the daemon and removes all that it made.
func (d *daemon) stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = d.cmd.Wait()                          // by a signal
	return os.RemoveAll(d.dir)
}
