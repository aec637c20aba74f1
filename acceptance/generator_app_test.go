package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// attempt is a way in which an extension may try to change the app, which holds
// file, dir/inner and link.
type attempt struct {
	name, script string
	// path is the name in the app that shows the change best.
	path string
}

var attempts = []attempt{
	{"create", `echo x >new`, "new"},
	{"create below", `echo x >dir/new`, "dir/new"},
	{"create by an absolute name", `echo x >"$PWD/new"`, "new"},
	{"make a directory", `mkdir new`, "new"},
	{"append", `echo x >>file`, "file"},
	{"truncate", `truncate -s 0 file`, "file"},
	{"delete", `rm -f file`, "file"},
	{"remove", `rm -rf dir`, "dir"},
	{"rename", `mv file renamed`, "file"},
	{"move out", `mv file "$T/file"`, "file"},
	{"move in", `echo x >"$T/x"; mv -f "$T/x" file`, "file"},
	{"link within", `ln file zlinked`, "file"},
	{"link in", `echo x >"$T/x"; ln "$T/x" linked`, "linked"},
	{"link out", `ln file "$T/file" && echo x >>"$T/file"`, "file"},
	{"symlink", `ln -s file linked`, "linked"},
	{"fifo", `mkfifo new`, "new"},
	{"through an open directory", `exec 9<dir; cd /; echo x >/proc/self/fd/9/inner`, "dir/inner"},
	{"through an open file", `exec 9<file; echo x >/proc/self/fd/9`, "file"},
	{"through a link", `ln -s "$PWD" "$T/app"; echo x >"$T/app/file"`, "file"},
	{"through the working directory", `cd dir; echo x >/proc/self/cwd/inner`, "dir/inner"},
	{"through the root directory", `echo x >"/proc/self/root$PWD/file"`, "file"},
	{"through a directory that was left open", `for dir in /proc/self/fd/*; do [ ! -e "$dir/file" ] || echo x >>"$dir/file" || exit; done; echo x >>file`, "file"},
	{"by a child", `setsid --wait sh -c 'echo x >dir/new'`, "dir/new"},
}

// metadata are changes that Landlock does not know. Bug: where Landlock works they were
// possible even if a read-only mount was, too.
var metadata = []attempt{
	{"overwrite and set back the time", `touch -r file "$T/time"; printf 'CONTENT\n' >file && touch -r "$T/time" file`, "file"},
	{"mode", `chmod 600 file`, "file"},
	{"mode of a directory", `chmod 700 dir`, "dir"},
	{"time", `touch -d 2001-01-01 file`, "file"},
	{"extended attribute", fmt.Sprintf(
		`perl -e 'my ($f, $n, $v) = ("file", "user.graft", "1"); syscall(%d, $f, $n, $v, 1, 0) == 0 or die $!'`, unix.SYS_SETXATTR), "file"},
}

// aroundTheMount are ways to what lies below a mount. Where only comparison is left there
// is nothing to go around.
var aroundTheMount = []attempt{
	{"through the root directory of the parent", `echo x >"/proc/$PPID/root$PWD/file"`, "file"},
	{"by taking the mount away", `umount "$PWD"; umount -l "$PWD"; mount -o remount,bind,rw "$PWD"; cd "$PWD" && echo x >file`, "file"},
	{"by taking the mount away in a user namespace", `unshare --user --map-root-user --mount sh -c 'umount "$PWD"; umount -l "$PWD"; mount -o remount,bind,rw "$PWD"; cd "$PWD" && echo x >file'`, "file"},
}

// outlive are children that would change the app once bin/generate is gone, which it is
// when they have begun. The mark is in their arguments, and of no other process.
func outlive(mark string) string {
	return strings.ReplaceAll(`BEGUN=$CNB_OUTPUT_DIR; n=0
(setsid sh -c ': >"$0/one"; sleep 0.3; echo x >>file; : MARK' "$BEGUN" >/dev/null 2>&1 &)
(trap "" HUP TERM; setsid setsid sh -c 'exec >/dev/null 2>&1; : >"$0/two"; sleep 0.3; echo x >late; : MARK' "$BEGUN" &)
while [ ! -e "$BEGUN/one" ] || [ ! -e "$BEGUN/two" ]; do n=$((n+1)); [ $n -lt 6000 ] || exit 99; sleep 0.01; done
`, "MARK", mark)
}

// afterAll waits until no child of outlive is left.
func afterAll(t *testing.T, mark string) {
	t.Helper()
	nothingLeft(t, "children", func() []string { return processesWith(t, mark) })
}

// eachStart runs a test for both programs that generate, started as root and as
// an ordinary user.
func eachStart(t *testing.T, way protection, test func(t *testing.T, program string, asRoot bool)) {
	for _, program := range []string{"generator", "detector"} {
		for _, asRoot := range []bool{true, false} {
			name := program + " as ordinary user"
			if asRoot {
				name = program + " as root"
			}
			t.Run(way.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				test(t, program, asRoot)
			})
		}
	}
}

