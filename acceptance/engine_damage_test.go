package acceptance

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A state directory whose databases are damaged is no failure: the cache starts anew,
// with a warning, and serves the next run.
func TestDamagedStateDirectory(t *testing.T) {
	base := "oci:" + smallBase(t, nil)
	whole := embeddedIn(t, t.TempDir())
	build := func(e engine) outcome {
		s := newScene(t, "run", base, e)
		s.step("one", "RUN touch /tmp/x", "USER 7")
		return s.succeed()
	}
	build(whole)
	databases, err := filepath.Glob(filepath.Join(whole.state, "runc-*", "*.db"))
	check(t, err)
	more, err := filepath.Glob(filepath.Join(whole.state, "*.db"))
	check(t, err)
	if databases = append(databases, more...); len(databases) < 4 {
		t.Fatalf("the databases are %v", databases)
	}
	for _, database := range databases {
		content, err := os.ReadFile(database)
		check(t, err)
		name, err := filepath.Rel(whole.state, database)
		check(t, err)
		for damage, damaged := range map[string][]byte{
			"empty": {}, "truncated": content[:len(content)/2], "overwritten": bytes.Repeat([]byte("junk"), len(content)/4),
		} {
			t.Run(name+" "+damage, func(t *testing.T) {
				e := embeddedIn(t, t.TempDir())
				check(t, os.CopyFS(e.state, os.DirFS(whole.state)))
				check(t, os.WriteFile(filepath.Join(e.state, name), damaged, 0o600))
				o := build(e)
				if want := "cache in the state directory " + e.state + " is damaged (" + filepath.Join(e.state, name); !strings.Contains(o.stderr, want) {
					t.Errorf("stderr does not say %q: %v", want, o)
				}
				if o := build(e); len(o.cached()) == 0 || o.stderr != "" {
					t.Errorf("the new cache is not used: %v", o)
				}
			})
		}
	}
}

// Pages in the middle of a database are found out by the engine that breaks down on them:
// the run goes on with an empty cache.
func TestPoisonedStateDirectory(t *testing.T) {
	e := embeddedIn(t, t.TempDir())
	s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
	s.step("one", "RUN touch /tmp/x", "USER 7")
	s.succeed()
	databases, err := filepath.Glob(filepath.Join(e.state, "runc-*", "containerdmeta.db"))
	check(t, err)
	if len(databases) != 1 {
		t.Fatalf("the databases are %v", databases)
	}
	content, err := os.ReadFile(databases[0])
	check(t, err)
	clear(content[2*os.Getpagesize():]) // after the two pages that say what there is
	check(t, os.WriteFile(databases[0], content, 0o600))
	if o := s.succeed(); !strings.Contains(o.stderr, databases[0]+": it cannot be read") {
		t.Errorf("no warning: %v", o)
	}
	if o := s.succeed(); len(o.cached()) == 0 || o.stderr != "" {
		t.Errorf("the new cache is not used: %v", o)
	}
}

// A manifest or a configuration that is not what it was would fail every build on its
// image: it is found out before.
func TestPoisonedBlob(t *testing.T) {
	e := embeddedIn(t, t.TempDir())
	s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
	s.step("one", "RUN touch /tmp/x", "USER 7")
	s.succeed()
	blobs, err := filepath.Glob(filepath.Join(e.state, "runc-*", "content/blobs/sha256/*"))
	check(t, err)
	poisoned := 0
	for _, blob := range blobs {
		info, err := os.Stat(blob)
		check(t, err)
		if info.Size() < 1<<16 {
			check(t, os.WriteFile(blob, bytes.Repeat([]byte("x"), int(info.Size())), 0o600))
			poisoned++
		}
	}
	if poisoned == 0 {
		t.Fatalf("there is no small blob among %q", blobs)
	}
	if o := s.succeed(); !strings.Contains(o.stderr, "it holds something else than its name says") {
		t.Errorf("no warning: %v", o)
	}
	if o := s.succeed(); len(o.cached()) == 0 || o.stderr != "" {
		t.Errorf("the new cache is not used: %v", o)
	}
}

// A disk that is full is a failure that is told, and leaves a state directory that the
// next run can use.
func TestDiskFull(t *testing.T) {
	state := t.TempDir()
	e := embeddedIn(t, state)
	check(t, syscall.Mount("tmpfs", state, "tmpfs", 0, "size=24m"))
	t.Cleanup(func() { check(t, syscall.Unmount(state, 0)) })
	s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
	s.step("one", "RUN dd if=/dev/zero of=/tmp/x bs=1M count=64", "USER 7")
	s.write("layers/extended/run/sha256:earlier/result", "")
	before := s.listing()
	s.fail(102, "No space left on device")
	compareTrees(t, "before", before, "after", s.listing())

	s = newScene(t, "run", s.base, e)
	s.step("one", "RUN dd if=/dev/zero of=/tmp/x bs=1M count=4", "USER 7")
	s.succeed()
	// And where not even the databases fit in.
	tiny := t.TempDir()
	check(t, syscall.Mount("tmpfs", tiny, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { check(t, syscall.Unmount(tiny, 0)) })
	s.env["CNB_STATE_DIR"] = tiny
	s.fail(102, "no space left on device")
}
