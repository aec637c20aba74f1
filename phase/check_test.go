package phase

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/platform"
)

const goodDockerfile = "ARG base_image\nFROM ${base_image}\n"

// checked is what a check gave: its findings as "extension file:line rule", what
// it said, and its exit code.
type checked struct {
	findings []string
	out, err string
	code     platform.Code
}

// runCheck runs a check with the report that a user would read.
func runCheck(t *testing.T, c Checker) checked {
	t.Helper()
	var out, errOut bytes.Buffer
	c.Log = &platform.Log{Out: &out, Err: &errOut, Level: platform.LevelInfo}
	c.Report = filepath.Join(t.TempDir(), "report.json")
	err := c.Run(context.Background())
	got := checked{out: out.String(), err: errOut.String(), code: platform.ExitCode(context.Background(), err)}
	data, readErr := os.ReadFile(c.Report)
	if readErr != nil {
		if err == nil {
			t.Fatal(readErr)
		}
		got.err += err.Error()
		return got
	}
	var report struct {
		Result   string
		Findings []dockerfile.Finding
	}
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	if (report.Result == "pass") != (err == nil) || report.Findings == nil {
		t.Errorf("the report says %s, the check %v:\n%s", report.Result, err, data)
	}
	for _, f := range report.Findings {
		got.findings = append(got.findings, fmt.Sprintf("%s %s:%d %s", f.Extension, f.File, f.Line, f.Rule))
		if !strings.Contains(got.err, f.Message) || !strings.Contains(got.err, f.Suggestion) || !strings.Contains(got.err, f.Source) {
			t.Errorf("stderr does not tell of %+v:\n%s", f, got.err)
		}
	}
	return got
}

func newLayout(t *testing.T, version string) platform.GeneratedLayout {
	t.Helper()
	api, err := platform.ParseAPI(version, 10)
	if err != nil {
		t.Fatal(err)
	}
	return api.Generated()
}

// write makes files below a directory; a name that ends in a slash is a
// directory.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func wantFindings(t *testing.T, got checked, code platform.Code, want ...string) {
	t.Helper()
	if got.code != code || !slices.Equal(got.findings, want) {
		t.Errorf("got %d and\n%s\nwant %d and\n%s\nstderr:\n%s",
			got.code, strings.Join(got.findings, "\n"), code, strings.Join(want, "\n"), got.err)
	}
}

// TestCheckFollowsTheGroup guards that the extensions of the group count, in
// its order and in both layouts, and that without a group file all do.
func TestCheckFollowsTheGroup(t *testing.T) {
	const bad = goodDockerfile + "RUNN\n"
	for version, files := range map[string]map[string]string{
		"0.12": {
			"build/x_b/Dockerfile": bad, "build/x_b/extend-config.toml": "[[run.args]]\nname = \"a\"\nvalue = \"1\"\n",
			"run/a/Dockerfile": goodDockerfile + "USER 0\n", "run/a/extend-config.toml": "[[run.args]]\nname = \"a\"\nvalue = \"1\"\n",
			"build/other/Dockerfile": bad,
		},
		"0.13": {
			"x_b/build.Dockerfile": bad,
			"a/run.Dockerfile":     goodDockerfile + "USER 0\n", "a/extend-config.toml": "[[run.args]]\nname = \"a\"\nvalue = \"1\"\n",
			"other/build.Dockerfile": bad,
		},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "generated"), files)
		c := Checker{Layout: newLayout(t, version), Generated: filepath.Join(dir, "generated"), Group: filepath.Join(dir, "group.toml"), Analyzed: filepath.Join(dir, "analyzed.toml")}
		in := func(id, kind string) string {
			return c.Layout.Dockerfile(kind, id)
		}
		config := c.Layout.Config("run", "a")
		ofA := func(id string) []string {
			return []string{id + " " + config + ":1 arg-not-declared", id + " " + in("a", "run") + ":2 rebasable-missing", id + " " + in("a", "run") + ":3 user-root"}
		}
		if strings.HasPrefix(in("a", "run"), "run/") {
			// Upper case comes first.
			ofA = func(id string) []string {
				return []string{id + " " + in("a", "run") + ":2 rebasable-missing", id + " " + in("a", "run") + ":3 user-root", id + " " + config + ":1 arg-not-declared"}
			}
		}
		wantFindings(t, runCheck(t, c), platform.CodeGenerated, append(ofA("a"),
			"other "+in("other", "build")+":3 dockerfile-syntax", "x_b "+in("x_b", "build")+":3 dockerfile-syntax")...)

		write(t, dir, map[string]string{"group.toml": "[[group-extensions]]\nid = \"x/b\"\nversion = \"1\"\n[[group-extensions]]\nid = \"none\"\nversion = \"1\"\n[[group-extensions]]\nid = \"a\"\nversion = \"1\"\n"})
		wantFindings(t, runCheck(t, c), platform.CodeGenerated, append([]string{"x/b " + in("x_b", "build") + ":3 dockerfile-syntax"}, ofA("a")...)...)

		write(t, dir, map[string]string{"group.toml": "[[group-extensions]]\nid = \"a\"\nversion = \"1\"\n"})
		got := runCheck(t, c)
		wantFindings(t, got, platform.CodeOK, ofA("a")...)
		if !strings.Contains(got.out, "0 errors, 3 warnings in 1 Dockerfile of ") {
			t.Errorf("stdout: %s", got.out)
		}
	}
}

