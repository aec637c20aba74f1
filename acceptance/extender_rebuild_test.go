package acceptance

import (
	"os"
	"strings"
	"testing"
	"time"
)

// outcomes runs the extender and returns what became of each instruction that makes a
// layer, as the report tells.
func (s *scene) outcomes() string {
	s.t.Helper()
	s.succeed("-report", s.path("report.json"))
	r, _ := readReport(s.t, s.path("report.json"))
	var all []string
	for n := range r.Images[0].Dockerfiles {
		for _, step := range r.Images[0].Dockerfiles[n].Steps {
			if step.Result != "config" {
				all = append(all, step.Result)
			}
		}
	}
	return strings.Join(all, " ")
}

// What an instruction depends on, and nothing else, has it carried out again. In a
// chain, what comes after it is, too.
func TestWhatIsRebuilt(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
		const from = "ARG base_image\nFROM ${base_image}\n"
		dockerfile := from + "ARG own\nCOPY --chown=0 dir /dir\nRUN <<EOF\necho body >/tmp/a\nEOF\nRUN echo $own >/tmp/b\nUSER 7\n"
		config := "[[run.args]]\nname = \"own\"\nvalue = \"1\"\n[[run.args]]\nname = \"unused\"\nvalue = \"1\"\n"
		s.extension("one", dockerfile, map[string]string{"extend-config.toml": config, "context/dir/file": "content", "context/other": "content"})
		s.write("layers/generated/one/context/.dockerignore", "dir/ignored\n")
		s.write("layers/generated/one/context/dir/ignored", "content")
		s.outcomes()
		if got := s.outcomes(); got != "cached cached cached" {
			t.Fatalf("the second time: %s", got)
		}
		file := s.path("layers/generated/one/context/dir/file")
		later := time.Now().Add(48 * time.Hour)
		for _, c := range []struct {
			name   string
			change func()
			want   string
		}{
			{"the time of a file that is copied", func() { check(t, os.Chtimes(file, later, later)) }, "cached cached cached"},
			{"the time of its directory", func() { check(t, os.Chtimes(s.path("layers/generated/one/context/dir"), later, later)) }, "cached cached cached"},
			{"a file that is not copied", func() { s.write("layers/generated/one/context/other", "changed") }, "cached cached cached"},
			{"a file that is ignored", func() { s.write("layers/generated/one/context/dir/ignored", "changed") }, "cached cached cached"},
			{"an arg that is not used", func() {
				s.write("layers/generated/one/extend-config.toml", strings.Replace(config, `"unused"`+"\nvalue = \"1\"", `"unused"`+"\nvalue = \"2\"", 1))
			}, "cached cached cached"},
			{"a comment", func() { s.write("layers/generated/one/run.Dockerfile", "# of the author\n"+dockerfile) }, "cached cached cached"},
			{"a file that is copied", func() { s.write("layers/generated/one/context/dir/file", "changed") }, "done done done"},
			{"the mode of a file that is copied", func() { check(t, os.Chmod(file, 0o755)) }, "done done done"},
			{"a file more in what is copied", func() { s.write("layers/generated/one/context/dir/more", "") }, "done done done"},
			{"an arg that is used", func() {
				s.write("layers/generated/one/extend-config.toml", strings.Replace(config, `value = "1"`, `value = "2"`, 1))
			}, "cached done done"},
			{"the body of a here-document", func() {
				s.write("layers/generated/one/run.Dockerfile", strings.Replace(dockerfile, "echo body", "echo another body", 1))
			}, "cached done done"},
			{"the body of the command", func() {
				s.write("layers/generated/one/run.Dockerfile", strings.Replace(dockerfile, "echo $own", "echo is $own", 1))
			}, "cached cached done"},
		} {
			c.change()
			if got := s.outcomes(); got != c.want {
				t.Errorf("%s has changed: %s, wanted %s", c.name, got, c.want)
			}
			if got := s.outcomes(); got != "cached cached cached" {
				t.Errorf("%s has changed, and the second time: %s", c.name, got)
			}
		}
	})
}

// build_id is another one in each run, and only a RUN that sees it is carried out again:
// not what comes before, not a COPY, not another extension's RUN before it.
func TestBuildIDRebuildsWhatMentionsIt(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
		s.step("one", "RUN echo one >/tmp/one", "USER 7")
		s.step("two", "RUN echo two >/tmp/two", "ARG build_id", "COPY file /file", "RUN echo three >/tmp/three", "USER 7")
		s.write("app/file", "content")
		s.outcomes()
		for range 2 {
			if got := s.outcomes(); got != "cached cached cached done" {
				t.Errorf("of RUN, RUN, COPY and RUN with build_id: %s", got)
			}
		}
	})
}
