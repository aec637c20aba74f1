package buildmodule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graft-cnb/graft/platform"
)

func TestMain(m *testing.M) {
	Init()
	os.Exit(m.Run())
}

// attempts are the ways in which a program may try to change the app, by what
// the shell is told. The app holds file, dir/inner and link.
var attempts = map[string]string{
	"create":           "echo x >new",
	"create below":     "echo x >dir/new",
	"make a directory": "mkdir new",
	"write":            "echo x >>file",
	"truncate":         "truncate -s 0 file",
	"delete":           "rm -f file",
	"remove":           "rm -rf dir",
	"rename":           "mv file renamed",
	"move out":         `mv file "$CNB_OUTPUT_DIR/file"`,
	"move in":          `echo x >"$CNB_OUTPUT_DIR/x"; mv "$CNB_OUTPUT_DIR/x" file`,
	"link in":          "ln file linked",
	"link out":         `ln file "$CNB_OUTPUT_DIR/file" && echo x >>"$CNB_OUTPUT_DIR/file"`,
	"symlink":          "ln -s file linked",
	"fifo":             "mkfifo new",
	"open directory":   `exec 9<dir; cd /; echo x >/proc/self/fd/9/inner`,
	"through a link":   `ln -s "$PWD" "$CNB_OUTPUT_DIR/app"; echo x >"$CNB_OUTPUT_DIR/app/file"`,
	"a child that outlives": `(setsid sh -c ': >"$HOME/begun"; sleep 0.3; echo x >>file; : ` + outlives + `' >/dev/null 2>&1 &)
while [ ! -e "$HOME/begun" ]; do sleep 0.01; done`,
}

// outlives is in the arguments of a child that outlives its parent, and of nothing else
// but who started it.
var outlives = fmt.Sprintf("outlives-%d-%d", os.Getpid(), time.Now().UnixNano())

// protections are those that can be tried here, the best first.
func protections() []Protection {
	all := []Protection{ByBind, ByUserBind, ByLandlock, ByCompare}
	if os.Geteuid() != 0 {
		return all[1:]
	}
	return all
}

func without(p Protection) []Protection {
	return slices.DeleteFunc(protections(), func(other Protection) bool { return other == p })
}

// beyondLandlock are changes that only the other protections know of.
var beyondLandlock = map[string]string{
	"mode": "chmod 600 file",
	"time": "touch -d 2001-01-01 file",
}

// TestAppIsReadOnly guards that bin/generate cannot change the app, by whichever
// protection (image_extension.md, "Generation": it MUST NOT write to the app
// directory): under Landlock and a read-only bind the app stays as it was, and
// where it can only be compared the extension fails with the path.
func TestAppIsReadOnly(t *testing.T) {
	for _, protection := range protections() {
		t.Run(string(protection), func(t *testing.T) {
			for name, body := range attempts {
				t.Run(name, func(t *testing.T) { attempt(t, protection, body) })
			}
			if protection == ByLandlock {
				return
			}
			for name, body := range beyondLandlock {
				t.Run(name, func(t *testing.T) { attempt(t, protection, body) })
			}
		})
	}
}

// attempt runs a script under a protection and judges what became of the app.
func attempt(t *testing.T, protection Protection, body string) {
	scene := newAppScene(t)
	before, err := stateOf(scene.app)
	if err != nil {
		t.Fatal(err)
	}
	code, err := scene.run(t, protection, body)
	outliving := strings.Contains(body, outlives)
	if outliving {
		waitUntilNoneHas(t, outlives)
	}
	after, stateErr := stateOf(scene.app)
	if stateErr != nil {
		t.Fatal(stateErr)
	}
	changed := difference(scene.app, before, after)
	if protection != ByCompare {
		if err != nil {
			t.Fatalf("ended with %d, %v", code, err)
		}
		if changed != nil {
			t.Errorf("%v\n%s", changed, scene.out.String())
		}
		return
	}
	var found *AppChangedError
	if changed != nil && !errors.As(err, &found) {
		t.Errorf("%v, and that was not found: %v", changed, err)
	}
	if changed == nil && !outliving {
		t.Errorf("nothing changed: the attempt is none")
	}
}

// waitUntilNoneHas waits until no process has a word in its arguments.
func waitUntilNoneHas(t *testing.T, word string) {
	t.Helper()
	left := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		all, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		left = ""
		for _, file := range all {
			if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(word)) {
				left = string(line)
			}
		}
		if left == "" {
			return
		}
	}
	t.Fatalf("still running: %q", left)
}

