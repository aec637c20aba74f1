package buildmodule

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graft-cnb/graft/platform"
)

// TestHangingDetectDiesWithItsContext guards that a bin/detect that hangs is
// killed with the phase, and what it started with it.
func TestHangingDetectDiesWithItsContext(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "started")
	m := script(t, "bin/detect", "sleep 4242 & echo $! >'"+mark+".tmp'; mv '"+mark+".tmp' '"+mark+"'; wait")
	stop := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		for {
			if _, err := os.Stat(mark); err == nil {
				cancel(stop)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err := m.Detect(ctx, Inputs{App: t.TempDir()})
	if !errors.Is(err, stop) {
		t.Fatalf("error: %v", err)
	}
	waitUntilGone(t, mark)
}

// TestWhatDetectLeavesRunningIsKilled guards that a child in the background
// neither holds up the phase nor outlives it.
func TestWhatDetectLeavesRunningIsKilled(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "started")
	m := script(t, "bin/detect", "sleep 4242 & echo $! >'"+mark+"'; echo told; exit 100")
	d, err := m.Detect(context.Background(), Inputs{App: t.TempDir()})
	if err != nil || d.Status != Failed || string(d.Output) != "told\n" {
		t.Fatalf("got %+v, %v", d, err)
	}
	waitUntilGone(t, mark)
}

// patience is how long is waited for what happens in a moment on a machine that has
// nothing else to do.
const patience = time.Minute

// waitUntilGone waits until the process whose id a file holds is no more, or a
// zombie that nobody of us has to reap.
func waitUntilGone(t *testing.T, file string) {
	t.Helper()
	id, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(id)), "stat"))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %s is still there", strings.TrimSpace(string(id)))
}

// TestDetectStatus guards the meaning of exit statuses (buildpack.md,
// "Detection"): 0 passes, 100 fails, anything else is an error.
func TestDetectStatus(t *testing.T) {
	for body, want := range map[string]Status{
		"exit 0": Passed, "exit 100": Failed, "exit 1": Errored, "exit 99": Errored, "exit 101": Errored, "kill -9 $$": Errored,
	} {
		d, err := script(t, "bin/detect", body).Detect(context.Background(), Inputs{App: t.TempDir()})
		if err != nil || d.Status != want {
			t.Errorf("%s: got %v, %v, want %v", body, d.Status, err, want)
		}
	}
}

// TestHostilePlans guards that what a module wrote as its plan is not trusted:
// a fifo does not hang us, a link is not followed, and sizes have limits.
func TestHostilePlans(t *testing.T) {
	for name, body := range map[string]string{
		"fifo":      `rm "$2"; mkfifo "$2"`,
		"link":      `rm "$2"; ln -s /etc/passwd "$2"`,
		"directory": `rm "$2"; mkdir "$2"`,
		"huge":      `truncate -s 3G "$2"`,
		"binary":    `head -c 1000 /dev/urandom >"$2"`,
		"not TOML":  `echo "[[provides" >"$2"`,
		"type":      `echo "provides = 3" >"$2"`,
	} {
		d, err := script(t, "bin/detect", body).Detect(context.Background(), Inputs{App: t.TempDir()})
		if err != nil || d.Status != Errored || d.Err == nil {
			t.Errorf("%s: got %v, %v, %v", name, d.Status, d.Err, err)
		}
	}
}

// script is a buildpack whose only program is a shell script.
func script(t *testing.T, name, body string) *Module {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	// Another test may fork while the file is open for writing, and then it
	// cannot be executed; so nobody may fork now.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	api, err := platform.ParseBuildpackAPI("0.10", false)
	if err != nil {
		t.Fatal(err)
	}
	return &Module{Kind: Buildpack, ID: "some/id", Version: "1.0.0", API: api, Dir: dir}
}

// FuzzBuildPlan guards that no plan that a module writes can do harm: it is
// read or refused.
func FuzzBuildPlan(f *testing.F) {
	f.Add([]byte("[[provides]]\nname=\"a\"\n[[requires]]\nname=\"a\"\n[requires.metadata]\nversion=\"1\"\n[[or]]\n[[or.provides]]\nname=\"b\"\n"))
	f.Add([]byte("[[requires]]\nname=\"a\"\nversion=\"1\"\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "plan.toml")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		plan, err := readPlan(Extension, path)
		if err != nil {
			return
		}
		for _, a := range plan.Alternatives() {
			if len(a.Requires) > 0 {
				t.Errorf("an extension that requires is accepted: %q", data)
			}
		}
	})
}

// FuzzDescriptor guards both descriptors likewise.
func FuzzDescriptor(f *testing.F) {
	f.Add([]byte("api=\"0.10\"\n[buildpack]\nid=\"a\"\nversion=\"1\"\nclear-env=true\n[[targets]]\nos=\"linux\"\n[[targets.distros]]\nname=\"d\"\nversion=\"1\"\n"), false)
	f.Add([]byte("api=\"0.10\"\n[buildpack]\n[[order]]\n[[order.group]]\nid=\"a\"\nversion=\"1\"\nexec-env=[\"test\"]\n[[buildpack.exec-env]]\nname=\"test\"\n[[stacks]]\nid=\"*\"\n"), false)
	f.Add([]byte("api=\"0.9\"\n[extension]\nid=\"e\"\nversion=\"1\"\n"), true)
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, extension bool) {
		kind, name := Buildpack, "buildpack.toml"
		if extension {
			kind, name = Extension, "extension.toml"
		}
		dir := filepath.Join(root, "m", "1")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := Store{Buildpacks: root, Extensions: root}.Lookup(kind, "m", "1")
		if err != nil {
			if !strings.Contains(err.Error(), "m@1") {
				t.Errorf("the error does not name the module: %v", err)
			}
			return
		}
		m.Matches(platform.Target{OS: "linux", Arch: "amd64"})
		if extension && len(m.Order) > 0 {
			t.Errorf("an extension with an order is accepted: %q", data)
		}
	})
}