// TestCheckOfNothing guards that a check which judges nothing says so.
func TestCheckOfNothing(t *testing.T) {
	dir := t.TempDir()
	c := Checker{Layout: newLayout(t, "0.13"), Generated: filepath.Join(dir, "generated"), Group: filepath.Join(dir, "group.toml"), Analyzed: filepath.Join(dir, "analyzed.toml")}
	if got := runCheck(t, c); got.code != platform.CodeFailed || !strings.Contains(got.err, c.Generated) {
		t.Errorf("no directory: %+v", got)
	}
	write(t, dir, map[string]string{"group.toml": "[[group]]\nid = \"bp\"\nversion = \"1\"\n"})
	wantFindings(t, runCheck(t, c), platform.CodeOK)
	if err := os.Remove(c.Group); err != nil {
		t.Fatal(err)
	}
	write(t, c.Generated, map[string]string{"build/a/Dockerfile": goodDockerfile})
	if got := runCheck(t, c); got.code != platform.CodeOK || !strings.Contains(got.err, "no Dockerfile") {
		t.Errorf("another layout: %+v", got)
	}
	write(t, dir, map[string]string{"group.toml": "[[group]\n"})
	if got := runCheck(t, c); got.code != platform.CodeFailed || !strings.Contains(got.err, "group.toml") {
		t.Errorf("malformed group: %+v", got)
	}
}

// TestCheckIsSafe guards that output is untrusted: what leaves it is refused and
// not read, and what is no file is not waited for.
func TestCheckIsSafe(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  []string
	}{
		"link out":     {func(dir string) error { return os.Symlink("/etc/passwd", dir+"/run.Dockerfile") }, []string{"o run.Dockerfile:0 file-refused"}},
		"link nowhere": {func(dir string) error { return os.Symlink("none", dir+"/run.Dockerfile") }, []string{"o run.Dockerfile:0 file-refused"}},
		"fifo":         {func(dir string) error { return syscall.Mkfifo(dir+"/extend-config.toml", 0o644) }, []string{"o extend-config.toml:0 file-refused"}},
		"directory":    {func(dir string) error { return os.Mkdir(dir+"/run.Dockerfile", 0o755) }, []string{"o run.Dockerfile:0 file-refused"}},
		"size": {func(dir string) error {
			if err := os.WriteFile(dir+"/run.Dockerfile", nil, 0o644); err != nil {
				return err
			}
			return os.Truncate(dir+"/run.Dockerfile", 2<<30)
		}, []string{"o run.Dockerfile:0 file-refused"}},
		"context is a link": {func(dir string) error { return os.Symlink("..", dir+"/context") }, []string{"o context:0 context-refused"}},
		"context is a file": {func(dir string) error { return os.WriteFile(dir+"/context.run", nil, 0o644) }, []string{"o context.run:0 context-refused"}},
		"context leaves": {func(dir string) error {
			write(t, dir, map[string]string{"context/a": "", "context/sub/": ""})
			return os.Symlink("../../../x", dir+"/context/sub/l")
		}, []string{"o context:0 context-refused"}},
		"context has a fifo": {func(dir string) error {
			write(t, dir, map[string]string{"context/sub/": ""})
			return syscall.Mkfifo(dir+"/context/sub/f", 0o644)
		}, []string{"o context:0 context-refused"}},
		"two contexts": {func(dir string) error {
			write(t, dir, map[string]string{"context/": "", "context.run/": ""})
			return nil
		}, []string{"o context:0 context-conflict"}},
		"wrong names": {func(dir string) error {
			write(t, dir, map[string]string{"Dockerfile": "", "run.toml": ""})
			return nil
		}, []string{"o Dockerfile:0 file-name", "o run.toml:0 file-name"}},
		"all is well": {func(dir string) error {
			write(t, dir, map[string]string{"context.build/a": "", "context.run/sub/b": "", "other": ""})
			return os.Symlink("sub/b", dir+"/context.run/l")
		}, nil},
	} {
		dir := filepath.Join(t.TempDir(), "o")
		write(t, dir, map[string]string{"build.Dockerfile": goodDockerfile})
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		code := platform.CodeGenerated
		if len(c.want) == 0 || strings.HasSuffix(c.want[0], "file-name") {
			code = platform.CodeOK
		}
		t.Run(name, func(t *testing.T) {
			got := runCheck(t, Checker{Layout: newLayout(t, "0.13"), Dir: dir, Analyzed: filepath.Join(dir, "none")})
			wantFindings(t, got, code, c.want...)
			if strings.Contains(got.err, "root:") {
				t.Errorf("what is outside was read:\n%s", got.err)
			}
		})
	}
}

