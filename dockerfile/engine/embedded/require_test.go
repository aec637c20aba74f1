//go:build linux

package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/ociruntime"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/statelock"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// refused opens an engine that cannot run, and returns what is said to be missing.
func refused(t *testing.T, opts Options) []string {
	t.Helper()
	e, err := Open(t.Context(), opts)
	if err == nil {
		e.Close()
		t.Fatal("an engine was opened that cannot run")
	}
	var u *unavailable.Error
	if !errors.As(err, &u) {
		t.Fatalf("the error is %v (%T)", err, err)
	}
	for _, line := range u.Missing {
		if !strings.Contains(err.Error(), "\n  - "+line+"\n") {
			t.Errorf("the message lacks the line %q:\n%v", line, err)
		}
	}
	return u.Missing
}

// All that is missing is told at once, not only the first thing.
func TestOpenTellsAllThatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := strings.Join(refused(t, Options{StateDir: filepath.Join(file, "state")}), "\n")
	want := []string{"state directory cannot be made"}
	if !ociruntime.Available {
		want = append(want, "runc is not in PATH: install the package runc")
	} else if strings.Contains(missing, "runc") {
		t.Errorf("runc is missed by a program that needs none:\n%s", missing)
	}
	if os.Geteuid() != 0 {
		want = append(want, "newuidmap is not in PATH: install the package uidmap", "newgidmap is not in PATH")
	}
	for _, text := range want {
		if !strings.Contains(missing, text) {
			t.Errorf("it is not said that %q:\n%s", text, missing)
		}
	}
}

// A cache that another user made is refused, since its files would be unusable.
func TestStateDirectoryOfAnotherUserIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(statelock.Path(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if line := (requirements{uid: os.Geteuid()}).stateDir(dir); line != "" {
		t.Errorf("the user's own directory is refused: %s", line)
	}
	if line := (requirements{uid: os.Geteuid() + 1}).stateDir(dir); !strings.Contains(line, dir+" was made by uid") {
		t.Errorf("another user's directory: %q", line)
	}
}

// An ordinary user needs more than root; which of it is there is read from the files
// that newuidmap reads.
func TestOrdinaryUserNeedsSubordinateIDs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	content := "# comment\nother:1:2\nada:100000:65536\n1001:300000:10\nada:bad:1\nada:5:0\n:7:7\n"
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		user string
		uid  int
		want []idRange
	}{
		{"ada", 1001, []idRange{{100000, 65536}, {300000, 10}}},
		{"1001", 1001, []idRange{{300000, 10}}},
		{"ada", 7, []idRange{{100000, 65536}}},
		{"grace", 1002, nil},
	} {
		got, err := subordinateIDs(file, test.user, test.uid)
		if !slices.Equal(got, test.want) || (err != nil) != (test.want == nil) {
			t.Errorf("%s (%d): %v (%v), want %v", test.user, test.uid, got, err, test.want)
		}
	}
	if _, err := subordinateIDs(file+".missing", "ada", 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file at all: %v", err)
	}
}

// A program that cannot become an engine is told so, instead of running itself once more.
func TestInitIsRequired(t *testing.T) {
	initialised.Store(false)
	defer initialised.Store(true)
	if _, err := Open(t.Context(), Options{StateDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "embedded.Init") {
		t.Errorf("the error is %v", err)
	}
}
