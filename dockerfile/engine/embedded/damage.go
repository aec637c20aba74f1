//go:build linux

package embedded

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/damage"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/pruning"
)

// databases lists the files that BuildKit keeps its records in.
func databases(state string) ([]string, error) {
	workers, err := filepath.Glob(filepath.Join(state, workerPrefix+"*"))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, dir := range workers {
		for _, name := range []string{"containerdmeta.db", "metadata_v2.db", "snapshots/metadata.db"} {
			all = append(all, filepath.Join(dir, name))
		}
	}
	return append(all, filepath.Join(state, "cache.db"), filepath.Join(state, "history.db")), nil
}

// reviveState gives the cache up if it is damaged, and marks the state directory as used.
func reviveState(state string, say *messenger) error {
	files, err := databases(state)
	if err != nil {
		return fmt.Errorf("looking for the cache: %w", err)
	}
	return damage.Revive(state, files, func() error { return dropCache(state) },
		func(warning string) { say.log(slog.LevelWarn, warning) },
		func() error { return checkBlobs(state) })
}

// checkBlobs looks whether what BuildKit has read of base images is still that.
func checkBlobs(state string) error {
	dirs, err := filepath.Glob(filepath.Join(state, workerPrefix+"*", "content", "blobs", "sha256"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := damage.Blobs(dir); err != nil {
			return err
		}
	}
	return nil
}

// dropCache removes the cache from a state directory.
func dropCache(state string) error {
	workers, err := filepath.Glob(filepath.Join(state, workerPrefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range append(workers, filepath.Join(state, "cache.db"), filepath.Join(state, "history.db"), pruning.Mark(state)) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
