//go:build linux && cgo && seccomp

package ociruntime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The command line is the part of runc's that BuildKit's executor uses, with the options
// where go-runc puts them.
func TestParse(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	for line, want := range map[string]command{
		"--log /x/log.json --log-format json run --bundle /x/b --keep id": {
			root: "/run/user/7/graft-containers", logFile: "/x/log.json", logFormat: "json", name: "run", id: "id", bundle: "/x/b", keep: true},
		"--root /r exec --process /x/p --pid-file /x/pid id": {
			root: "/r", logFormat: "text", name: "exec", id: "id", process: "/x/p", pidFile: "/x/pid"},
		"--root /r kill id 9":           {root: "/r", logFormat: "text", name: "kill", id: "id", signal: unix.SIGKILL},
		"--root /r delete --force id":   {root: "/r", logFormat: "text", name: "delete", id: "id", force: true},
		"--root /r --debug state other": {root: "/r", logFormat: "text", name: "state", id: "other", debug: true},
	} {
		got, err := parse(strings.Fields(line))
		if err != nil || got != want {
			t.Errorf("%s:\n%+v (%v), wanted\n%+v", line, got, err, want)
		}
	}
}

// An option that is not understood is a promise that would not be kept.
func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"":                         "a command is missing",
		"--systemd-cgroup run id":  "systemd-cgroup",
		"run --detach id":          "detach",
		"run --console-socket x y": "console-socket",
		"checkpoint id":            `no command "checkpoint"`,
		"run":                      "takes 1 arguments",
		"kill id":                  "takes 2 arguments",
		"kill id TERM":             "given by its number",
	} {
		if _, err := parse(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, wanted %q", line, err, want)
		}
	}
}

// What a process is to have and cannot have is refused before it starts.
func TestNewProcess(t *testing.T) {
	described := func(change func(*specs.Process)) *specs.Process {
		p := &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"}
		change(p)
		return p
	}
	limits := func(name string) *specs.Process {
		return described(func(p *specs.Process) {
			p.Rlimits = []specs.POSIXRlimit{{Type: name, Hard: 64, Soft: 32}}
		})
	}
	for want, p := range map[string]*specs.Process{
		"no command":     nil,
		"not absolute":   described(func(p *specs.Process) { p.Cwd = "work" }),
		"no terminals":   described(func(p *specs.Process) { p.Terminal = true }),
		"RLIMIT_UNKNOWN": limits("RLIMIT_UNKNOWN"),
	} {
		if _, err := newProcess(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, wanted %q", p, err, want)
		}
	}
	p, err := newProcess(limits("RLIMIT_NOFILE"))
	if err != nil {
		t.Fatal(err)
	}
	if l := p.Rlimits; len(l) != 1 || l[0].Type != unix.RLIMIT_NOFILE || l[0].Hard != 64 || l[0].Soft != 32 {
		t.Errorf("the limits are %+v", l)
	}
}

// The command is this program, under the runtime's name.
func TestLink(t *testing.T) {
	dir := t.TempDir()
	command, err := Link(dir)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(command) != Name {
		t.Errorf("the command is %s", command)
	}
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	linked, err := os.Stat(command)
	if err != nil || !os.SameFile(own, linked) {
		t.Errorf("%s is not this program (%v)", command, err)
	}
	if _, err := Link(dir); err == nil {
		t.Error("a second link replaced the first")
	}
}
