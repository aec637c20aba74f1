//go:build linux

package inplace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	continuity "github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

// asideName is the directory at the top of the root filesystem for what stands at the
// target of a mount. It is there while a RUN has mounts.
const asideName = ".graft-aside"

// aside is something that had to give way.
type aside struct{ from, to string }

// setAside takes away what stands at a path, if anything does.
func setAside(root, path string) (*aside, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, asideName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	place, err := os.MkdirTemp(dir, "")
	if err != nil {
		return nil, err
	}
	a := &aside{from: path, to: filepath.Join(place, "it")}
	err = move(a.from, a.to, info)
	if errors.Is(err, unix.EBUSY) {
		err = fmt.Errorf("something of the container is mounted there, and cannot be taken away: %w", err)
	}
	if err != nil {
		return a, err
	}
	return a, nil
}

// putBack puts it back.
func (a *aside) putBack() error {
	if a == nil {
		return nil
	}
	info, err := os.Lstat(a.to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it could not be taken away
	}
	if err == nil {
		err = move(a.to, a.from, info)
	}
	if err != nil {
		return fmt.Errorf("put back %s: %w", a.from, err)
	}
	_ = os.Remove(filepath.Dir(a.to))
	_ = os.Remove(filepath.Dir(filepath.Dir(a.to))) // when nothing else is there
	return nil
}

// move renames a file. A directory that lies in a layer of the container's image cannot
// be renamed on an overlay, and nothing can between file systems: it is copied.
func move(from, to string, info fs.FileInfo) error {
	err := os.Rename(from, to)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("it lies on another file system than the container's root: %w", err)
	}
	if err := continuity.CopyDir(to, from, continuity.WithAllowXAttrErrors()); err != nil {
		return err
	}
	if err := copyTimes(from, to); err != nil {
		return err
	}
	return os.RemoveAll(from)
}

// copyTimes gives directories their times once all is in them.
func copyTimes(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chtimes(filepath.Join(to, strings.TrimPrefix(path, from)), time.Time{}, info.ModTime())
	})
}
