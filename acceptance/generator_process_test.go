package acceptance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// lookAround writes what a process is and has to files in the build context.
const lookAround = `set -e
state="$CNB_OUTPUT_DIR/context"
mkdir "$state"
open=$(ls /proc/self/fd)
{
	printf 'program: %s\n' "$0"
	printf 'argument: %s\n' "$@"
	echo "user: $(id -u) $(id -ru) $(id -g) $(id -rg)"
	echo "directory: $(pwd) $(pwd -P) $(readlink /proc/self/cwd)"
	echo "root: $(readlink /proc/self/root)"
	echo "stdin: $(readlink /proc/self/fd/0)"
	echo "open files:" $open
	echo "umask: $(umask)"
	echo "nice: $(nice)"
	echo "oom: $(cat /proc/self/oom_score_adj)"
	grep -E '^(Sig(Blk|Ign)|Cap(Inh|Prm|Eff|Amb)|Threads|Seccomp):' /proc/self/status
	tr '\0' '\n' </proc/$$/cmdline
	sed 's/^/limit: /' /proc/self/limits
	env | sort | sed 's/^/env: /'
} >"$state/state"
`

// A process whose app is protected is otherwise what it would be: arguments,
// environment, user, directories, files, signals, limits (image_extension.md,
// "Generation").
func TestProtectionLeavesTheProcessAlone(t *testing.T) {
	for _, asRoot := range []bool{true, false} {
		states := map[string]string{}
		for _, way := range protections {
			g := newGeneration(t, way, asRoot, lookAround)
			requireCode(t, g.run("generator"), 0)
			states[way.name] = g.state(t)
		}
		free := states["compare"]
		for name, state := range states {
			if state != free {
				t.Errorf("under %s a process is\n%s\nand without that\n%s", name, state, free)
			}
		}
		for _, line := range []string{
			"user: 12345 12345 12345 12345", "directory: APP APP APP", "root: /", "stdin: /dev/null",
			"open files: 0 1 2 3", "env: CNB_OUTPUT_DIR=OUTPUT", "argument: OUTPUT", "CapEff:\t0000000000000000",
			"program: DIR/extensions/evil/1/bin/generate", ownStatus(t, "SigIgn"), "SigBlk:\t0000000000000000",
		} {
			if !strings.Contains("\n"+free, "\n"+line+"\n") {
				t.Errorf("no line says %q:\n%s", line, free)
			}
		}
	}
}

// state is what lookAround found, with names for directories that differ from
// run to run.
func (g *generation) state(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(g.generated("context/state"))
	check(t, err)
	state := strings.NewReplacer(g.app, "APP", g.path("tmp"), "TMP", g.dir, "DIR").Replace(string(data))
	state = regexp.MustCompile(`TMP/graft-output-\d+/0`).ReplaceAllString(state, "OUTPUT")
	return regexp.MustCompile(`TMP/graft-generate-\d+/`).ReplaceAllString(state, "PLAN/")
}

// work is what extensions do that has nothing to do with the app.
const work = `set -e
cat file dir/inner >"$CNB_OUTPUT_DIR/copy"
mkdir "$CNB_OUTPUT_DIR/one" "$CNB_OUTPUT_DIR/two"
echo x >"$CNB_OUTPUT_DIR/one/file"
perl -e 'rename("$ARGV[0]/one/file", "$ARGV[0]/two/moved") or die "rename: $!"' "$CNB_OUTPUT_DIR"
perl -e 'link("$ARGV[0]/two/moved", "$ARGV[0]/one/linked") or die "link: $!"' "$CNB_OUTPUT_DIR"
perl -e 'rename("$ARGV[0]/one", "$ARGV[0]/two/dir") or die "rename a directory: $!"' "$CNB_OUTPUT_DIR"
for dir in "$(mktemp -d)" "$(mktemp -d -p /var/tmp)" "$(mktemp -d -p TMPDIR)"; do
	echo x >"$dir/file"
	truncate -s 0 "$dir/file"
	chmod 755 "$dir/file"
	mkfifo "$dir/fifo"
	ln -s file "$dir/link"
	perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) && bind(S, pack_sockaddr_un("$ARGV[0]/socket")) && listen(S, 1) or die "socket: $!"' "$dir"
	mv "$dir/file" "$dir/moved"
	rm -r "$dir"
done
if [ -w "$HOME" ]; then
	mkdir -p "$HOME/.cache/tool"
	echo x >"$HOME/.cache/tool/file"
	rm -r "$HOME/.cache"
fi
echo x >/dev/null
echo x >/dev/shm/graft-$$
rm /dev/shm/graft-$$
: </dev/zero
sleep 0 &
wait
(exec 3<>/dev/tty) 2>/dev/null || true
sh -c 'kill -0 $PPID'
ls -lR /etc >/dev/null 2>&1 || true
cat /etc/passwd /proc/mounts /proc/self/maps >/dev/null
dpkg -l >"$CNB_OUTPUT_DIR/packages"
dpkg-query --show --showformat '${Status}\n' dpkg
apt-cache policy dpkg >"$CNB_OUTPUT_DIR/policy"
grep -q '^dpkg:' "$CNB_OUTPUT_DIR/policy"
echo 'to stdout'
echo 'to stderr' >&2
`

