package chain_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
)

// located applies Dockerfiles, which has to fail with an error about a line.
func located(t *testing.T, h *harness, o baseOptions, all []dockerfile.Step) *dockerfile.Error {
	t.Helper()
	_, err := h.Apply(t.Context(), dockerfile.Application{Kind: dockerfile.KindBuild, Base: asLayout(t, makeBase(t, o)), Steps: all})
	var at *dockerfile.Error
	if !errors.As(err, &at) {
		t.Fatalf("no error about a line: %v", err)
	}
	return at
}

// An image to copy from that is not there was said to be a base image, and where RUN
// mounts it, no line was named.
func TestImageThatCannotBeCopiedFrom(t *testing.T) {
	host := startRegistry(t)
	for content, want := range map[string]string{
		"ENV A=1\nCOPY --from=" + host + "/typo /a /b\n":                 "it copies from " + host + "/typo, which is neither a stage nor an image that can be read: read image ",
		"ENV A=1\nRUN --mount=from=" + host + "/typo:1,target=/x true\n": "it copies from " + host + "/typo:1, which is neither",
		"ENV A=1\nCOPY --from=7 /a /b\n":                                 "it copies from stage 7",
	} {
		for _, insecure := range [][]string{nil, {host}} {
			h := newHarness(t)
			h.InsecureRegistries = insecure
			at := located(t, h, baseOptions{}, steps(t, dockerfile.KindBuild, from, from+content))
			if at.Line != 4 || at.Extension != "ext/b" || !strings.Contains(at.Problem, want) || strings.Contains(at.Problem, "base image") {
				t.Errorf("%q: %v", content, at)
			}
		}
	}
}

// What the engine cannot understand of a context was told without a file.
func TestPatternThatIsNone(t *testing.T) {
	h := newHarness(t)
	all := steps(t, dockerfile.KindBuild, from, from+"ENV A=1\nCOPY [a- /b\n")
	if at := located(t, h, baseOptions{}, all); at.Line != 4 || at.Extension != "ext/b" || !strings.Contains(at.Problem, "[a-: syntax error in pattern") {
		t.Errorf("COPY: %v", at)
	}
	all = steps(t, dockerfile.KindBuild, from, from+"COPY a /b\n")
	ignore := filepath.Join(all[1].Context, ".dockerignore")
	if err := os.WriteFile(ignore, []byte("# [a-\nfine\n\n!*\n[a-\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if at := located(t, h, baseOptions{}, all); at.Line != 5 || at.Extension != "ext/b" || at.Path != ignore || at.Source != "[a-" {
		t.Errorf(".dockerignore: %v", at)
	}
}

// A directory of that name ended the build; BuildKit takes no notice of it.
func TestDockerignoreThatIsADirectory(t *testing.T) {
	h := withEngine(t)
	all := steps(t, dockerfile.KindBuild, from+"COPY . /all/\n")
	if err := os.MkdirAll(filepath.Join(all[0].Context, ".dockerignore", "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	e := apply(t, h, dockerfile.Application{Kind: dockerfile.KindBuild, Base: asLayout(t, makeBase(t, baseOptions{})), Steps: all})
	if _, ok := e.files["/all/.dockerignore/sub"]; !ok {
		t.Errorf("it was not copied: %v", e.files)
	}
}

// An ADD that fetched nothing did not say which it was.
func TestURLThatCannotBeFetchedNamesTheLine(t *testing.T) {
	h := withEngine(t)
	at := located(t, h, baseOptions{}, steps(t, dockerfile.KindBuild, from+"RUN true\n", from+"ENV A=1\nADD http://127.0.0.1:1/x /b\nRUN true\n"))
	if at.Line != 4 || at.Extension != "ext/b" || !strings.Contains(at.Problem, "connection refused") {
		t.Errorf("error %v", at)
	}
}

// What a trigger of the image below did wrong was blamed on FROM, without a word of it.
func TestTriggerThatIsToBlameIsNamed(t *testing.T) {
	for build, want := range map[string]string{
		"RUN echo why; exit 3":    "ONBUILD RUN echo why; exit 3 of the image before: the command failed with exit code 3",
		"RUN --network=host true": "ONBUILD RUN --network=host true of the image before: RUN --network=host is not allowed",
		"COPY nope /x":            "ONBUILD COPY nope /x of the image before: ",
		"COPY --from=7 /a /b":     "ONBUILD COPY --from=7 /a /b of the image before: it copies from stage 7",
		"COPY [a- /x":             "ONBUILD COPY [a- /x of the image before: [a-",
		"ENV X=${none?unset}":     "one of the 2 ONBUILD instructions of the image before: ",
		"FOO":                     "ONBUILD FOO of the image before: ",
	} {
		at := located(t, withEngine(t), baseOptions{build: []string{"ENV A=1", build}}, steps(t, dockerfile.KindBuild, from+"RUN true\n"))
		if at.Line != 2 || !strings.HasPrefix(at.Problem, want) {
			t.Errorf("%s: %v", build, at)
		}
	}
	at := located(t, withEngine(t), baseOptions{build: []string{"ENV X=${none?unset}"}}, steps(t, dockerfile.KindBuild, from))
	if !strings.HasPrefix(at.Problem, "ONBUILD ENV X=${none?unset} of the image before: ") {
		t.Errorf("the only trigger: %v", at)
	}
	err := applyRun(t, newHarness(t), baseOptions{user: "1001", build: []string{"USER 0"}}, from+"ENV A=1\n")
	if err == nil || !strings.Contains(err.Error(), `ONBUILD USER 0 of the image before: USER "0" is root`) {
		t.Errorf("a user: %v", err)
	}
}

// A NUL byte made BuildKit's scanner write to stderr, and the build went on.
func TestNULByteIsRefused(t *testing.T) {
	at := located(t, newHarness(t), baseOptions{}, steps(t, dockerfile.KindBuild, from, from+"ENV A=1\nENV B=\"\x00\"\n"))
	if at.Line != 4 || at.Extension != "ext/b" || !strings.Contains(at.Problem, "NUL byte") {
		t.Errorf("error %v", at)
	}
}

// An agent that is not there was shown as BuildKit's client keeps it.
func TestAgentThatIsNotThere(t *testing.T) {
	for value, id := range map[string]string{"x=/nonexistent": `"x"`, "=/nonexistent": `"default"`, "x=/nonexistent,/other": `"x"`} {
		_, err := chain.ParseSSH([]string{value})
		if err == nil || !strings.HasPrefix(err.Error(), "the agent "+id+": ") || strings.ContainsAny(err.Error(), "{}") || !strings.Contains(err.Error(), "/nonexistent: no such file") {
			t.Errorf("%s: %v", value, err)
		}
	}
}
