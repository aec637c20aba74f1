package phase

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/graft-cnb/graft/platform"
)

// maxPath bounds, in bytes, the name of a file of a build context below the
// output. Later phases open such files by name, and put a directory before it.
const maxPath = 3 << 10

// copyTree copies a build context out of an extension's output: directories,
// regular files, and links that stay within the output. Everything becomes
// readable for the users that later phases run as. Anything else is an error
// that names it.
func copyTree(root *os.Root, path, target string) error {
	info, err := root.Lstat(path)
	if err != nil {
		return err
	}
	if err := os.Mkdir(target, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(target, dirMode(info)); err != nil {
		return err
	}
	to, err := os.OpenRoot(target)
	if err != nil {
		return err
	}
	defer to.Close()
	return transfer(root, path, to)
}

// checkTree finds what copyTree would refuse, without copying.
func checkTree(root *os.Root, path string) error { return transfer(root, path, nil) }

func transfer(root *os.Root, path string, to *os.Root) error {
	from, err := root.OpenRoot(path)
	if err != nil {
		return err
	}
	defer from.Close()
	return contextTree{root}.dir(from, to, path)
}

// contextTree is a build context. Each of its directories is opened in the one
// above it, so that no name is looked up from the top again for each file: that
// would take forever in a tree that somebody made deep.
type contextTree struct {
	// output is what links must not leave.
	output *os.Root
}

// dir copies what is in a directory, or only looks at it if to is nil. The path
// is that below the output.
func (c contextTree) dir(from, to *os.Root, path string) error {
	entries, err := readDir(from)
	if err != nil {
		return explainFile(path, err)
	}
	for _, entry := range entries {
		if err := c.entry(from, to, entry.Name(), filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (c contextTree) entry(from, to *os.Root, name, path string) error {
	if len(path) > maxPath {
		return fmt.Errorf("%s has a name of more than %d bytes, with all directories", platform.Printable(path), maxPath)
	}
	info, err := from.Lstat(name)
	if err != nil {
		return explainFile(path, err)
	}
	switch {
	case info.IsDir():
		return c.subdir(from, to, info, path)
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := c.readLink(path)
		if err != nil || to == nil {
			return err
		}
		return explainFile(path, to.Symlink(link, name))
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is neither a file nor a directory nor a link", platform.Printable(path))
	case to == nil:
		return nil
	}
	return explainFile(path, copyFile(from, to, name))
}

func (c contextTree) subdir(from, to *os.Root, info fs.FileInfo, path string) error {
	below, err := from.OpenRoot(info.Name())
	if err != nil {
		return explainFile(path, err)
	}
	defer below.Close()
	if to == nil {
		return c.dir(below, nil, path)
	}
	if err := to.Mkdir(info.Name(), 0o755); err != nil {
		return explainFile(path, err)
	}
	if err := to.Chmod(info.Name(), dirMode(info)); err != nil {
		return explainFile(path, err)
	}
	target, err := to.OpenRoot(info.Name())
	if err != nil {
		return explainFile(path, err)
	}
	defer target.Close()
	return c.dir(below, target, path)
}

func dirMode(info fs.FileInfo) fs.FileMode { return info.Mode().Perm() | 0o755 }

// readDir lists a directory by name.
func readDir(root *os.Root) ([]fs.DirEntry, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// readLink refuses a link that leads out of the output, by name or by way of
// another link.
func (c contextTree) readLink(path string) (string, error) {
	link, err := c.output.Readlink(path)
	if err != nil {
		return "", explainFile(path, err)
	}
	within := filepath.Join(filepath.Dir(path), link)
	if filepath.IsAbs(link) || within == ".." || strings.HasPrefix(within, "../") {
		return "", fmt.Errorf("%s is a link to %s, which is outside of the output", platform.Printable(path), platform.Printable(link))
	}
	if _, err := c.output.Stat(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is a link to %s, which cannot be followed within the output: %w",
			platform.Printable(path), platform.Printable(link), withoutPath(err))
	}
	return link, nil
}

// copyFile copies as much as a regular file has when it is opened: one that
// somebody keeps writing to would never end.
func copyFile(from, to *os.Root, name string) error {
	in, err := from.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, info.Size()))
	return errors.Join(err, out.Chmod(info.Mode().Perm()|0o644), out.Close())
}

// explainFile says which file of the output could not be copied.
func explainFile(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s cannot be copied: %w", platform.Printable(path), withoutPath(err))
}

// withoutPath is an error without the name of a file, for messages that have it.
func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// removeAll removes an output, also where the extension has left directories
// that not even their owner may change.
func removeAll(dir string) {
	if os.RemoveAll(dir) == nil {
		return
	}
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	_ = os.RemoveAll(dir)
}
