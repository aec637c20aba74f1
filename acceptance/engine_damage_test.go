package acceptance

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// Whoever gives a volume to another user, or to a group, changes the owners and modes of
// all that an engine has in it. They would go into images like that: the cache is given up,
// and the engine keeps its isolation.
func TestStateDirectoryGivenToOthers(t *testing.T) {
	need(t, os.Geteuid() == 0, "root")
	base := smallBase(t, nil)
	for name, give := range map[string]func(path string, info os.FileInfo) error{
		"a user": func(path string, _ os.FileInfo) error { return os.Lchown(path, 5000, 5000) },
		"nobody else": func(path string, info os.FileInfo) error {
			if info.Mode()&os.ModeSymlink != 0 {
				return nil
			}
			return os.Chmod(path, info.Mode()&^0o077)
		},
		"a group for directories": func(path string, info os.FileInfo) error {
			if !info.IsDir() {
				return nil
			}
			return os.Chmod(path, info.Mode()|os.ModeSetgid)
		},
		"a user for snapshots": func(path string, _ os.FileInfo) error {
			if !strings.Contains(path, "/snapshots") {
				return nil
			}
			return os.Lchown(path, 1001, -1)
		},
		"a group": func(path string, info os.FileInfo) error {
			err := os.Lchown(path, -1, 3000)
			switch {
			case err != nil || info.Mode()&os.ModeSymlink != 0:
				return err
			case info.IsDir():
				return os.Chmod(path, info.Mode()|0o070|os.ModeSetgid)
			}
			return os.Chmod(path, info.Mode()|0o060)
		},
	} {
		t.Run(name, func(t *testing.T) {
			volume := t.TempDir()
			e := embeddedIn(t, filepath.Join(volume, "state"))
			s := newScene(t, "run", "oci:"+base, e)
			s.step("one", "USER root", "RUN mkdir -p /etc/made && echo >/etc/made/file", "USER 7")
			s.succeed()
			described := func() string {
				headers, _ := layerEntries(t, s.added(openLayout(t, base))[0])
				var all []string
				for _, name := range slices.Sorted(maps.Keys(headers)) {
					h := headers[name]
					all = append(all, fmt.Sprintf("%s %v %d:%d", name, h.FileInfo().Mode(), h.Uid, h.Gid))
				}
				return strings.Join(all, "\n")
			}
			want := described()
			check(t, filepath.Walk(volume, func(path string, info os.FileInfo, err error) error {
				if err != nil {
					return err
				}
				return give(path, info)
			}))
			o := s.succeed()
			if !strings.Contains(o.stderr, "owners or modes of its files were changed") || !strings.Contains(o.stdout, "embedded BuildKit") {
				t.Errorf("no warning, or another engine: %v", o)
			}
			if got := described(); got != want {
				t.Errorf("the layer holds\n%s\nand held\n%s", got, want)
			}
			if o := s.succeed(); o.stderr != "" || len(o.cached()) == 0 {
				t.Errorf("the new cache is not used: %v", o)
			}
		})
	}
}

// An engine that has not made anything yet leaves a cache that is whole: it was taken for
// one that has lost a database.
func TestStateDirectoryOfAnEngineThatMadeNothing(t *testing.T) {
	e := embeddedIn(t, t.TempDir())
	s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
	s.step("one", "RUN touch /tmp/x", "USER 7")
	for range 2 {
		if o := s.succeed("-preflight"); o.stderr != "" {
			t.Errorf("there is a warning: %v", o)
		}
	}
	if o := s.succeed(); o.stderr != "" {
		t.Errorf("there is a warning: %v", o)
	}
}

// A directory of a snapshot that a killed engine had made and not yet noted stood in the way
// of the next one: that run failed, and blamed an instruction.
func TestStateDirectoryWithUnnotedSnapshots(t *testing.T) {
	for name, builtBefore := range map[string]bool{"after a build": true, "before any": false} {
		t.Run(name, func(t *testing.T) {
			e := embeddedIn(t, t.TempDir())
			s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
			s.step("one", "RUN touch /tmp/x", "USER 7")
			if builtBefore {
				s.succeed()
				s.step("two", "RUN touch /tmp/y")
			} else {
				s.succeed("-preflight")
			}
			found, err := filepath.Glob(filepath.Join(e.state, "runc-*", "snapshots"))
			check(t, err)
			if len(found) != 1 {
				t.Fatalf("the snapshotters are %v", found)
			}
			if _, err := os.Stat(filepath.Join(found[0], "metadata.db")); err != nil || !strings.Contains(found[0], "overlayfs") {
				need(t, false, "overlayfs")
			}
			for n := range 40 {
				dir := filepath.Join(found[0], "snapshots", fmt.Sprint(n))
				if _, err := os.Stat(dir); err != nil {
					check(t, os.MkdirAll(filepath.Join(dir, "fs"), 0o755))
				}
			}
			if o := s.succeed(); o.stderr != "" {
				t.Errorf("there are warnings: %v", o)
			}
		})
	}
}
