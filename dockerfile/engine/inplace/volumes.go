//go:build linux

package inplace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	continuity "github.com/containerd/continuity/fs"
	"github.com/moby/sys/mountinfo"
)

// volumes are what is mounted in the container's root filesystem. It belongs to the
// platform: nothing in there is moved or removed.
type volumes struct {
	root   string
	points []string
}

// findVolumes reads the mount table.
func findVolumes(root string) (*volumes, error) {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("find out what is mounted in the container: %w", err)
	}
	v := &volumes{root: root}
	for _, m := range mounts {
		if m.Mountpoint != root && within(m.Mountpoint, root) {
			v.points = append(v.points, m.Mountpoint)
		}
	}
	return v, nil
}

// below is what is mounted at a path or below it, as seen from the root filesystem; empty
// if nothing is.
func (v *volumes) below(path string) string {
	for _, point := range v.points {
		if within(point, path) {
			return inside(point, v.root)
		}
	}
	return ""
}

// innermost is the innermost volume that a path is or lies in, as seen from the root
// filesystem; empty if there is none.
func (v *volumes) innermost(path string) string {
	found := ""
	for _, point := range v.points {
		if within(path, point) && len(point) > len(found) {
			found = point
		}
	}
	if found == "" {
		return ""
	}
	return inside(found, v.root)
}

// refuse says why a mount of a RUN cannot be made at a path: what stands there would have
// to give way, and what is a volume's must not.
func (v *volumes) refuse(path string) error {
	const instead = "use another target, or an engine that isolates"
	if at := v.below(path); at != "" {
		return fmt.Errorf("in place a mount cannot be made there, since the container has something mounted at %s: %s", at, instead)
	}
	in := v.innermost(filepath.Dir(path))
	if in == "" {
		return nil
	}
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("in place a mount cannot be made over what is in the container's volume %s already: %s", in, instead)
}

// refuseAt is refuse for a path as a Dockerfile has it.
func (v *volumes) refuseAt(dest string) error {
	path, err := continuity.RootPath(v.root, dest)
	if err != nil {
		return err
	}
	return v.refuse(path)
}

// refuseFile says why a file cannot be made at a path as a Dockerfile has it: the container
// has one mounted there, such as /etc/resolv.conf.
func (v *volumes) refuseFile(dest string) error {
	path, err := continuity.RootPath(v.root, dest)
	if err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil || info.IsDir() || !slices.Contains(v.points, path) {
		return nil // or it is found out when it is made
	}
	return fmt.Errorf("in place %s cannot be replaced, since the container has it mounted: leave it out, or use an engine that isolates", inside(path, v.root))
}

// removeAll removes a file or a directory, unless a volume would lose what it holds.
func (v *volumes) removeAll(path string) error {
	if at := v.below(path); at != "" {
		return fmt.Errorf("%s is not removed, since the container has something mounted at %s", inside(path, v.root), at)
	}
	return os.RemoveAll(path)
}

// descriptorPath names an open file's place, whatever leads to where it was.
func descriptorPath(fd int, name string) (string, error) {
	dir, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", err
	}
	if strings.HasSuffix(dir, " (deleted)") {
		return "", fs.ErrNotExist
	}
	return filepath.Join(dir, name), nil
}
