package rootfs

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxDirs is how many directories are held open.
	maxDirs = 256
	// maxLinks is how many symbolic links one path may lead through, as in the kernel.
	maxLinks = 40
)

// dir is an open directory of the tree.
type dir struct {
	fd int
	// path is where it is, from the root, without links.
	path string
	// alone says that it and what is in it are left alone.
	alone bool
}

// dirs finds directories in a tree. Those found are held open, since entries of a layer
// that follow each other mostly lie in the same.
type dirs struct {
	root   string
	places *places
	top    *dir
	open   map[string]*dir
	// last is what was found last, and by which name.
	last     *dir
	lastName string
}

func openDirs(root string, p *places) (*dirs, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the root directory %s: %w", root, err)
	}
	return &dirs{root: root, places: p, top: &dir{fd: fd, path: "/"}, open: map[string]*dir{}}, nil
}

// full is the path of a file of the tree outside of it.
func (d *dirs) full(name string) string { return filepath.Join(d.root, name) }

func (d *dirs) close() {
	d.forget("/")
	unix.Close(d.top.fd)
}

// trim lets go of directories when there are many. No *dir from before is then good.
func (d *dirs) trim() {
	if len(d.open) > maxDirs {
		d.forget("/")
	}
}

// forget lets go of the directory name and of what is below it.
func (d *dirs) forget(name string) {
	d.last, d.lastName = nil, ""
	for at, open := range d.open {
		if name == "/" || at == name || strings.HasPrefix(at, name+"/") {
			unix.Close(open.fd)
			delete(d.open, at)
		}
	}
}

// find opens the directory of a name, through whatever links lead to it; an absolute
// link begins at the root of the tree, and none leads out of it. A directory on the way
// that is left alone ends the search. With create, missing directories are made.
func (d *dirs) find(name string, create bool) (*dir, error) {
	if d.last != nil && d.lastName == name {
		return d.last, nil
	}
	at, rest, links := d.top, strings.Split(name, "/"), 0
	for len(rest) > 0 && !at.alone {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			part = path.Dir(at.path)
			at, rest = d.top, append(strings.Split(part, "/"), rest...)
			continue
		}
		next, link, err := d.step(at, part, create)
		if err != nil {
			return nil, err
		}
		if next != nil {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return nil, fmt.Errorf("follow the links in %s: %w", shown(name), unix.ELOOP)
		}
		if strings.HasPrefix(link, "/") {
			at = d.top
		}
		rest = append(strings.Split(link, "/"), rest...)
	}
	d.last, d.lastName = at, name
	return at, nil
}

// step opens a directory in another, or returns where the link leads that is there
// instead.
func (d *dirs) step(from *dir, name string, create bool) (_ *dir, link string, err error) {
	where := path.Join(from.path, name)
	if known := d.open[where]; known != nil {
		return known, "", nil
	}
	if d.places.exact[where] {
		// It may be of a file system that does not answer.
		return &dir{fd: -1, path: where, alone: true}, "", nil
	}
	fd, err := openDir(from.fd, name)
	if errors.Is(err, unix.ENOENT) && create {
		if err = unix.Mkdirat(from.fd, name, 0o755); err == nil {
			err = unix.Fchmodat(from.fd, name, 0o755, 0)
		}
		if err == nil {
			fd, err = openDir(from.fd, name)
		}
	}
	if errors.Is(err, unix.ENOTDIR) {
		if link, linkErr := readlink(from.fd, name); linkErr == nil {
			return nil, link, nil
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("open directory %s: %w", shown(where), err)
	}
	next := &dir{fd: fd, path: where}
	d.open[where] = next
	return next, "", nil
}

func openDir(fd int, name string) (int, error) {
	return unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

func readlink(fd int, name string) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, buffer)
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}