// TestBestProtectionIsUsed guards against a bug: where Landlock works no read-only mount
// was made, although one was allowed, and modes, times and extended attributes of the app
// could be changed.
func TestBestProtectionIsUsed(t *testing.T) {
	for _, best := range without(ByCompare) {
		if best == ByLandlock {
			break
		}
		scene := newAppScene(t)
		c := scene.prepared(t, best)
		var said bytes.Buffer
		c.only, c.say = "", func(format string, args ...any) { fmt.Fprintf(&said, format+"\n", args...) }
		c.args = []string{"-c", "! chmod 600 file && ! touch -d 2001-01-01 file"}
		if code, err := c.run(context.Background()); err != nil || code != 0 {
			t.Errorf("%s: ended with %d, %v: the app was changed", best, code, err)
		}
		if !strings.HasSuffix(said.String(), "the app is protected by "+string(best)+"\n") {
			t.Errorf("%s is not used: %s", best, said.String())
		}
	}
}

// TestNewReadOnlyAppLeavesTheRestAlone guards that only programs that are started in it
// see the read-only mount, and that it ends.
func TestNewReadOnlyAppLeavesTheRestAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		if _, err := NewReadOnlyApp(t.TempDir()); err == nil {
			t.Error("an ordinary user made one")
		}
		return
	}
	scene := newAppScene(t)
	c := scene.prepared(t, ByBind)
	if err := os.WriteFile(filepath.Join(scene.app, "file"), []byte("changed\n"), 0o644); err != nil {
		t.Errorf("the app is read-only for this process: %v", err)
	}
	c.args = []string{"-c", "grep -q changed file && ! touch file"}
	if code, err := c.run(context.Background()); err != nil || code != 0 {
		t.Errorf("ended with %d, %v\n%s", code, err, scene.out.String())
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), scene.app) {
		t.Errorf("this process sees the mount: %v", err)
	}
	for _, app := range []string{"/", filepath.Join(scene.app, "none")} {
		if _, err := NewReadOnlyApp(app); err == nil {
			t.Errorf("%s was made read-only", app)
		}
	}
}

// TestTheRestStaysWritable guards that protection of the app takes nothing else
// away: output, temporary directories and HOME are writable, and everything is
// readable.
func TestTheRestStaysWritable(t *testing.T) {
	body := `set -e
echo x >"$CNB_OUTPUT_DIR/build.Dockerfile"
mkdir "$CNB_OUTPUT_DIR/context"; echo x >"$CNB_OUTPUT_DIR/context/f"; mv "$CNB_OUTPUT_DIR/context/f" "$CNB_OUTPUT_DIR/moved"
echo x >"$HOME/f"; ln "$HOME/f" "$HOME/g"; rm "$HOME/f"
t=$(mktemp); echo x >"$t"; rm "$t"
echo x >/dev/null
cat /etc/passwd file dir/inner >/dev/null
test "$(pwd -P)" = "` + "$APP" + `"
test "$(id -u)" = ` + strconv.Itoa(os.Geteuid()) + `
`
	for _, protection := range protections() {
		scene := newAppScene(t)
		if code, err := scene.run(t, protection, body); err != nil || code != 0 {
			t.Errorf("%s: ended with %d, %v\n%s", protection, code, err, scene.out.String())
		}
	}
}

// TestExitCodeAndMissingProgram guards that wrapping a program hides neither its
// exit code nor that it cannot be run.
func TestExitCodeAndMissingProgram(t *testing.T) {
	for _, protection := range protections() {
		scene := newAppScene(t)
		if code, err := scene.run(t, protection, "exit 17"); err != nil || code != 17 {
			t.Errorf("%s: got %d, %v, want 17", protection, code, err)
		}
		c := scene.prepared(t, protection)
		c.path = "/does/not/exist"
		if _, err := c.run(context.Background()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v for a program that is not there", protection, err)
		}
	}
}

// TestAppBelowTemporaryDirectory guards that Landlock gives way where the app
// lies in a directory that must stay writable.
func TestAppBelowTemporaryDirectory(t *testing.T) {
	scene := newAppScene(t)
	c := scene.confined(ByLandlock)
	c.writable = append(c.writable, filepath.Dir(scene.app))
	var said bytes.Buffer
	c.say = func(format string, args ...any) { fmt.Fprintf(&said, format+"\n", args...) }
	if code, err := c.run(context.Background()); err == nil {
		t.Fatalf("ended with %d, and should not have run", code)
	}
	if !strings.Contains(said.String(), "must stay writable") || strings.Contains(said.String(), "is protected by Landlock") {
		t.Errorf("said: %s", said.String())
	}
}

