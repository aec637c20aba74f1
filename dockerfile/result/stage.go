package result

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// stagePrefix begins the names of staging directories.
const stagePrefix = ".graft-"

// Stage is a directory beside a result, in which the result is made. It is
// locked while its process lives: a stage without a lock is what a killed run
// left, and the next NewStage in the same place removes it.
type Stage struct {
	path string
	lock *os.File
}

// NewStage makes a stage in dir, which is created if missing, and removes stale
// ones there. The caller closes it.
func NewStage(dir string) (*Stage, error) {
	if err := mkdir(dir); err != nil {
		return nil, fmt.Errorf("make directory for results: %w", err)
	}
	// Between its making and its lock a stage looks like one that was left.
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("lock directory for results: %w", err)
	}
	defer unlock()
	removeStale(dir)
	path, err := os.MkdirTemp(dir, stagePrefix)
	if err != nil {
		return nil, fmt.Errorf("make staging directory: %w", err)
	}
	lock, err := os.Open(path)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		_ = os.RemoveAll(path)
		return nil, fmt.Errorf("lock staging directory %s: %w", path, err)
	}
	return &Stage{path: path, lock: lock}, nil
}

// Path is the stage's directory.
func (s *Stage) Path() string { return s.path }

// Close removes the stage with everything in it.
func (s *Stage) Close() error {
	err := os.RemoveAll(s.path)
	return errors.Join(err, s.lock.Close())
}

// lockDir keeps others that ask for it from a directory, and waits while somebody has it.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// removeStale removes stages whose process is gone. One that cannot be removed
// is somebody else's business and no reason to fail.
func removeStale(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), stagePrefix) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(path)
		}
		_ = f.Close()
	}
}

// mkdir makes a directory and its parents, readable for later phases whatever
// the umask is; one that exists keeps its mode.
func mkdir(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := mkdir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Chmod(dir, 0o755)
}
