package acceptance

import (
	"fmt"
	"strings"
	"testing"
)

// BuildKit's findings are shown once, with extension, file and line: although Dockerfiles
// are converted before there is an engine and again for it, for both images, and with
// several extensions. What every extension would draw is not shown.
func TestLintFindings(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s, _ := bothScene(t, e)
		s.both("acme/one", "RUN echo $no_such_arg\nENV A b", "USER root\nRUN echo by root\nUSER 7")
		s.both("two", "WORKDIR rel\nADD https://127.0.0.1:1/ /never\n# check=skip=LegacyKeyValueFormat\nLABEL c d\nRUN true", "run true\nCOPY . /all\nUSER 7")
		// What is found is found before anything is carried out.
		o := s.run("-report", s.path("report.json"))
		if o.code != 102 {
			t.Errorf("ADD of nothing succeeds: %v", o)
		}
		want := []string{
			"acme/one acme_one/build.Dockerfile:4 LegacyKeyValueFormat",
			"two two/run.Dockerfile:3 ConsistentInstructionCasing",
		}
		var got []string
		r, _ := readReport(t, s.path("report.json"))
		for _, w := range r.Warnings {
			place := fmt.Sprintf("%s:%d", strings.TrimPrefix(w.File, s.path("layers/generated")+"/"), w.Line)
			got = append(got, w.Extension+" "+place+" "+w.Rule)
			line := fmt.Sprintf("Warning: extension %s: %s:%d: %s (%s)\n", w.Extension, w.File, w.Line, w.Message, w.Rule)
			if n := strings.Count(o.stderr, line); n != 1 {
				t.Errorf("%d times on stderr: %s%v", n, line, o)
			}
		}
		for _, w := range want {
			n := 0
			for _, g := range got {
				if g == w {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%q is found %d times in %q", w, n, got)
			}
		}
		for _, g := range got {
			if strings.Contains(g, "ArgInFrom") {
				t.Errorf("every extension would draw %q", g)
			}
		}
		if n := strings.Count(o.stderr, "Warning: "); n != len(got) {
			t.Errorf("%d warnings for %d findings: %v", n, len(got), o)
		}
	})
}

// An extension as it should be draws nothing at all, in whatever order the language
// allows to name the base.
func TestNoLintFindings(t *testing.T) {
	for _, from := range []string{"ARG base_image\nFROM ${base_image}\n", "ARG base_image\nFROM $base_image\n", "ARG base_image\nARG other=1\nFROM \"${base_image}\"\n"} {
		s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
		for _, id := range []string{"one", "two"} {
			s.extension(id, from+"ARG build_id=0\nARG user_id\nENV A=1\nLABEL io.buildpacks.rebasable=true\nUSER ${user_id}\n", nil)
		}
		if o := s.succeed(); o.stderr != "" {
			t.Errorf("%q draws %v", from, o)
		}
	}
}