// bystander is a process of the build user that sees no mount of anybody.
func bystander(t *testing.T) (pid int) {
	t.Helper()
	c := exec.Command("sleep", "1000")
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: buildUID, Gid: buildUID}, Pdeathsig: syscall.SIGKILL}
	check(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c.Process.Pid
}

// An extension that tries to change the app changes nothing, and is none the
// worse for it, where the kernel protects the app (image_extension.md,
// "Generation": bin/generate MUST NOT write to the app directory).
func TestAppCannotBeChanged(t *testing.T) {
	for _, way := range protections {
		if way.found {
			continue
		}
		eachStart(t, way, func(t *testing.T, program string, asRoot bool) {
			needProgram(t, "perl", "perl-base")
			tries := append(slices.Clone(attempts), aroundTheMount...)
			tries = append(tries, attempt{"through another process of the user", fmt.Sprintf(`echo x >"/proc/%d/root$PWD/file"`, bystander(t)), "file"})
			if way.metadata {
				tries = append(tries, metadata...)
			}
			var script strings.Builder
			for _, a := range tries {
				fmt.Fprintf(&script, "T=$(mktemp -d)\n( %s ) 2>/dev/null && echo 'done: %s'\n", a.script, a.name)
			}
			mark := uniqueSeconds()
			g := newGeneration(t, way, asRoot, script.String()+outlive(mark))
			before := inodes(t, g.app)
			o := g.run(program)
			requireCode(t, o, 0)
			afterAll(t, mark)
			if after := inodes(t, g.app); !slices.Equal(before, after) {
				t.Errorf("the app has changed from\n%s\nto\n%s\n%v", strings.Join(before, "\n"), strings.Join(after, "\n"), o)
			}
			if strings.Contains(o.stdout, "done: ") {
				t.Errorf("the extension was told that a change was made: %v", o)
			}
			if _, err := os.Stat(g.generated("build.Dockerfile")); err != nil {
				t.Error(err)
			}
		})
	}
}

// Where the kernel cannot protect the app, a change of it fails the phase with
// the name of the extension and of what it changed.
func TestChangeOfAppIsFound(t *testing.T) {
	way := protections[len(protections)-1]
	needProgram(t, "perl", "perl-base")
	for _, a := range append(slices.Clone(attempts), metadata...) {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			findChange(t, way, "generator", true, a)
		})
	}
	eachStart(t, way, func(t *testing.T, program string, asRoot bool) {
		findChange(t, way, program, asRoot, attempts[0])
	})
}

func findChange(t *testing.T, way protection, program string, asRoot bool, a attempt) {
	g := newGeneration(t, way, asRoot, "set -e; T=$(mktemp -d)\n"+a.script)
	before := inodes(t, g.app)
	o := g.run(program)
	if slices.Equal(before, inodes(t, g.app)) {
		t.Fatalf("nothing changed: the attempt is none: %v", o)
	}
	requireCode(t, o, 91, `extension evil@1: .*changed the app.*: `+regexp.QuoteMeta(a.path)+` was `)
	if _, err := os.Stat(g.generated("")); err == nil {
		t.Error("something was generated")
	}
}

// Comparison has nothing to say about an extension that leaves the app alone,
// and what outlives bin/generate cannot change the app any more.
func TestUnchangedAppIsAccepted(t *testing.T) {
	eachStart(t, protections[len(protections)-1], func(t *testing.T, program string, asRoot bool) {
		mark := uniqueSeconds()
		g := newGeneration(t, protections[len(protections)-1], asRoot, "cat file dir/inner; ls -laR; touch -c nothing\n"+outlive(mark))
		before := inodes(t, g.app)
		requireCode(t, g.run(program), 0)
		afterAll(t, mark)
		if after := inodes(t, g.app); !slices.Equal(before, after) {
			t.Errorf("the app has changed from\n%s\nto\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	})
}

// No way to protect the app keeps a directory above it in its place, so that is
// looked at afterwards.
func TestAppThatIsMovedAwayIsFound(t *testing.T) {
	for _, way := range protections {
		if way.name == "Landlock" {
			continue // which refuses it
		}
		way.below = "/tmp"
		t.Run(way.name, func(t *testing.T) {
			g := newGeneration(t, way, true, `mv "$(dirname "$PWD")" "$(dirname "$PWD").moved"`)
			above := filepath.Dir(g.app)
			t.Cleanup(func() { check(t, os.RemoveAll(above+".moved")) })
			check(t, os.Lchown(above, buildUID, buildUID)) // /tmp is sticky
			requireCode(t, g.run("generator"), 91, `extension evil@1: .*changed the app`)
		})
	}
}

// The output lies below TMPDIR: if that is in the app, which is read-only, there
// is no place for it.
func TestOutputInApp(t *testing.T) {
	g := newGeneration(t, protections[0], true, "")
	g.detect("generator")
	c := g.command("generator")
	c.Env = append(c.Env, "TMPDIR="+filepath.Join(g.app, "dir"))
	requireCode(t, finish(t, c), 91, `extension evil@1: .*lies in the app.*TMPDIR`)
}