// TestCheckOfLinkedDirectory guards that the directory of an extension cannot
// lead out of <generated>.
func TestCheckOfLinkedDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"generated/": "", "outside/build.Dockerfile": "RUNN\n"})
	if err := os.Symlink("../outside", filepath.Join(dir, "generated", "a")); err != nil {
		t.Fatal(err)
	}
	c := Checker{Layout: newLayout(t, "0.13"), Generated: filepath.Join(dir, "generated"), Group: filepath.Join(dir, "none"), Analyzed: filepath.Join(dir, "none")}
	wantFindings(t, runCheck(t, c), platform.CodeGenerated, "a a:0 file-refused")
}

// TestCheckLeavesOutWhatWasSetAside guards that a run.Dockerfile which no longer
// counts is not judged, and that nobody misses its args.
func TestCheckLeavesOutWhatWasSetAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "o")
	write(t, dir, map[string]string{
		"run.Dockerfile.ignore": goodDockerfile + "USER root\n",
		"extend-config.toml":    "[[run.args]]\nname = \"a\"\nvalue = \"1\"\n",
	})
	wantFindings(t, runCheck(t, Checker{Dir: dir, Analyzed: filepath.Join(dir, "none")}), platform.CodeOK)
}

// TestCheckUsesTheTarget guards that FROM is expanded for the platform that the
// images are for, as generation does.
func TestCheckUsesTheTarget(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "o")
	write(t, dir, map[string]string{"run.Dockerfile": "FROM x${TARGETVARIANT}/run:1\n", "analyzed.toml": "[run-image.target]\nos = \"linux\"\narch = \"arm64\"\nvariant = \"V8\"\n"})
	wantFindings(t, runCheck(t, Checker{Dir: dir, Analyzed: filepath.Join(dir, "none")}), platform.CodeOK)
	wantFindings(t, runCheck(t, Checker{Dir: dir, Analyzed: filepath.Join(dir, "analyzed.toml")}), platform.CodeGenerated, "o run.Dockerfile:1 from-image")
}

// TestExamplesPassTheCheck guards that what we show to authors draws no finding.
func TestExamplesPassTheCheck(t *testing.T) {
	apt := t.TempDir()
	program, err := filepath.Abs("../examples/extensions/examples_apt/1.0.0/bin/generate")
	if err != nil {
		t.Fatal(err)
	}
	generate := exec.Command(program)
	generate.Dir = "../examples/app"
	generate.Env = append(os.Environ(), "CNB_OUTPUT_DIR="+apt)
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	motd, err := filepath.Abs("../examples/extensions/examples_motd/1.0.0/generate")
	if err != nil {
		t.Fatal(err)
	}
	for dir, id := range map[string]string{apt: filepath.Base(apt), motd: "examples/motd"} {
		c := Checker{Dir: dir, Analyzed: filepath.Join(apt, "none")}
		got := runCheck(t, c)
		wantFindings(t, got, platform.CodeOK)
		if !strings.Contains(got.out, "0 errors, 0 warnings in 2 Dockerfiles") {
			t.Errorf("stdout: %s", got.out)
		}
		if p := c.onlyPlace(); p.extension != id {
			t.Errorf("%s is of the extension %s, want %s", dir, p.extension, id)
		}
	}
}
