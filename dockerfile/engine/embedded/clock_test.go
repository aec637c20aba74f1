//go:build linux

package embedded_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
)

// shiftRecords makes the cache in a state directory look as if the clock had been set by
// so much since it was used: forward if it is negative, back if it is positive.
func shiftRecords(t *testing.T, state string, by time.Duration) {
	t.Helper()
	file := filepath.Join(workerDir(t, state), "metadata_v2.db")
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	shifted := 0
	err = db.Update(func(tx *bbolt.Tx) error {
		main := tx.Bucket([]byte("_main"))
		return main.ForEachBucket(func(id []byte) error {
			record := main.Bucket(id)
			for _, name := range []string{"cache.lastUsedAt", "cache.createdAt"} {
				var value map[string]json.RawMessage
				data := record.Get([]byte(name))
				if data == nil {
					continue
				}
				var at int64
				if err := json.Unmarshal(data, &value); err != nil {
					return err
				}
				if err := json.Unmarshal(value["value"], &at); err != nil {
					return err
				}
				moved, err := json.Marshal(at + int64(by))
				if err != nil {
					return err
				}
				value["value"] = moved
				if data, err = json.Marshal(value); err != nil {
					return err
				}
				if err := record.Put([]byte(name), data); err != nil {
					return err
				}
				shifted++
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if shifted == 0 {
		t.Fatal("no record has a time")
	}
	then := time.Now().Add(by)
	for _, path := range []string{file, filepath.Join(state, "pruned")} {
		if err := os.Chtimes(path, then, then); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// A clock that is set between runs loses nothing that is in use; and records whose last
// use lies in the future since are not kept for ever, nor is pruning put off until then.
func TestClockThatJumps(t *testing.T) {
	needRoot(t)
	const decade = 10 * 365 * 24 * time.Hour
	state := t.TempDir()
	solveOnce := func(ttl time.Duration) (cached bool) { return solveIn(t, state, ttl) }
	pass := func(ttl time.Duration) {
		if err := open(t, embedded.Options{StateDir: state, CacheTTL: ttl}).Close(); err != nil {
			t.Fatal(err)
		}
	}
	solveOnce(time.Hour)
	shiftRecords(t, state, -decade)
	if !solveOnce(time.Hour) {
		t.Error("what is in use was lost when the clock was set forward")
	}
	if !solveOnce(time.Hour) {
		t.Error("what was in use was dropped after the clock was set forward")
	}
	shiftRecords(t, state, decade)
	pass(time.Hour)
	if !solveOnce(time.Hour) {
		t.Error("what was used lately was dropped when the clock was set back")
	}
	shiftRecords(t, state, decade)
	pass(time.Nanosecond)
	if solveOnce(time.Hour) {
		t.Error("a record that nobody used is kept, because its last use lies in the future")
	}
}
