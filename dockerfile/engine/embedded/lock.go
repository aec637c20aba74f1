//go:build linux

package embedded

import (
	"context"
	"os"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/statelock"
)

// lockState locks a state directory for this process and for whoever inherits the
// returned file. It waits while another process holds the lock, and then until what
// that process has started has ended too.
func lockState(ctx context.Context, dir string, log logs.Func) (*os.File, error) {
	file, err := statelock.Lock(ctx, dir, log)
	if err != nil {
		return nil, err
	}
	if err := awaitHolder(ctx, file); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
