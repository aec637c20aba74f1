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

	"golang.org/x/sys/unix"
)

// asideName is the directory at the top of the root filesystem for what stands at the
// target of a mount. It is there while a RUN has mounts.
const asideName = ".graft-aside"

// aside is where something is that had to give way.
type aside struct{ to string }

// setAside takes away what stands at a path, if anything does.
func setAside(v *volumes, path string) (*aside, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(v.root, asideName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	place, err := os.MkdirTemp(dir, "")
	if err != nil {
		return nil, err
	}
	a := &aside{filepath.Join(place, "it")}
	copied, err := move(path, a.to, info)
	if err != nil {
		// It is still there: what was copied of it goes.
		return nil, errors.Join(err, os.RemoveAll(place))
	}
	if copied {
		err = v.removeAll(path)
	}
	return a, err
}

// putBack puts it back to where nothing is now.
func (a *aside) putBack(path string) error {
	if a == nil {
		return nil
	}
	info, err := os.Lstat(a.to)
	if err == nil {
		_, err = move(a.to, path, info)
	}
	if err != nil {
		return fmt.Errorf("put back what stood there: %w", err)
	}
	_ = os.RemoveAll(filepath.Dir(a.to))
	_ = os.Remove(filepath.Dir(filepath.Dir(a.to))) // when nothing else is there
	return nil
}

// move renames a file. A directory that lies in a layer of the container's image cannot
// be renamed on an overlay: it is copied, and still there.
func move(from, to string, info fs.FileInfo) (copied bool, err error) {
	err = os.Rename(from, to)
	if !errors.Is(err, unix.EXDEV) {
		return false, err
	}
	if !info.IsDir() {
		return false, fmt.Errorf("it lies on another file system than the container's root: %w", err)
	}
	return true, copyTree(from, to)
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
