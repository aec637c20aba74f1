package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// StagedDir is a new directory that is to take the place of another.
type StagedDir struct {
	// Path is where to write.
	Path   string
	target string
	inside bool
}

// StageDir makes an empty directory that Commit puts in the place of dir, so
// that dir stays as it was when something fails or is cut off before. It lies
// beside dir, or in dir if that is a mount.
func StageDir(dir string) (*StagedDir, error) {
	parent, err := stageParent(dir)
	if err != nil {
		return nil, fmt.Errorf("preparing a new %s: %w", dir, err)
	}
	prefix := stagePrefix + filepath.Base(dir) + "-"
	removeStale(filepath.Join(parent, prefix))
	path, err := os.MkdirTemp(parent, prefix)
	if err == nil {
		err = os.Chmod(path, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("preparing a new %s: %w", dir, err)
	}
	return &StagedDir{Path: path, target: dir, inside: parent == dir}, nil
}

// Commit implements Staged: it puts the directory in place.
func (s *StagedDir) Commit() error {
	if err := s.commit(); err != nil {
		return fmt.Errorf("putting %s in place: %w", s.target, err)
	}
	return nil
}

func (s *StagedDir) commit() error {
	if s.inside {
		return replaceContents(s.target, s.Path)
	}
	err := unix.Renameat2(unix.AT_FDCWD, s.Path, unix.AT_FDCWD, s.target, unix.RENAME_EXCHANGE)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSYS) {
		if err := os.RemoveAll(s.target); err != nil {
			return err
		}
		return os.Rename(s.Path, s.target)
	}
	return err
}

// Discard implements Staged: it removes the new directory if it was not
// committed, else the old one.
func (s *StagedDir) Discard() { os.RemoveAll(s.Path) }

// removeStale removes what runs left that were killed.
func removeStale(prefix string) {
	entries, _ := os.ReadDir(filepath.Dir(prefix))
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), filepath.Base(prefix)) {
			os.RemoveAll(filepath.Join(filepath.Dir(prefix), entry.Name()))
		}
	}
}

const stagePrefix = ".graft-new-"

// stageParent is where the new directory is made: beside dir, or in it if dir
// is a mount or its parent cannot be written.
func stageParent(dir string) (string, error) {
	parent := filepath.Dir(dir)
	if err := MkdirAll(parent); err != nil {
		return "", err
	}
	above, err := os.Stat(parent)
	if err != nil {
		return "", err
	}
	own, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return parent, nil
	}
	if err != nil {
		return "", err
	}
	sameDevice := above.Sys().(*syscall.Stat_t).Dev == own.Sys().(*syscall.Stat_t).Dev
	if sameDevice && unix.Access(parent, unix.W_OK) == nil && !isMount(dir) {
		return parent, nil
	}
	return dir, nil
}

// isMount tells whether dir is a mount that its device number does not give
// away, as a directory bound from the same file system.
func isMount(dir string) bool {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_BASIC_STATS, &stat)
	return err == nil && stat.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func replaceContents(dir, stage string) error {
	if err := removeContents(dir, filepath.Base(stage)); err != nil {
		return err
	}
	entries, err := os.ReadDir(stage)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.Rename(filepath.Join(stage, entry.Name()), filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func removeContents(dir, but string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == but {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func removeDir(dir string) error {
	err := os.RemoveAll(dir)
	if errors.Is(err, syscall.EBUSY) || errors.Is(err, fs.ErrPermission) {
		if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			return removeContents(dir, "")
		}
	}
	return err
}
