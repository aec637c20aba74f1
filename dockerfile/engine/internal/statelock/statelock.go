//go:build linux

// Package statelock keeps two processes from using one state directory of an engine
// at the same time. It never removes the file that is locked, and knows nothing of
// what is in the directory.
package statelock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
)

// retry is how often a lock that another process holds is tried.
const retry = 50 * time.Millisecond

// Path is the file in a state directory that is locked.
func Path(dir string) string { return filepath.Join(dir, "lock") }

// Try locks a state directory for this process and for whoever inherits the returned
// file; closing it gives the lock back. The file is nil while another process holds
// the lock.
func Try(dir string) (*os.File, error) {
	path := Path(dir)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the engine's state directory: %w", err)
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return file, nil
		case errors.Is(err, unix.EINTR):
			continue
		}
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
}

// Lock is Try that waits while another process holds the lock, and says so once.
func Lock(ctx context.Context, dir string, log logs.Func) (*os.File, error) {
	for said := false; ; {
		file, err := Try(dir)
		if file != nil || err != nil {
			return file, err
		}
		if !said {
			log.Write(slog.LevelInfo, fmt.Sprintf("waiting for another process that uses the engine's state directory %s", dir))
			said = true
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another process that uses the engine's state directory %s: %w", dir, context.Cause(ctx))
		}
	}
}
