package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// aside is where files go that the layer has at places that are left alone: another file
// of the layer may be a further name of one, and only the first brings the content.
type aside struct {
	dir *dir
	// files are what is there, by the name in the layer.
	files map[string]string
	// kept counts what was put there: a name may come twice.
	kept int
}

// setAside keeps a file that has no place in the tree until the layer is applied.
func (a *applier) setAside(name string, hdr *tar.Header) error {
	if hdr.Typeflag == tar.TypeDir {
		return nil
	}
	if hdr.Typeflag == tar.TypeLink {
		first, err := a.clean(hdr.Linkname)
		if kept, ok := a.aside.files[first]; ok {
			a.aside.files[name] = kept
		}
		return err
	}
	if a.aside.dir == nil {
		made, err := os.MkdirTemp(a.dirs.root, ".graft-")
		if err != nil {
			return err
		}
		fd, err := unix.Open(made, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return errors.Join(err, os.Remove(made))
		}
		a.places.add(below(a.dirs.root, made))
		a.aside = aside{dir: &dir{fd: fd, path: below(a.dirs.root, made)}, files: map[string]string{}}
	}
	a.aside.kept++
	kept := strconv.Itoa(a.aside.kept)
	a.aside.files[name] = kept
	return a.put(file{a.aside.dir, kept}, hdr)
}

func (a *applier) removeAside() error {
	if a.aside.dir == nil {
		return nil
	}
	unix.Close(a.aside.dir.fd)
	return os.RemoveAll(a.dirs.full(a.aside.dir.path))
}

// linked is the file that a hard link is a further name of.
func (a *applier) linked(hdr *tar.Header) (file, error) {
	first, err := a.clean(hdr.Linkname)
	if err != nil {
		return file{}, err
	}
	if kept, ok := a.aside.files[first]; ok {
		return file{a.aside.dir, kept}, nil
	}
	dir, err := a.dirs.find(path.Dir(first), false)
	if err != nil {
		return file{}, fmt.Errorf("%w: it is a hard link to %s: %w", ErrDamaged, shown(hdr.Linkname), err)
	}
	f := file{dir, path.Base(first)}
	if dir.alone || a.places.exact[f.path()] {
		return file{}, fmt.Errorf("%w: it is a hard link to %s, which is not in the image", ErrDamaged, shown(hdr.Linkname))
	}
	return f, nil
}

// link makes a further name for a file.
func (a *applier) link(f file, hdr *tar.Header) error {
	first, err := a.linked(hdr)
	if err != nil {
		return err
	}
	err = unix.Linkat(first.dir.fd, first.name, f.dir.fd, f.name, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: it is a hard link to %s: %w", ErrDamaged, shown(hdr.Linkname), err)
	}
	return err
}

// isLinked tells whether a hard link is there already.
func (a *applier) isLinked(f file, hdr *tar.Header) (bool, error) {
	first, err := a.linked(hdr)
	if err != nil {
		return false, err
	}
	var have, want unix.Stat_t
	if err := unix.Fstatat(f.dir.fd, f.name, &have, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	if err := unix.Fstatat(first.dir.fd, first.name, &want, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	return have.Dev == want.Dev && have.Ino == want.Ino, nil
}
