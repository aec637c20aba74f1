//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

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
	err = damage.Revive(state, files, func() error { return dropCache(state) },
		func(warning string) { say.log(slog.LevelWarn, warning) },
		func() error { return checkBlobs(state) },
		func() error { return checkWitness(state) })
	if err != nil {
		return err
	}
	return claim(state)
}

// witness is a directory in the state directory, with a file in it, whose owner, group and
// mode are known: when they are others, somebody has changed those of everything. Volumes
// are given to other users as a whole, and what the snapshots hold would go into images like
// that. Both have bits that others may take away.
func witness(state string) string { return filepath.Join(state, "witness") }

const (
	witnessMode     = os.FileMode(0o666)
	witnessDirMode  = os.ModeDir | 0o755
	anyDirMode      = os.ModeDir // a directory whose permissions are its maker's affair
	witnessFileName = "file"
)

// checkWitness looks whether files still belong to whom they belonged to, in the witness and
// where snapshots are. A state directory that lacks the witness has not been used yet.
func checkWitness(state string) error {
	err := checkOwned(witness(state), witnessDirMode)
	if err == nil {
		err = checkOwned(filepath.Join(witness(state), witnessFileName), witnessMode)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, pattern := range []string{"snapshots", "snapshots/snapshots"} {
		dirs, globErr := filepath.Glob(filepath.Join(state, workerPrefix+"*", pattern))
		err = errors.Join(err, globErr)
		for _, dir := range dirs {
			if err == nil {
				err = checkOwned(dir, anyDirMode)
			}
		}
	}
	return err
}

// checkOwned tells when a file is somebody else's, or has another mode.
func checkOwned(path string, mode os.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	have := info.Mode()
	if mode == anyDirMode {
		have &^= os.ModePerm
	}
	stat := info.Sys().(*syscall.Stat_t)
	if int(stat.Uid) == os.Geteuid() && int(stat.Gid) == os.Getegid() && have == mode {
		return nil
	}
	return fmt.Errorf("owners or modes of its files were changed: those of %s are %d:%d and %v", path, stat.Uid, stat.Gid, info.Mode())
}

// makeWitness makes the witness, if there is none.
func makeWitness(state string) error {
	dir := witness(state)
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	file := filepath.Join(dir, witnessFileName)
	// Whatever the umask is.
	return errors.Join(os.Chmod(dir, witnessDirMode.Perm()), os.WriteFile(file, nil, witnessMode), os.Chmod(file, witnessMode))
}

// claim makes the state directory this user's, so that what is made in there is too (a
// directory may hand its group on), and leaves the witness.
func claim(state string) error {
	info, err := os.Stat(state)
	if err == nil {
		err = os.Chown(state, os.Geteuid(), os.Getegid())
	}
	if err == nil {
		err = os.Chmod(state, info.Mode().Perm()&^0o022)
	}
	if err == nil {
		err = makeWitness(state)
	}
	if err != nil {
		return fmt.Errorf("taking the state directory: %w", err)
	}
	return nil
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
	for _, path := range append(workers, filepath.Join(state, "cache.db"), filepath.Join(state, "history.db"), pruning.Mark(state), witness(state)) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
