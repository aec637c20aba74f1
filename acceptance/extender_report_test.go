package acceptance

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// report is what docs/extender-report.md describes.
type report struct {
	Result   string
	ExitCode int
	Error    *struct {
		Message, Extension, File string
		Line                     int
		Command                  *struct {
			ExitCode int
			Output   string
		}
	}
	Engine *struct{ Description, Isolation string }
	Images []struct {
		Kind, Result string
		Base         struct{ Reference, Name, Digest, Platform string }
		Dockerfiles  []struct {
			Extension, Path, Context string
			Args                     []struct{ Name, Value string }
			Steps                    []reportStep
		}
		Manifest                string
		AddedLayers, AddedBytes int64
		Extended                string
		Outputs                 []string
	}
	Warnings []struct {
		Message, Extension, File, Rule string
		Line                           int
	}
}

type reportStep struct {
	Line        int
	Instruction string
	Triggered   bool
	Result      string
	Seconds     float64
	Layer       *struct {
		Digest, DiffID string
		Size           int64
	}
}

// readReport reads the report, which may have no field that is not described.
func readReport(t *testing.T, path string) (r report, text []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	check(t, err)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return r, text
}

// results are the outcomes of the steps of one Dockerfile.
func (r report) results(image, dockerfile int) string {
	var all []string
	for _, step := range r.Images[image].Dockerfiles[dockerfile].Steps {
		all = append(all, step.Result)
	}
	return strings.Join(all, " ")
}

var secondsPattern = regexp.MustCompile(`"seconds": [0-9.e-]+`)

// The report has for each Dockerfile what it was given, for each instruction what
// became of it and the layer that it made, and is the same each time but for the
// seconds. What changes the graph on its way to the engine (certificates, proxies)
// does not hide what became of an instruction.
func TestReport(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.name == "embedded" {
			e = embeddedIn(t, t.TempDir())
		}
		base := smallBase(t, func(config *v1.Config) { config.User = "cnb:staff" })
		s := newScene(t, "run", "oci:"+base, e)
		s.step("acme/one", "ARG own", "ENV ONE=1", "RUN sleep 0.1; echo $own >/tmp/one", "COPY here.txt /data/", "USER 7")
		s.write("layers/generated/acme_one/extend-config.toml", "[[run.args]]\nname = \"own\"\nvalue = \"of one\"\n")
		s.step("two", "ARG user_id group_id", "USER root", "RUN <<EOF", "cat /run/secrets/graft-run-ca-cert.pem >/dev/null", "EOF", "WORKDIR /made/here", "USER 5")
		s.write("app/here.txt", "from the app\n")
		s.write("ca.pem", certificateOf(newRegistry(t, (*httptest.Server).StartTLS)))
		s.env["HTTP_PROXY"] = "http://user:proxy-password-81@127.0.0.1:1"
		s.args = append(s.args, "-ca-cert", s.path("ca.pem"), "-report", s.path("report.json"), "-output", "oci:"+s.path("whole"))
		o := s.succeed()
		cold, text := readReport(t, s.path("report.json"))
		checkReport(t, s, base, cold)
		if strings.Contains(string(text)+o.String(), "proxy-password-81") {
			t.Errorf("the proxy's password is told: %s\n%v", text, o)
		}
		if got := cold.results(0, 0); got != "config config done done config" {
			t.Errorf("the first Dockerfile's steps are %s", got)
		}
		if got := cold.results(0, 1); got != "config config done done config" {
			t.Errorf("the second Dockerfile's steps are %s", got)
		}
		if took := cold.Images[0].Dockerfiles[0].Steps[2].Seconds; took < 0.1 {
			t.Errorf("sleep 0.1 took %v", took)
		}

		s.succeed()
		warm, again := readReport(t, s.path("report.json"))
		if got := warm.results(0, 0) + " " + warm.results(0, 1); got != "config config cached cached config config config cached cached config" {
			t.Errorf("the second time the steps are %s", got)
		}
		s.succeed()
		if _, third := readReport(t, s.path("report.json")); !bytes.Equal(again, third) {
			t.Errorf("two reports of the same differ:\n%s\n%s", again, third)
		}
		text = regexp.MustCompile(`"(result|instruction)": "(done|cached)",?`).ReplaceAll(secondsPattern.ReplaceAll(text, nil), nil)
		again = regexp.MustCompile(`"(result|instruction)": "(done|cached)",?`).ReplaceAll(again, nil)
		strip := func(b []byte) string { return strings.Join(strings.Fields(strings.ReplaceAll(string(b), ",", "")), "") }
		if strip(text) != strip(again) {
			t.Errorf("apart from what was cached, two reports differ:\n%s\n%s", text, again)
		}
	})
}

