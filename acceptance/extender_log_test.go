package acceptance

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// With rawjson the progress is for machines, and goes to its file alone.
func TestProgressModes(t *testing.T) {
	base := "oci:" + smallBase(t, nil)
	for _, mode := range []string{"auto", "plain", "quiet", "rawjson"} {
		t.Run(mode, func(t *testing.T) {
			s := newScene(t, "run", base, embedded(t))
			s.step("one", "ARG build_id", "RUN echo what-$((40+2))-the-command-says $build_id", "USER 7")
			delete(s.env, "CNB_PROGRESS")
			args := []string{"-progress", mode}
			if mode == "rawjson" {
				args = append(args, "-progress-file", s.path("progress"))
			}
			o := s.succeed(args...)
			shown := strings.Contains(o.stdout, "what-42-the-command-says")
			if want := mode == "auto" || mode == "plain"; shown != want {
				t.Errorf("what the command says is shown: %v, wanted %v: %v", shown, want, o)
			}
			if mode != "rawjson" {
				return
			}
			if strings.Contains(o.stdout+o.stderr, "vertex") {
				t.Errorf("the progress is in the log: %v", o)
			}
			file, err := os.Open(s.path("progress"))
			check(t, err)
			defer file.Close()
			n := 0
			for decoder := json.NewDecoder(file); decoder.More(); n++ {
				var status map[string]any
				check(t, decoder.Decode(&status))
			}
			if n == 0 {
				t.Error("there is no progress in the file")
			}
		})
	}
}

// The log level decides what is said, and a success says nothing on stderr
// (platform.md, "Outputs").
func TestLogLevels(t *testing.T) {
	e := embedded(t)
	needOverlayfs(t, e.state) // or the engine warns on stderr
	s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
	s.step("one", "ARG build_id", "RUN echo what-the-command-says $build_id", "USER 7")
	delete(s.env, "CNB_PROGRESS")
	for level, c := range map[string]struct{ info, progress bool }{
		"debug": {true, true}, "info": {true, true}, "warn": {}, "error": {},
	} {
		o := s.succeed("-log-level", level)
		if o.stderr != "" {
			t.Errorf("%s: stderr of a success: %v", level, o)
		}
		if got := strings.Contains(o.stdout, "Extended the run image"); got != c.info {
			t.Errorf("%s: the result is told: %v, wanted %v: %v", level, got, c.info, o)
		}
		if got := strings.Contains(o.stdout, "what-the-command-says"); got != c.progress {
			t.Errorf("%s: progress is shown: %v, wanted %v: %v", level, got, c.progress, o)
		}
	}
}

// Of a command that says much and fails the end is told, and not all; and what it
// says is shown as it is.
func TestCommandThatSaysMuch(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
		s.step("one", "RUN i=0; while [ $i -lt 5000 ]; do echo line $i of many; i=$((i+1)); done; echo '100%s %d %!'; exit 3", "USER 7")
		s.env["CNB_PROGRESS"] = "quiet"
		o := s.fail(102, "line 4999 of many\n", "100%s %d %!", "exit code 3")
		if n := strings.Count(o.stderr, "of many"); n > 100 {
			t.Errorf("stderr has %d lines of the command", n)
		}
	})
}

// The umask of the platform is no reason for later phases to be locked out, and
// leaves no trace in a layer.
func TestUmask(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
		s.step("one", "RUN touch /tmp/x && mkdir /tmp/d", "COPY file /data/made/file", "WORKDIR /data/w", "USER 7")
		s.write("app/file", "")
		c := s.command("-output", "oci:"+s.path("whole"))
		c.Args = slices.Concat([]string{"sh", "-c", `umask 077; exec "$0" "$@"`, c.Path}, c.Args[1:])
		c.Path = "/bin/sh"
		if o := finish(t, c); o.code != 0 {
			t.Fatalf("the extender failed: %v", o)
		}
		checkModes(t, s.path("layers/extended"))
		checkModes(t, s.path("whole"))
		tree := fileTree(t, unpack(t, openLayout(t, s.path("whole"))))
		for path, want := range map[string]string{
			"tmp/x": "-rw-r--r-- ", "tmp/d": "drwxr-xr-x ", "data/made": "drwxr-xr-x ", "data/made/file": "-rw-r--r-- ", "data/w": "drwxr-xr-x ",
		} {
			if !strings.HasPrefix(tree[path], want) {
				t.Errorf("%s is %q, wanted %q", path, tree[path], want)
			}
		}
	})
}

// A display for a terminal needs one.
func TestTTYProgressWithoutATerminal(t *testing.T) {
	s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
	s.step("one", "RUN true", "USER 7")
	s.args = append(s.args, "-progress", "tty")
	s.fail(3, "-progress", "terminal")
}
