package damage_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
