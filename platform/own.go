package platform

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Own gives dir and what is in it to the build user, where it is not that user's yet. No
// link is followed but those that lead to dir itself, and of a file with several names
// all must be in dir: another may be what nobody wants to give away. What lies on a file
// system that is read-only stays as it is, and what others remove meanwhile is no error.
func (u BuildUser) Own(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if dir == "/" {
		return errors.New("it is the root directory, which is nobody's to give away")
	}
	type inode struct{ dev, ino uint64 }
	names := map[inode]int{}
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		if int(stat.Uid) == *u.UID && int(stat.Gid) == *u.GID {
			return nil
		}
		if stat.Nlink > 1 && !info.IsDir() {
			file := inode{uint64(stat.Dev), stat.Ino}
			if names[file]++; names[file] < int(stat.Nlink) {
				return nil
			}
		}
		err = os.Lchown(path, *u.UID, *u.GID)
		if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil
		}
		return err
	})
}
