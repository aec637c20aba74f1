//go:build linux

package inplace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// target is one place where something is mounted.
type target struct {
	volumes *volumes
	// path is the place, from the root directory of this process. A command may change what
	// leads there: it is for messages, and until the command runs.
	path string
	// parent is the directory that it lies in, open, with its times, which the mount must
	// not change.
	parent int
	times  fs.FileInfo
	// aside is where what stood there is, if anything did.
	aside *aside
	// filled tells that what stands there now is the mount's.
	filled bool
	// dirs are the directories that were made to hold it, outermost first.
	dirs []string
}

// makeDirs makes the directories that a target lies in.
func (a *target) makeDirs() error {
	dir := filepath.Dir(a.path)
	var missing []string
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err == nil {
			if at == dir {
				a.times = info
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = append(missing, at)
	}
	for _, at := range slices.Backward(missing) {
		if err := os.Mkdir(at, 0o755); err != nil {
			return err
		}
		a.dirs = append(a.dirs, at)
		if err := os.Chmod(at, 0o755); err != nil {
			return err
		}
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	a.parent = fd
	return nil
}

// undo takes the mount away, and puts back what stood there: in the directory that it was
// made in, wherever a command has put that, and never through a link that it has put there.
func (a *target) undo(recursive bool) error {
	if a.parent < 0 {
		return nil
	}
	defer unix.Close(a.parent)
	path, err := descriptorPath(a.parent, filepath.Base(a.path))
	if errors.Is(err, fs.ErrNotExist) {
		if a.aside != nil {
			return fmt.Errorf("the command has removed the directory that it was in, and what stood there is lost: %w", err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if a.filled || a.aside != nil {
		// A command may have put something else there. It belongs to the mount.
		if err := a.volumes.removeAll(path); err != nil {
			return err
		}
	}
	if err := a.aside.putBack(path); err != nil {
		return err
	}
	if a.times != nil {
		if err := os.Chtimes(filepath.Dir(path), time.Time{}, a.times.ModTime()); err != nil {
			return err
		}
	}
	if recursive {
		for _, dir := range slices.Backward(a.dirs) {
			real, err := filepath.EvalSymlinks(dir)
			if err != nil || real != dir || unix.Rmdir(dir) != nil {
				break // the command has put something there, or a link on the way
			}
		}
	}
	return nil
}