// TestAppMovedAway guards that an app whose parent directory was renamed counts
// as changed, also where the app itself cannot be written to.
func TestAppMovedAway(t *testing.T) {
	for _, protection := range without(ByLandlock) {
		scene := newAppScene(t)
		parent := filepath.Join(scene.home, "parent")
		if err := os.Mkdir(parent, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(scene.app, filepath.Join(parent, "app")); err != nil {
			t.Fatal(err)
		}
		scene.app = filepath.Join(parent, "app")
		_, err := scene.run(t, protection, `mv "$HOME/parent" "$HOME/elsewhere"`)
		var changed *AppChangedError
		if !errors.As(err, &changed) {
			t.Errorf("%s: got %v for an app that was moved away", protection, err)
		}
	}
}

// TestAppWithOddName guards that protection does not depend on how the app is
// called: a name is bytes and not text.
func TestAppWithOddName(t *testing.T) {
	for _, protection := range without(ByCompare) {
		scene := newAppScene(t)
		odd := filepath.Join(filepath.Dir(scene.app), "odd \xff\n\"name")
		if err := os.Rename(scene.app, odd); err != nil {
			t.Fatal(err)
		}
		scene.app = odd
		if code, err := scene.run(t, protection, "! echo x >>file || exit 9"); err != nil || code != 0 {
			t.Errorf("%s: ended with %d, %v\n%s", protection, code, err, scene.out.String())
		}
	}
}

// TestHangingGenerateDies guards that what bin/generate started dies with it,
// also what left its process group.
func TestHangingGenerateDies(t *testing.T) {
	for _, protection := range protections() {
		scene := newAppScene(t)
		mark := filepath.Join(scene.output, "pid")
		if code, err := scene.run(t, protection, `setsid sleep 4242 >/dev/null 2>&1 & sleep 0.05; pidof -s sleep >/dev/null; echo $! >"$CNB_OUTPUT_DIR/pid"`); err != nil || code != 0 {
			t.Fatalf("%s: ended with %d, %v", protection, code, err)
		}
		waitUntilGone(t, mark)
	}
}

// appScene is an app, an output and a home beside each other.
type appScene struct {
	app, output, home string
	out               bytes.Buffer
}

func newAppScene(t *testing.T) *appScene {
	t.Helper()
	root := t.TempDir()
	s := &appScene{app: filepath.Join(root, "app"), output: filepath.Join(root, "output"), home: filepath.Join(root, "home")}
	for _, dir := range []string{s.app, filepath.Join(s.app, "dir"), s.output, s.home} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"file", "dir/inner"} {
		if err := os.WriteFile(filepath.Join(s.app, file), []byte("content\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("file", filepath.Join(s.app, "link")); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *appScene) confined(only Protection) confined {
	return confined{
		process: process{
			path: "/bin/sh", args: []string{"-c", "true"}, dir: s.app, out: &s.out, err: &s.out, alone: true,
			env: platform.EnvList(map[string]string{
				"PATH": os.Getenv("PATH"), "HOME": s.home, "CNB_OUTPUT_DIR": s.output, "APP": s.app, "TMPDIR": s.home,
			}),
		},
		app: s.app, writable: []string{s.output, s.home}, only: only, say: func(string, ...any) {},
	}
}

// prepared is a program under a protection; ByBind needs root.
func (s *appScene) prepared(t *testing.T, only Protection) confined {
	t.Helper()
	c := s.confined(only)
	if only == ByBind {
		readOnly, err := NewReadOnlyApp(s.app)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(readOnly.Close)
		c.readOnly = readOnly
	}
	return c
}

func (s *appScene) run(t *testing.T, only Protection, body string) (int, error) {
	c := s.prepared(t, only)
	c.args = []string{"-c", body + "\ntrue"}
	if strings.Contains(body, "set -e") || strings.Contains(body, "exit") {
		c.args[1] = body
	}
	return c.run(context.Background())
}

// TestComparisonFollowsNoLink guards that looking at the app never leaves it.
func TestComparisonFollowsNoLink(t *testing.T) {
	scene := newAppScene(t)
	if err := os.Symlink("/proc", filepath.Join(scene.app, "out")); err != nil {
		t.Fatal(err)
	}
	states, err := stateOf(scene.app)
	if err != nil {
		t.Fatal(err)
	}
	for path, state := range states {
		if strings.HasPrefix(path, filepath.Join(scene.app, "out")+"/") {
			t.Errorf("%s was looked at", path)
		}
		if path == filepath.Join(scene.app, "out") && (state.link != "/proc" || state.mode&syscall.S_IFMT != syscall.S_IFLNK) {
			t.Errorf("the link is %+v", state)
		}
	}
}
