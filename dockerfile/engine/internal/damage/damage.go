// Package damage finds databases that cannot be read any more, before a library opens
// them and breaks down somewhere later. A cache can be damaged: by a machine that lost its
// power, by a disk, by hand. It is given up then, since it is a cache; nothing is repaired.
package damage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

// mark is the file that is in a state directory while an engine runs. One that is found
// tells that the last engine did not end in order.
func mark(state string) string { return filepath.Join(state, "in-use") }

// Revive gives the cache in a state directory up if it is damaged, with a warning, and
// marks the directory as used. databases are the files that records are kept in; drop
// removes the cache. An engine that did not end in order calls for a thorough look.
// Further checks say what else can be wrong with what the records are of.
func Revive(state string, databases []string, drop func() error, warn func(string), further ...func() error) error {
	_, err := os.Stat(mark(state))
	problem := find(databases, err == nil)
	for _, check := range further {
		if problem == nil {
			problem = check()
		}
	}
	if problem != nil {
		if err := GiveUp(state, problem, drop, warn); err != nil {
			return err
		}
	}
	if err := os.WriteFile(mark(state), nil, 0o600); err != nil {
		return fmt.Errorf("noting that the state directory is in use: %w", err)
	}
	return nil
}

// GiveUp removes a cache, with a warning that says what is wrong with it.
func GiveUp(state string, problem error, drop func() error, warn func(string)) error {
	warn(fmt.Sprintf("the cache in the state directory %s is damaged (%v); starting with an empty one", state, problem))
	if err := drop(); err != nil {
		return fmt.Errorf("removing the damaged cache: %w; remove the state directory %s", err, state)
	}
	return nil
}

// Leave takes the mark of use away, once everything is closed.
func Leave(state string) error {
	if err := os.Remove(mark(state)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("noting that the state directory is not in use: %w", err)
	}
	return nil
}

// find says what is wrong with the databases of a cache, which belong together: with one
// of them lost the others are worth nothing. None at all is no damage. A thorough look
// reads everything in them, and forgives that one is missing, which one is while they are
// being made.
func find(databases []string, thorough bool) error {
	var found []string
	var missing error
	for _, file := range databases {
		if _, err := os.Stat(file); err == nil {
			found = append(found, file)
		} else if missing == nil {
			missing = err
		}
	}
	if len(found) == 0 {
		return nil // there is no cache yet
	}
	if missing != nil && !thorough {
		return missing
	}
	for _, file := range found {
		if err := check(file, thorough); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// Read reads everything in the databases that are there, and says what cannot be read. It
// is for those who break down with a database, and cannot look thoroughly only after that.
func Read(databases []string) error { return find(databases, true) }

// Panic is the error of what broke down, as libraries do on a page of a database that is
// not what it should be.
type Panic struct {
	// Problem is what it broke down with.
	Problem any
	// Stack is where it was.
	Stack []byte
}

func (p *Panic) Error() string { return fmt.Sprintf("it cannot be read: %v", p.Problem) }

// Guard does something with databases, and makes a *Panic of a panic, or of a fault where
// a file is too short for the memory that it is mapped to. What was in use is not to be
// used again then, and may not even be closed.
func Guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if problem := recover(); problem != nil {
			err = &Panic{problem, debug.Stack()}
		}
	}()
	return do()
}

// check looks whether a database has all the pages that it says it has, and, if
// asked to be thorough, whether everything in it can be read and hangs together.
func check(file string, thorough bool) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return errors.New("it is empty")
	}
	return Guard(func() error {
		// What is free is read when it is opened to be written, and no sooner.
		db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: thorough, Timeout: time.Second})
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
		if err := tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return readBucket(b) }); err != nil {
			return err
		}
		// What can be read may still be free at the same time, and be overwritten.
		for problem := range tx.Check() {
			err = cmp.Or(err, problem)
		}
		return err
	})
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
