package chain_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
)

// A command that fails is shown with extension, file, line, exit code and the
// end of what it printed, and an earlier result stays.
func TestFailedCommandIsExplainedAndTheEarlierResultStays(t *testing.T) {
	h := withEngine(t)
	dir := filepath.Join(t.TempDir(), "extended", "build")
	app := dockerfile.Application{
		Kind: dockerfile.KindBuild, Extended: dir,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"ENV A=b\n"),
	}
	before := apply(t, h, app)
	app.Steps = steps(t, dockerfile.KindBuild,
		from+"RUN echo fine\n",
		from+"ENV X=1\nRUN exec 2>&1; seq 1 100; echo 'E: no such package' >&2; \\\n  exit 42\n")
	// (One stream: what is written to both arrives in any order.)
	_, err := h.Apply(t.Context(), app)
	var failed *dockerfile.RunError
	if !errors.As(err, &failed) {
		t.Fatalf("error %v", err)
	}
	if failed.ExitCode != 42 || failed.Dockerfile.Extension != "ext/b" || failed.Dockerfile.Line != 4 ||
		failed.Dockerfile.Path != app.Steps[1].Path {
		t.Errorf("%+v %+v", failed, failed.Dockerfile)
	}
	if !strings.HasSuffix(failed.Output, "E: no such package") || strings.Contains(failed.Output, "\n50\n") || !strings.Contains(failed.Output, "\n99\n100\n") {
		t.Errorf("output is %q", failed.Output)
	}
	text := err.Error()
	for _, want := range []string{
		"extension ext/b: " + app.Steps[1].Path + ":4: the command failed with exit code 42",
		"   4 | RUN exec 2>&1; seq 1 100", "| ^^^", "    E: no such package",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 || entries[0].Name() != before.applied.Manifest {
		t.Errorf("the earlier result is gone: %v", entries)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".graft-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What a command printed on standard error was not shown if enough of the other stream
// arrived after it, as it did with any command that prints much.
func TestEndOfBothStreamsIsShown(t *testing.T) {
	const many = "i=0; while [ $i -lt 100 ]; do echo line$i; i=$((i+1)); done"
	long := strings.Repeat("x", 20000)
	for name, c := range map[string]struct {
		run   string
		lines []string
		n     int
	}{
		"much, then why":        {many + "; echo E: why >&2; exit 5", []string{"E: why", "line99", "line71"}, 30},
		"why, then much":        {"echo E: why >&2; sleep 0.3; " + many + "; exit 5", []string{"E: why", "line99", "line71"}, 30},
		"much of both":          {many + "; (" + many + ") >&2; exit 5", nil, 30},
		"only errors":           {"(" + many + ") >&2; exit 5", []string{"line70", "line99"}, 30},
		"a line without an end": {"printf on; sleep 0.3; echo E: why >&2; exit 5", []string{"on", "E: why"}, 2},
		"a line that is long":   {"echo E: why >&2; printf " + long + "y; exit 5", []string{"E: why"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			h := withEngine(t)
			_, err := h.Apply(t.Context(), dockerfile.Application{
				Kind: dockerfile.KindBuild, Base: asLayout(t, makeBase(t, baseOptions{})),
				Steps: steps(t, dockerfile.KindBuild, from+"RUN "+c.run+"\n"),
			})
			var failed *dockerfile.RunError
			if !errors.As(err, &failed) {
				t.Fatalf("error %v", err)
			}
			lines := strings.Split(failed.Output, "\n")
			for _, want := range c.lines {
				if !slices.Contains(lines, want) {
					t.Errorf("no %q in %q", want, lines)
				}
			}
			if len(lines) != c.n || len(failed.Output) > 16<<10 {
				t.Errorf("%d lines and %d bytes, wanted %d: %q", len(lines), len(failed.Output), c.n, lines)
			}
		})
	}
}

// So is one that fails while a user is looked up in what it was to make.
func TestCommandThatFailsBeforeALookupIsExplained(t *testing.T) {
	h := withEngine(t)
	_, err := h.Apply(t.Context(), dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"RUN echo why; exit 3\nUSER cnb\n", from+"ARG user_id\nENV U=$user_id\n"),
	})
	var failed *dockerfile.RunError
	if !errors.As(err, &failed) || failed.ExitCode != 3 || failed.Dockerfile.Extension != "ext/a" || failed.Output != "why" {
		t.Errorf("error %v", err)
	}
}

// COPY of a file that the context lacks names the line.
func TestMissingFileInContextNamesTheLine(t *testing.T) {
	h := withEngine(t)
	_, err := h.Apply(t.Context(), dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"ENV A=1\nCOPY missing /\n"),
	})
	var located *dockerfile.Error
	if !errors.As(err, &located) || located.Line != 4 || !strings.Contains(err.Error(), "missing") {
		t.Errorf("error %v", err)
	}
}

