package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// remove removes what stands at a path without links, but for what is left alone and the
// directories that lead there; with spare also but for what the layer itself holds.
func (a *applier) remove(name string, spare bool) error {
	if a.places.exact[name] {
		return nil
	}
	full := a.dirs.full(name)
	info, err := os.Lstat(full)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	spared := spare && a.written[name]
	if !info.IsDir() {
		if spared {
			return nil
		}
		a.dirs.last = nil // it may have led through this
		return os.Remove(full)
	}
	a.dirs.forget(name)
	if err := a.removeBelow(name, spare); err != nil || spared {
		return err
	}
	err = os.Remove(full)
	if errors.Is(err, unix.ENOTEMPTY) && (spare || a.places.above[name]) {
		return nil
	}
	return err
}

// removeBelow removes what is in a directory in the same way.
func (a *applier) removeBelow(name string, spare bool) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(a.dirs.full(name))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := a.remove(path.Join(name, e.Name()), spare); err != nil {
			return err
		}
	}
	return nil
}
