package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// container makes another root filesystem the program's, with the base image's layout
// bound into it, where nobody else sees the mounts.
const container = `set -e
mount -t proc proc "$1/proc"
mount --bind "$2" "$1/base"
exec chroot "$1" /cnb/lifecycle/extender -kind build -uid 1001 -gid 1000`

// handover measures how long after the extension the builder runs, <layers> with 1,000
// files that are not yet its own included.
func (w *warm) handover() error {
	root := filepath.Join(w.dir, "container")
	if err := w.prepareContainer(root); err != nil {
		return err
	}
	var times []time.Duration
	for range warmPairs {
		if err := giveAway(filepath.Join(root, "layers"), 1000); err != nil {
			return err
		}
		took, err := w.handOver(root)
		if err != nil {
			return err
		}
		times = append(times, took)
	}
	slices.Sort(times)
	row("the builder runs after the build image is extended", "%v  (want at most 50ms)", times[len(times)/2].Round(time.Millisecond))
	return nil
}

// prepareContainer makes a root filesystem that holds no more than a builder's programs.
func (w *warm) prepareContainer(root string) error {
	for _, dir := range []string{"proc", "base", "tmp", "workspace", "platform", "kaniko", "cnb/lifecycle", "layers/generated/one"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{
		".dockerenv":                            "",
		"layers/group.toml":                     "[[group-extensions]]\nid = \"one\"\nversion = \"1\"\napi = \"0.10\"\n",
		"layers/generated/one/build.Dockerfile": "ARG base_image\nFROM ${base_image}\nENV ONE=1\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	lifecycle := filepath.Join(root, "cnb/lifecycle")
	build := exec.Command("go", "build", "-o", filepath.Join(lifecycle, "builder"), "./acceptance/cmd/builder")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building a builder: %w\n%s", err, out)
	}
	extender, err := os.ReadFile(w.extender)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(lifecycle, "extender"), extender, 0o755)
}

// giveAway makes n files of root's in a directory.
func giveAway(dir string, n int) error {
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("dir-%d/file-%d", i/100, i))
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644), os.Chown(path, 0, 0))
		if err != nil {
			return err
		}
	}
	return nil
}

// handOver runs the extender, and returns the time between what it says at its end and
// what the builder says at its beginning.
func (w *warm) handOver(root string) (time.Duration, error) {
	command := exec.Command("unshare", "--mount", "--pid", "--fork", "sh", "-c", container, "sh", root, w.base)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "CNB_PLATFORM_API=0.15", "CNB_BASE=oci:/base"}
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := command.Start(); err != nil {
		return 0, err
	}
	var extended, began time.Time
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "Extended the build image"):
			extended = time.Now()
		case line == "The builder takes over":
			began = time.Now()
		}
	}
	if err := command.Wait(); err != nil {
		return 0, fmt.Errorf("%s: %w", command, err)
	}
	if extended.IsZero() || began.IsZero() {
		return 0, errors.New("the extender did not hand over to the builder")
	}
	return began.Sub(extended), nil
}