// Protection of the app takes nothing else away: an extension can write to the
// output, to temporary directories and to HOME, can move, link, and make sockets
// there, sees the whole system, and asks the package manager.
func TestExtensionsCanWork(t *testing.T) {
	for _, program := range []string{"dpkg", "apt-cache", "perl"} {
		needProgram(t, program, program)
	}
	for _, way := range protections {
		for _, asRoot := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/as root %v", way.name, asRoot), func(t *testing.T) {
				t.Parallel()
				g := newGeneration(t, way, asRoot, "")
				script := strings.ReplaceAll(work, "TMPDIR", g.path("tmp"))
				g.write("extensions/evil/1/bin/generate", "#!/bin/sh\n"+script+writeDockerfile)
				o := g.run("generator")
				requireCode(t, o, 0, `^\[evil\] to stderr$`)
				if !strings.Contains(o.stdout, "[evil] to stdout\n") || !strings.Contains(o.stdout, "[evil] install ok installed\n") {
					t.Errorf("lines of the extension are missing: %v", o)
				}
			})
		}
	}
}

// A build user's further groups still open what they open.
func TestGroupsOfTheUserCount(t *testing.T) {
	for _, way := range protections {
		g := newGeneration(t, way, false, "")
		file := g.path("for-the-group")
		check(t, os.WriteFile(file, nil, 0o640))
		check(t, os.Chown(file, 0, otherGID))
		g.write("extensions/evil/1/bin/generate", "#!/bin/sh\nset -e\ncat "+file+"\n"+writeDockerfile)
		requireCode(t, g.run("generator"), 0)
		g.asRoot = true
		requireCode(t, g.run("generator"), 91, "Permission denied")
	}
}

// However the app is protected, the error says how bin/generate ended, or why it
// could not begin.
func TestGenerateFails(t *testing.T) {
	for _, way := range protections {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			g := newGeneration(t, way, true, "")
			program := g.path("extensions/evil/1/bin/generate")
			for content, says := range map[string]string{
				"#!/bin/sh\nexit 17\n":             `exit status 17`,
				"#!/bin/sh\nexit 125\n":            `exit status 125`,
				"#!/bin/sh\nkill -KILL $$":         `killed`,
				"#!/bin/sh\nkill -TERM $$":         `terminated`,
				"#!/does/not/exist\n":              `bin/generate`,
				"no program\x00":                   `exec format error`,
				"#!/bin/sh\necho '%s' >&2; exit 1": `exit status 1`,
			} {
				writeProgram(t, program, content)
				g.detect("generator")
				requireCode(t, finish(t, g.command("generator")), 91, `extension evil@1: .*`+says)
			}
			check(t, os.Chmod(program, 0o644))
			requireCode(t, finish(t, g.command("generator")), 91, `extension evil@1: .*bin/generate.*(permission|execut)`)
		})
	}
}

// hang starts a process in another session and then does nothing. DIR is where
// it says that it has begun.
const hang = `trap '' INT TERM HUP
setsid sh -c 'trap "" INT TERM HUP; echo $$ >DIR/left; exec sleep 600' &
while [ ! -s DIR/left ]; do sleep 0.01; done
sh -c 'echo $PPID >DIR/self'
exec sleep 600
`

// A bin/generate that hangs dies with the program that runs it, and what it has
// started dies too, also in another session. A program that is killed has no time
// for that, but bin/generate itself dies even then.
func TestHangingGenerateDies(t *testing.T) {
	for _, way := range protections {
		for _, program := range []string{"generator", "detector"} {
			for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGKILL: -1} {
				t.Run(fmt.Sprintf("%s/%s/%s", way.name, program, signal), func(t *testing.T) {
					t.Parallel()
					hangAndDie(t, way, program, signal, code)
				})
			}
		}
	}
}

func hangAndDie(t *testing.T, way protection, program string, signal syscall.Signal, code int) {
	g := newGeneration(t, way, signal == syscall.SIGTERM, "")
	pids := g.path("pids")
	check(t, os.Mkdir(pids, 0o777))
	check(t, os.Chmod(pids, 0o777))
	g.write("extensions/evil/1/bin/generate", "#!/bin/sh\n"+strings.ReplaceAll(hang, "DIR", pids))
	g.detect(program)
	c := g.command(program)
	outcomeOf := start(t, c)
	self, left := 0, 0
	eventually(t, "bin/generate hangs", func() bool {
		self, left = readPID(filepath.Join(pids, "self")), readPID(filepath.Join(pids, "left"))
		return self > 0 && left > 0
	})
	check(t, c.Process.Signal(signal))
	if o := outcomeOf(patience); o.code != code {
		t.Errorf("want exit code %d, got %v", code, o)
	}
	eventually(t, "bin/generate dies", func() bool { return hasEnded(self) })
	if signal == syscall.SIGKILL {
		check(t, syscall.Kill(left, syscall.SIGKILL))
		return
	}
	if !hasEnded(left) {
		t.Error("what bin/generate has started is still there")
		_ = syscall.Kill(left, syscall.SIGKILL)
	}
	if files, err := os.ReadDir(g.path("tmp")); err != nil || len(files) > 0 {
		t.Errorf("temporary files are left: %v, %v", files, err)
	}
	if _, err := os.Stat(g.path("layers/generated")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was generated: %v", err)
	}
}

// readPID reads the number of a process; 0 as long as there is none.
func readPID(file string) int {
	data, _ := os.ReadFile(file)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid
}

// hasEnded tells whether a process does nothing any more.
func hasEnded(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z")
}

// ownStatus is a line of this process's status, as children inherit it.
func ownStatus(t *testing.T, name string) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, name+":") {
			return strings.TrimRight(line, "\n")
		}
	}
	t.Fatalf("this process has no %s", name)
	return ""
}
