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
)

// copyTree copies a build context out of an extension's output: directories,
// regular files, and links that stay within the output. Everything becomes
// readable for the users that later phases run as. Anything else is an error
// that names it.
func copyTree(root *os.Root, path, target string) error {
	info, err := root.Lstat(path)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		return copyDir(root, path, target, info.Mode())
	case info.Mode()&fs.ModeSymlink != 0:
		return copyLink(root, path, target)
	case info.Mode().IsRegular():
		return copyFile(root, path, target, info.Mode())
	}
	return errOtherFile(path)
}

// checkTree finds what copyTree would refuse, without copying.
func checkTree(root *os.Root, path string) error {
	info, err := root.Lstat(path)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
	case info.Mode()&fs.ModeSymlink != 0:
		_, err := readLink(root, path)
		return err
	case info.Mode().IsRegular():
		return nil
	default:
		return errOtherFile(path)
	}
	entries, err := readDir(root, path)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, entry := range entries {
		if err := checkTree(root, filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func errOtherFile(path string) error {
	return fmt.Errorf("%s is neither a file nor a directory nor a link", path)
}

// readDir lists a directory that must not be a link.
func readDir(root *os.Root, path string) ([]fs.DirEntry, error) {
	dir, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.ReadDir(-1)
}

func copyDir(root *os.Root, path, target string, mode fs.FileMode) error {
	entries, err := readDir(root, path)
	if err != nil {
		return err
	}
	if err := makeDir(target, mode); err != nil {
		return err
	}
	for _, entry := range entries {
		if err := copyTree(root, filepath.Join(path, entry.Name()), filepath.Join(target, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func makeDir(target string, mode fs.FileMode) error {
	if err := os.Mkdir(target, 0o755); err != nil {
		return err
	}
	return os.Chmod(target, mode.Perm()|0o755)
}

func copyLink(root *os.Root, path, target string) error {
	link, err := readLink(root, path)
	if err != nil {
		return err
	}
	return os.Symlink(link, target)
}

// readLink refuses a link that leads out of the output, by name or by way of
// another link.
func readLink(root *os.Root, path string) (string, error) {
	link, err := root.Readlink(path)
	if err != nil {
		return "", err
	}
	within := filepath.Join(filepath.Dir(path), link)
	if filepath.IsAbs(link) || within == ".." || strings.HasPrefix(within, "../") {
		return "", fmt.Errorf("%s is a link to %s, which is outside of the output", path, link)
	}
	if _, err := root.Stat(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is a link to %s, which cannot be followed within the output: %w", path, link, err)
	}
	return link, nil
}

func copyFile(root *os.Root, path, target string, mode fs.FileMode) error {
	from, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Chmod(mode.Perm()|0o644), to.Close())
}