func checkReport(t *testing.T, s *scene, base string, r report) {
	t.Helper()
	if r.Result != "success" || r.ExitCode != 0 || r.Error != nil || len(r.Images) != 1 || len(r.Warnings) != 0 {
		t.Fatalf("the report is %+v", r)
	}
	if r.Engine == nil || !strings.Contains(r.Engine.Description, "BuildKit") || !strings.HasPrefix(r.Engine.Isolation, "RUN isolated") ||
		!strings.Contains(r.Engine.Description, ", "+r.Engine.Isolation) {
		t.Errorf("the engine is %+v", r.Engine)
	}
	image := r.Images[0]
	if image.Kind != "run" || image.Result != "success" || image.Base.Reference != "oci:"+base || image.Base.Platform != "linux/"+goarch ||
		image.Base.Digest != digest(t, openLayout(t, base)).String() || !strings.HasSuffix(image.Base.Name, image.Base.Digest) {
		t.Errorf("the image is %+v", image)
	}
	if image.Extended != s.extended() || image.Manifest != filepath.Base(s.extended()) || len(image.Outputs) != 1 || image.Outputs[0] != "oci:"+s.path("whole") {
		t.Errorf("the image is in %s and %v: %s", image.Extended, image.Outputs, image.Manifest)
	}
	var args []string
	for _, d := range image.Dockerfiles {
		for _, arg := range d.Args {
			args = append(args, d.Extension+" "+arg.Name+"="+arg.Value)
		}
	}
	want := []string{"acme/one base_image=" + image.Base.Name, "acme/one own=of one", "two base_image=" + image.Base.Name, "two user_id=7", "two group_id="}
	if strings.Join(args, "\n") != strings.Join(want, "\n") {
		t.Errorf("the args are\n%s\nwanted\n%s", strings.Join(args, "\n"), strings.Join(want, "\n"))
	}
	if d := image.Dockerfiles[0]; d.Path != s.path("layers/generated/acme_one/run.Dockerfile") || d.Context != s.path("app") ||
		d.Steps[2].Line != 5 || d.Steps[2].Instruction != "RUN sleep 0.1; echo $own >/tmp/one" {
		t.Errorf("the first Dockerfile is %+v", d)
	}
	manifest, config := manifestOf(t, s.image()), configOf(t, s.image())
	n, total := len(manifestOf(t, openLayout(t, base)).Layers), int64(0)
	for _, d := range image.Dockerfiles {
		for _, step := range d.Steps {
			if step.Layer == nil {
				continue
			}
			if want := manifest.Layers[n]; step.Layer.Digest != want.Digest.String() || step.Layer.Size != want.Size || step.Layer.DiffID != config.RootFS.DiffIDs[n].String() {
				t.Errorf("%s made %+v, wanted %+v", step.Instruction, step.Layer, want)
			}
			total += step.Layer.Size
			n++
		}
	}
	if n != len(manifest.Layers) || image.AddedLayers != 4 || image.AddedBytes != total {
		t.Errorf("%d layers in all, %d of %d bytes are added; wanted %d, 4 of %d bytes", n, image.AddedLayers, image.AddedBytes, len(manifest.Layers), total)
	}
}

// A run that fails is reported as far as it came: where, why, what was done before. A
// secret that the command printed is neither in the report nor shown.
func TestReportOfFailure(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
		s.step("fine", "ARG build_id", "RUN echo fine $build_id >/tmp/x")
		s.step("acme/bad", "COPY --chmod=600 file /file", "RUN --mount=type=secret,id=token,mode=0444 cat /run/secrets/token; echo; exit 42", "RUN touch /later", "USER 7")
		s.write("app/file", uniqueSeconds())
		s.write("token", "the-value-of-the-token-4711\n")
		s.args = append(s.args, "-secret", "id=token,src="+s.path("token"), "-report", s.path("report.json"))
		o := s.fail(102, "[secret]")
		r, text := readReport(t, s.path("report.json"))
		if strings.Contains(string(text)+o.String(), "the-value-of-the-token") {
			t.Errorf("the secret is in the report or shown: %s %v", text, o)
		}
		if r.Result != "failure" || r.ExitCode != 102 || r.Error == nil || r.Error.Command == nil || r.Engine == nil {
			t.Fatalf("the report is %s", text)
		}
		if e := r.Error; e.Extension != "acme/bad" || e.File != s.path("layers/generated/acme_bad/run.Dockerfile") || e.Line != 4 ||
			e.Command.ExitCode != 42 || e.Command.Output != "[secret]" || !strings.Contains(e.Message, "exit code 42") {
			t.Errorf("the error is %+v, %+v", e, e.Command)
		}
		if image := r.Images[0]; image.Result != "failure" || image.Manifest != "" || image.Extended != "" || image.AddedLayers != 0 {
			t.Errorf("the image is %+v", image)
		}
		if a, b := r.results(0, 0), r.results(0, 1); a != "config done" || b != "done failed pending config" {
			t.Errorf("the steps are %s and %s", a, b)
		}
	})
}

