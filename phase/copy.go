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
	return contextTree{output: root}.dir(from, to, path)
}

// checkRest finds what must not be anywhere in an output, also where nobody reads or
// copies it: a link that leaves the output, a device, a fifo, a socket. It leaves out
// the files and directories at the top that skip names. The error is a *fileProblem.
func checkRest(root *os.Root, owned bool, skip func(name string) bool) error {
	return contextTree{output: root, owned: owned, unread: true, skip: skip}.dir(root, nil, "")
}

// contextTree is a build context. Each of its directories is opened in the one
// above it, so that no name is looked up from the top again for each file: that
// would take forever in a tree that somebody made deep.
type contextTree struct {
	// output is what links must not leave.
	output *os.Root
	// unread tells that nobody reads what is in there: a directory that cannot be looked
	// into does no harm. If it is owned its mode is changed for as long as that takes.
	unread, owned bool
	// skip leaves out what it names at the top; nil leaves out nothing.
	skip func(name string) bool
}

// fileProblem is a file of an output that is not acceptable, or cannot be copied.
type fileProblem struct {
	// path is that below the output.
	path, problem string
	err           error
}

func (e *fileProblem) Error() string { return platform.Printable(e.path) + " " + e.problem }
func (e *fileProblem) Unwrap() error { return e.err }

// refuse makes the error for a file, with words for fmt.Errorf.
func refuse(path, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &fileProblem{path: path, problem: err.Error(), err: errors.Unwrap(err)}
}

// dir copies what is in a directory, or only looks at it if to is nil. The path
// is that below the output.
func (c contextTree) dir(from, to *os.Root, path string) error {
	entries, err := readDir(from)
	if err != nil {
		return explainFile(path, err)
	}
	for _, entry := range entries {
		if path == "" && c.skip != nil && c.skip(entry.Name()) {
			continue
		}
		if err := c.entry(from, to, entry.Name(), filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (c contextTree) entry(from, to *os.Root, name, path string) error {
	if len(path) > maxPath {
		return refuse(path, "has a name of more than %d bytes, with all directories", maxPath)
	}
	info, err := from.Lstat(name)
	if c.unread && errors.Is(err, fs.ErrPermission) {
		return nil
	}
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
		return refuse(path, "is neither a file nor a directory nor a link")
	case to == nil:
		return nil
	}
	return explainFile(path, copyFile(from, to, name))
}

func (c contextTree) subdir(from, to *os.Root, info fs.FileInfo, path string) error {
	if c.unread && info.Mode().Perm()&0o500 != 0o500 {
		if !c.owned || from.Chmod(info.Name(), info.Mode().Perm()|0o500) != nil {
			return nil
		}
		defer func() { _ = from.Chmod(info.Name(), info.Mode().Perm()) }()
	}
	below, err := from.OpenRoot(info.Name())
	if c.unread && errors.Is(err, fs.ErrPermission) {
		return nil
	}
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
		return "", refuse(path, "is a link to %s, which is outside of the output", platform.Printable(link))
	}
	if _, err := c.output.Stat(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", refuse(path, "is a link to %s, which cannot be followed within the output: %w", platform.Printable(link), withoutPath(err))
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
	return refuse(path, "cannot be copied: %w", withoutPath(err))
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