func TestMissingContextIsNamedBeforeAnythingRuns(t *testing.T) {
	h := newHarness(t)
	app := dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"COPY x /\n"),
	}
	app.Steps[0].Context += "/nowhere"
	_, err := h.Apply(t.Context(), app)
	if err == nil || !strings.Contains(err.Error(), "nowhere is no directory") || h.opened != 0 {
		t.Errorf("error %v", err)
	}
	// A Dockerfile that copies nothing does not need one.
	app.Steps[0].Content = []byte(from + "ENV A=1\n")
	if _, err := h.Apply(t.Context(), app); err != nil {
		t.Errorf("unused context: %v", err)
	}
}

// CONTRACT 7.3: a user with a name is looked up in the result.
func TestNamedUserOfARunImageIsLookedUpInTheResult(t *testing.T) {
	for name, c := range map[string]struct {
		step, want string
	}{
		"uid 0":             {from + "USER admin\n", `USER "admin" has uid 0`},
		"nobody":            {from + "USER ghost\n", `USER "ghost" is not in /etc/passwd`},
		"ordinary":          {from + "USER cnb\n", ""},
		"added by the step": {from + "USER root\nRUN echo new:x:500:500::/:/bin/sh >> /etc/passwd\nUSER new:cnb\n", ""},
		"made root":         {from + "USER root\nRUN echo fake:x:0:500::/:/bin/sh >> /etc/passwd\nUSER fake\n", `USER "fake" has uid 0`},
	} {
		t.Run(name, func(t *testing.T) {
			h := withEngine(t)
			_, err := h.Apply(t.Context(), dockerfile.Application{
				Kind:     dockerfile.KindRun,
				Base:     asLayout(t, makeBase(t, baseOptions{user: "1001"})),
				Steps:    steps(t, dockerfile.KindRun, c.step),
				Extended: filepath.Join(t.TempDir(), "run"),
			})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "a/run.Dockerfile:")):
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// An engine that is not there is said in its own words.
func TestEngineErrorIsPassedThrough(t *testing.T) {
	h := newHarness(t)
	broken := errors.New("no runc here")
	h.Engine = func(context.Context) (chain.Engine, error) { return nil, broken }
	_, err := h.Apply(t.Context(), dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"RUN true\n"),
	})
	if !errors.Is(err, broken) || err.Error() != broken.Error() {
		t.Errorf("error %v", err)
	}
}

// saying calls a function once a text is in what is written through it.
type saying struct {
	io.Writer
	text string
	call func()
	said bytes.Buffer
}

func (s *saying) Write(p []byte) (int, error) {
	s.said.Write(p)
	if strings.Contains(s.said.String(), s.text) {
		s.call()
	}
	return s.Writer.Write(p)
}

// An interrupted run ends without waiting for what runs, with the context's error, and
// leaves nothing.
func TestInterruptedRunEndsPromptlyAndLeavesNothing(t *testing.T) {
	h := withEngine(t)
	dir := filepath.Join(t.TempDir(), "extended", "build")
	out := filepath.Join(t.TempDir(), "out")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var interrupted time.Time
	h.Progress.Output = &saying{Writer: h.Progress.Output, text: "begun", call: sync.OnceFunc(func() {
		interrupted = time.Now()
		cancel()
	})}
	_, err := h.Apply(ctx, dockerfile.Application{
		Kind: dockerfile.KindBuild, Extended: dir, Outputs: []string{"oci:" + out},
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"RUN echo be''gun; sleep 1000\n"),
	})
	if !errors.Is(err, context.Canceled) || interrupted.IsZero() {
		t.Fatalf("interrupted at %v, error %v", interrupted, err)
	}
	if took := time.Since(interrupted); took > patience {
		t.Errorf("took %s to end", took)
	} else {
		t.Logf("ended %s after the interruption", took)
	}
	if entries, _ := os.ReadDir(filepath.Dir(dir)); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("an output was begun")
	}
}

// A base that cannot be found says which, and what to try.
func TestMissingBaseIsNamed(t *testing.T) {
	reg := startRegistry(t)
	for base, want := range map[string]string{
		"oci:" + t.TempDir():      "has no file oci-layout",
		"oci:/nowhere/at/all":     "there is no directory /nowhere/at/all",
		reg + "/missing/image:v1": "check the name and the tag",
		"UPPER/case":              "parse reference",
		"":                        "no base is named",
	} {
		h := newHarness(t)
		_, err := h.Apply(t.Context(), dockerfile.Application{Kind: dockerfile.KindBuild, Base: base})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), base) {
			t.Errorf("%s: %v", base, err)
		}
	}
}