// It is written whatever ends the run, once the inputs are understood.
func TestReportOfEveryEnd(t *testing.T) {
	base := "oci:" + smallBase(t, nil)
	t.Run("no engine", func(t *testing.T) {
		s := newScene(t, "run", base, engine{})
		s.step("one", "RUN true", "USER 7")
		s.args = append(s.args, "-report", s.path("report.json"))
		s.fail(103)
		r, text := readReport(t, s.path("report.json"))
		if r.ExitCode != 103 || r.Engine != nil || r.Images[0].Result != "incomplete" || r.results(0, 0) != "pending config" {
			t.Errorf("the report is %s", text)
		}
	})
	t.Run("no layer", func(t *testing.T) {
		s := newScene(t, "run", base, engine{})
		s.step("one", "ENV A=1", "USER 7")
		s.args = append(s.args, "-report", s.path("report.json"))
		s.succeed()
		if r, text := readReport(t, s.path("report.json")); r.ExitCode != 0 || r.Engine != nil || r.results(0, 0) != "config config" {
			t.Errorf("the report is %s", text)
		}
	})
	t.Run("group file", func(t *testing.T) {
		s := newScene(t, "run", base, engine{})
		s.write("layers/group.toml", "[")
		s.args = append(s.args, "-report", s.path("report.json"))
		s.fail(1)
		if r, text := readReport(t, s.path("report.json")); r.ExitCode != 1 || len(r.Images) != 0 || !strings.Contains(r.Error.Message, "group.toml") {
			t.Errorf("the report is %s", text)
		}
	})
	t.Run("signal", func(t *testing.T) {
		s := startSleeper(t, embedded(t), "-report", "report.json")
		check(t, s.command.Process.Signal(syscall.SIGTERM))
		s.wait()
		if r, text := readReport(t, s.path("report.json")); r.ExitCode != 143 || r.Result != "failure" || r.results(0, 0) == "" || strings.Contains(r.results(0, 0), "failed") {
			t.Errorf("the report is %s", text)
		}
	})
	t.Run("a place that is none", func(t *testing.T) {
		s := newScene(t, "run", base, engine{})
		s.step("one", "ENV A=1", "USER 7")
		s.args = append(s.args, "-report", s.path("layers/group.toml/report.json"))
		s.fail(1, "report")
	})
}

// Both images are in one report: the one that failed, and the one that was given up.
func TestReportOfBothKinds(t *testing.T) {
	s, _ := bothScene(t, embedded(t))
	s.both("one", "RUN echo the build image", "RUN exit 4\nUSER 7")
	s.args = append(s.args, "-report", s.path("report.json"))
	s.fail(102)
	r, text := readReport(t, s.path("report.json"))
	if len(r.Images) != 2 || r.Images[0].Kind != "build" || r.Images[0].Result != "incomplete" || r.Images[1].Kind != "run" || r.Images[1].Result != "failure" {
		t.Errorf("the report is %s", text)
	}
	s.write("layers/generated/one/run.Dockerfile", "ARG base_image\nFROM ${base_image}\nRUN true\nUSER 7\n")
	s.succeed()
	r, text = readReport(t, s.path("report.json"))
	for n, kind := range []string{"build", "run"} {
		if r.Images[n].Result != "success" || r.Images[n].Manifest != digest(t, s.of(kind).image()).String() || len(r.Images[n].Outputs) != 1 {
			t.Errorf("the report is %s", text)
		}
	}
}

// What the image below triggers is told apart, in order.
func TestReportOfTriggers(t *testing.T) {
	base := smallBase(t, func(config *v1.Config) {
		config.User = "0"
		config.OnBuild = []string{"RUN touch /tmp/a", "ENV B=1", "RUN false || sleep 0.1; touch /tmp/c"}
	})
	s := newScene(t, "run", "oci:"+base, embeddedIn(t, t.TempDir()))
	s.step("one", "RUN touch /tmp/d", "USER 7")
	s.args = append(s.args, "-report", s.path("report.json"))
	s.succeed()
	r, text := readReport(t, s.path("report.json"))
	steps := r.Images[0].Dockerfiles[0].Steps
	if r.results(0, 0) != "done config done done config" || !steps[0].Triggered || !steps[2].Triggered || steps[3].Triggered ||
		steps[2].Line != 2 || steps[2].Seconds < 0.1 || steps[3].Line != 3 {
		t.Errorf("the report is %s", text)
	}
}

// What was carried out early, to look a user up in what it made, counts as carried out,
// and not as found in the cache a moment later.
func TestReportOfWhatIsLookedInto(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.name == "embedded" {
			e = embeddedIn(t, t.TempDir())
		}
		s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
		s.step("one", "USER root", "RUN sleep 0.1; echo new:x:555:666::/:/bin/sh >>/etc/passwd", "USER new")
		s.step("two", "ARG user_id", "RUN echo $user_id >/tmp/x", "USER ${user_id}")
		s.args = append(s.args, "-report", s.path("report.json"))
		s.succeed()
		r, text := readReport(t, s.path("report.json"))
		if r.results(0, 0) != "config done config" || r.results(0, 1) != "config done config" || r.Images[0].Dockerfiles[0].Steps[1].Seconds < 0.1 {
			t.Errorf("the report is %s", text)
		}
		if args := r.Images[0].Dockerfiles[1].Args; len(args) != 3 || args[1].Value != "555" {
			t.Errorf("the args are %v", args)
		}
	})
}
