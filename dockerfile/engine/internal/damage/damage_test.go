package damage_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/damage"
)

// TestGuard makes an error of what would end the process: a panic, and memory that has
// no file behind it any more.
func TestGuard(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, 2*os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	plain := errors.New("plain")
	for name, test := range map[string]struct {
		do       func() error
		want     string
		panicked bool
	}{
		"panic": {func() error { panic("a bad page") }, "it cannot be read: a bad page", true},
		"fault": {func() error { return errors.New(string(memory[os.Getpagesize():])) }, "it cannot be read: runtime error", true},
		"error": {func() error { return plain }, "plain", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := damage.Guard(test.do)
			var broken *damage.Panic
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || errors.As(err, &broken) != test.panicked {
				t.Errorf("the error is %v", err)
			}
			if test.panicked && (broken == nil || !strings.Contains(string(broken.Stack), "TestGuard")) {
				t.Error("it does not say where that was")
			}
		})
	}
	if err := damage.Guard(func() error { return nil }); err != nil {
		t.Errorf("nothing is wrong, and the error is %v", err)
	}
}

// TestRead finds what is not what it was in a database that is as large as it says: a page
// that is in use, the list of free pages, and a list of free pages with one that is in use.
func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(file, 0o600, nil)
	check(t, err)
	for n := range 3 {
		check(t, db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("bucket"))
			if err != nil {
				return err
			}
			return b.Put([]byte{byte(n)}, make([]byte, 3000))
		}))
	}
	check(t, db.Close())
	whole, err := os.ReadFile(file)
	check(t, err)
	// Where the newer of the first two pages says that the root and the list are.
	page := os.Getpagesize()
	number := func(at int) int { return int(binary.NativeEndian.Uint64(whole[at:])) }
	meta := 0
	if number(page+64) > number(64) {
		meta = page
	}
	root, free := number(meta+32)*page, number(meta+48)*page
	for name, test := range map[string]struct {
		damage func(content []byte)
		want   string
	}{
		"whole":                   {func([]byte) {}, ""},
		"bad page":                {func(content []byte) { clear(content[root : root+page]) }, "it cannot be read"},
		"bad list":                {func(content []byte) { clear(content[free : free+page]) }, "it cannot be read"},
		"page in use and free":    {func(content []byte) { binary.NativeEndian.PutUint64(content[free+16:], uint64(root/page)) }, "reachable freed"},
		"no page of the newer":    {func(content []byte) { clear(content[meta : meta+page]) }, "page 0: has unexpected type"},
		"none of the first pages": {func(content []byte) { clear(content[:2*page]) }, "invalid database"},
	} {
		t.Run(name, func(t *testing.T) {
			content := append([]byte(nil), whole...)
			test.damage(content)
			file := filepath.Join(t.TempDir(), "db")
			check(t, os.WriteFile(file, content, 0o600))
			err := damage.Read([]string{file, file + ".missing"})
			if test.want == "" && err != nil {
				t.Errorf("the error is %v", err)
			}
			if test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), file+": ") || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("the error is %v, and does not say %q", err, test.want)
			}
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
