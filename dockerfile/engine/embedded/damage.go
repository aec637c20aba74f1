//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

// A cache can be damaged: by a machine that lost its power, by a disk, by hand. BuildKit
// opens what is there and breaks down somewhere later, so it is looked at before, and
// what cannot be read is given up. It is a cache, after all.

// useMark is the file that is there while an engine runs. One that is found tells that
// the last engine did not end in order.
func useMark(state string) string { return filepath.Join(state, "in-use") }

// databases lists the files that BuildKit keeps its records in, those of the worker
// first. They belong together: with one of them lost the others are worth nothing.
func databases(state string) (found []string, missing error) {
	worker, err := filepath.Glob(filepath.Join(state, workerPrefix+"*"))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, dir := range worker {
		for _, name := range []string{"containerdmeta.db", "metadata_v2.db", "snapshots/metadata.db"} {
			all = append(all, filepath.Join(dir, name))
		}
	}
	all = append(all, filepath.Join(state, "cache.db"), filepath.Join(state, "history.db"))
	for _, file := range all {
		if _, err := os.Stat(file); err == nil {
			found = append(found, file)
		} else if missing == nil {
			missing = err
		}
	}
	return found, missing
}

// reviveState gives the cache up if it is damaged, with a warning, and marks the state
// directory as used. An engine that did not end in order calls for a thorough look.
func reviveState(state string, say *messenger) error {
	_, err := os.Stat(useMark(state))
	if damage := findDamage(state, err == nil); damage != nil {
		say.log(slog.LevelWarn, fmt.Sprintf("the cache in the state directory %s is damaged (%v); starting with an empty one", state, damage))
		if err := dropCache(state); err != nil {
			return err
		}
	}
	if err := os.WriteFile(useMark(state), nil, 0o600); err != nil {
		return fmt.Errorf("noting that the state directory is in use: %w", err)
	}
	return nil
}

// leaveState takes the mark of use away, once everything is closed.
func leaveState(state string) error {
	if err := os.Remove(useMark(state)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("noting that the state directory is not in use: %w", err)
	}
	return nil
}

// findDamage says what is wrong with the cache.
func findDamage(state string, thorough bool) error {
	files, missing := databases(state)
	if len(files) == 0 {
		return nil // there is no cache yet
	}
	if missing != nil && !thorough {
		return missing
	}
	for _, file := range files {
		if err := checkDatabase(file, thorough); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// checkDatabase looks whether a database has all the pages that it says it has, and, if
// asked to be thorough, whether everything in it can be read. Reading a page that is not
// what it should be panics, or faults where the file is too short for the memory that it
// is mapped to.
func checkDatabase(file string, thorough bool) (err error) {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return errors.New("it is empty")
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("it cannot be read: %v", problem)
		}
	}()
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.Begin(false)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if tx.Size() > info.Size() {
		return fmt.Errorf("it has %d bytes, and should have %d", info.Size(), tx.Size())
	}
	if !thorough {
		return nil
	}
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return readBucket(b) })
}

// readBucket reads all that is in a bucket.
func readBucket(b *bbolt.Bucket) error {
	return b.ForEach(func(key, value []byte) error {
		if value != nil {
			return nil
		}
		nested := b.Bucket(key)
		if nested == nil {
			return fmt.Errorf("there is no bucket %q", key)
		}
		return readBucket(nested)
	})
}

// dropCache removes the cache from a state directory.
func dropCache(state string) error {
	worker, err := filepath.Glob(filepath.Join(state, workerPrefix+"*"))
	if err != nil {
		return fmt.Errorf("looking for the damaged cache: %w", err)
	}
	for _, path := range append(worker, filepath.Join(state, "cache.db"), filepath.Join(state, "history.db"), pruneMark(state)) {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing the damaged cache: %w; remove the state directory %s", err, state)
		}
	}
	return nil
}
