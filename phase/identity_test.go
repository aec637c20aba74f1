package phase

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/graft-cnb/graft/dockerfile"
)

// The application is known by the repository that its image goes to or came from, which
// stays when the tag does not; only where neither is known by its path and its bases.
func TestIdentity(t *testing.T) {
	const run, build = dockerfile.KindRun, dockerfile.KindBuild
	const bases = "[run-image]\nreference = \"reg.io/run@sha256:" + digits + "\"\n[build-image]\nreference = \"reg.io/build:1\"\n"
	for name, c := range map[string]struct {
		analyzed string
		kinds    []dockerfile.Kind
		bases    map[dockerfile.Kind]string
		outputs  map[dockerfile.Kind][]string
		want     string
	}{
		"output":             {outputs: map[dockerfile.Kind][]string{run: {"oci:/x", "registry:reg.io/app:7"}}, want: "reg.io/app"},
		"output to a daemon": {outputs: map[dockerfile.Kind][]string{run: {"docker:app:7"}}, want: "index.docker.io/library/app"},
		"another output":     {outputs: map[dockerfile.Kind][]string{build: {"registry:reg.io/app:7"}}, want: "/workspace\n\n"},
		"both kinds": {kinds: []dockerfile.Kind{build, run}, want: "reg.io/builder",
			outputs: map[dockerfile.Kind][]string{run: {"registry:reg.io/app"}, build: {"registry:reg.io/builder"}}},
		"output before image":  {analyzed: "[image]\nreference = \"reg.io/before:1\"\n", outputs: map[dockerfile.Kind][]string{run: {"registry:reg.io/app:7"}}, want: "reg.io/app"},
		"image":                {analyzed: "[image]\nreference = \"reg.io/app@sha256:" + digits + "\"\n" + bases, want: "reg.io/app"},
		"image with a tag":     {analyzed: "[image]\nreference = \"reg.io/app:1\"\n", want: "reg.io/app"},
		"image of a daemon":    {analyzed: "[image]\nreference = \"" + digits + "\"\n" + bases, want: "/workspace\nreg.io/build\nreg.io/run"},
		"bases":                {analyzed: bases, want: "/workspace\nreg.io/build\nreg.io/run"},
		"base that is given":   {analyzed: bases, bases: map[dockerfile.Kind]string{run: "oci:/my/run"}, want: "/workspace\nreg.io/build\noci:/my/run"},
		"nothing":              {want: "/workspace\n\n"},
		"image that is broken": {analyzed: "[image", want: "/workspace\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			e := Extender{App: "/workspace", Analyzed: filepath.Join(t.TempDir(), "analyzed.toml"), Kinds: c.kinds, Bases: c.bases, Outputs: c.outputs}
			if e.Kinds == nil {
				e.Kinds = []dockerfile.Kind{run}
			}
			if c.analyzed != "" {
				if err := os.WriteFile(e.Analyzed, []byte(c.analyzed), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := e.Identity(); got != c.want {
				t.Errorf("the identity is %q, wanted %q", got, c.want)
			}
		})
	}
}

const digits = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
