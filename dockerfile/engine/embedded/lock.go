//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
)

// lockRetry is how often a lock that another process holds is tried.
const lockRetry = 50 * time.Millisecond

// tryLockState is lockState without waiting: the file is nil while another process holds
// the lock.
func tryLockState(dir string) (*os.File, error) {
	path := lockFile(dir)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the engine's state directory: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return file, nil
	}
	file.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, fmt.Errorf("locking %s: %w", path, err)
}

// lockState locks a state directory for this process and for whoever inherits the
// returned file. It waits while another process holds the lock, and says so once.
func lockState(ctx context.Context, dir string, log logs.Func) (*os.File, error) {
	path := lockFile(dir)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the engine's state directory: %w", err)
	}
	for said := false; ; {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			if err := awaitHolder(ctx, file); err != nil {
				file.Close()
				return nil, err
			}
			return file, nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			file.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if !said {
			log.Write(slog.LevelInfo, fmt.Sprintf("waiting for another process that uses the engine's state directory %s", dir))
			said = true
		}
		select {
		case <-time.After(lockRetry):
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("waiting for another process that uses the engine's state directory %s: %w", dir, context.Cause(ctx))
		}
	}
}
