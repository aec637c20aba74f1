package acceptance

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// bothScene is a scene in which both images are extended: the build image and the run
// image have a base of their own.
func bothScene(t *testing.T, e engine) (s *scene, bases map[string]string) {
	t.Helper()
	bases = map[string]string{
		"build": smallBase(t, func(config *v1.Config) { config.Env = append(config.Env, "OF=build") }),
		"run":   smallBase(t, func(config *v1.Config) { config.Env = append(config.Env, "OF=run") }),
	}
	s = newScene(t, "build", "build=oci:"+bases["build"]+",run=oci:"+bases["run"], e)
	s.args = []string{"-kind", "build,run", "-output", "build=oci:" + s.path("whole-build"), "-output", "run=oci:" + s.path("whole-run")}
	return s, bases
}

// both adds an extension that generated a Dockerfile for each image.
func (s *scene) both(id, build, run string) {
	s.t.Helper()
	const from = "ARG base_image\nFROM ${base_image}\n"
	s.kind = "build"
	s.extension(id, from+build+"\n", map[string]string{"run.Dockerfile": from + run + "\n"})
}

// of looks at one of the images.
func (s *scene) of(kind string) *scene {
	one := *s
	one.kind = kind
	return &one
}

// crossing is where visitors wait until as many are there as are expected.
func crossing(t *testing.T, expected int) (url string) {
	t.Helper()
	var mu sync.Mutex
	n, all, ended := 0, make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		if n++; n == expected {
			close(all)
		}
		mu.Unlock()
		select {
		case <-all:
			_, _ = io.WriteString(w, "go\n") // who has gone needs no answer
		case <-time.After(patience):
			http.Error(w, "nobody else comes", http.StatusGatewayTimeout)
		case <-ended:
		}
	}))
	t.Cleanup(func() { close(ended); server.Close() })
	return server.URL
}

// -kind build,run extends both images in one engine and side by side: a RUN of one can
// wait for a RUN of the other. They have the same build_id.
func TestBothKinds(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s, bases := bothScene(t, e)
		meet := "USER root\nARG build_id\nRUN echo $OF $build_id >/id && wget -q -O /dev/null " + crossing(t, 2) + "\n"
		s.both("acme/one", meet, meet+"USER 7")
		o := s.succeed()

		ids := map[string]string{}
		for kind, base := range bases {
			if got, want := digest(t, openLayout(t, s.path("whole-"+kind))), digest(t, s.of(kind).image()); got != want {
				t.Errorf("%s: -output has %v and <extended> %v", kind, got, want)
			}
			of, id, _ := strings.Cut(s.of(kind).files(openLayout(t, base))["id"], " ")
			if of != kind {
				t.Errorf("the %s image was made of the base for %q", kind, of)
			}
			ids[kind] = id
		}
		if !uuidPattern.MatchString(strings.TrimSpace(ids["run"])) || ids["run"] != ids["build"] {
			t.Errorf("the build ids are %q", ids)
		}
		if n := strings.Count(o.stdout, "Engine: "); n != 1 {
			t.Errorf("%d engines were opened: %v", n, o)
		}
		for _, want := range []string{
			`(?m)^build image: Base image `, `(?m)^run image: Base image `, `\[build acme/one\] RUN echo`, `\[run acme/one\] RUN echo`,
			`(?m)^Extended the build image`, `(?m)^Extended the run image`, `(?m)^The whole run image is in oci:`,
		} {
			if !regexp.MustCompile(want).MatchString(o.stdout) {
				t.Errorf("stdout does not match %q: %v", want, o)
			}
		}
	})
}

// When one of both images fails, the other is given up, nothing becomes visible of
// either, and earlier results stay.
func TestBothKindsOrNone(t *testing.T) {
	for name, c := range map[string]struct{ build, run, says string }{
		"the run image":   {"RUN sleep 0.1", "RUN echo no; exit 9", "run.Dockerfile:3: the command failed with exit code 9"},
		"the build image": {"RUN exit 9", "RUN sleep 1000", "build.Dockerfile:3: the command failed with exit code 9"},
		"late":            {"USER 5", "USER root\nRUN echo toor:x:0:0::/:/bin/sh >>/etc/passwd\nUSER toor", "it is root"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := bothScene(t, embedded(t))
			s.both("one", c.build, c.run+"\nUSER "+map[bool]string{true: "toor", false: "7"}[name == "late"])
			failing(t, s)
			s.write("layers/extended/build/sha256:earlier/result", "of an earlier run")
			o := failAlone(t, s, 102, c.says)
			if o.took > patience { // the other one sleeps for longer
				t.Errorf("it took %v", o.took)
			}
			for _, kind := range []string{"build", "run"} {
				if _, err := os.Stat(s.path("whole-" + kind)); err == nil {
					t.Errorf("there is a %s image: %v", kind, o)
				}
			}
		})
	}
}

// A daemon that is lost while both images are made is replaced for both.
func TestBothKindsLoseTheirDaemon(t *testing.T) {
	daemons := startPair(t)
	url, arrived, brought := meeting(t)
	s, _ := bothScene(t, engine{address: daemons.addresses()})
	s.env["CNB_APP_ID"] = "an application"
	visit := "LABEL old style\nARG build_id\nRUN wget -q -O /dev/null " + url + "/?$build_id"
	s.both("one", visit, visit+"\nUSER 7")
	probe := newScene(t, "run", "oci:"+smallBase(t, nil), engine{address: daemons.addresses()})
	probe.env["CNB_APP_ID"] = "an application"
	probe.step("one", "RUN touch /tmp/x", "USER 7")
	first := daemons.used(t, probe.succeed())
	outcomeOf := start(t, s.command())
	select {
	case <-arrived:
	case <-time.After(patience):
		t.Fatal("nothing runs")
	}
	check(t, daemons.daemons[first].Process.Kill())
	o := outcomeOf(patience)
	if o.code != 0 || daemons.used(t, o) == first || strings.Count(o.stderr, "lost in the midst of the build") != 1 {
		t.Fatalf("the other daemon is not used, or not with one warning: %v", o)
	}
	if n := strings.Count(o.stderr, "(LegacyKeyValueFormat)"); n != 2 {
		t.Errorf("2 findings are told %d times: %v", n, o)
	}
	for _, id := range brought() {
		if id != brought()[0] || id == "" {
			t.Errorf("the build ids are %q", brought())
		}
	}
	for _, kind := range []string{"build", "run"} {
		s.of(kind).extended()
	}
	endProcesses(t, url) // a killed daemon could not
}
