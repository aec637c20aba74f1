package acceptance

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// address is the daemon as an engine.
func (d *dockerDaemon) engine() engine {
	return engine{name: "docker", address: "docker://" + strings.TrimPrefix(d.host, "unix://")}
}

// images are the names and ids of all images of the daemon.
func (d *dockerDaemon) images(t *testing.T) string {
	t.Helper()
	return d.docker(t, "images", "--all", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
}

// Docker's own BuildKit is an engine: what it makes of a base in a layout, in itself and
// in a registry is what the embedded engine makes of it, and nothing is left of it but
// what it caches.
func TestDockerAsEngine(t *testing.T) {
	d := startDocker(t)
	r := newRegistry(t, (*httptest.Server).Start)
	image := smallImage(t, nil)
	r.push(t, "base:tag", image)
	d.load(t, "own:1", image)
	before := d.images(t)
	for _, base := range []string{"oci:" + smallBase(t, nil), "docker:own:1", r.host + "/base:tag"} {
		t.Run(base, func(t *testing.T) {
			make := func(e engine) (*scene, outcome) {
				s := newScene(t, "run", base, e)
				s.env["DOCKER_HOST"] = d.host
				s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
				s.env["SECRET"] = secretOfVariable
				s.env["CNB_SECRETS"] = "id=SECRET"
				s.write("app/file", "content")
				s.step("one", "USER root", "RUN --network=none cat /data/old/file >/seen && rm /data/old/file", "COPY --chown=daemon file /copied")
				s.step("two", "RUN --network=none --mount=type=secret,id=SECRET test -s /run/secrets/SECRET; mkdir /dir; chown 7:8 /dir", "ENV A=b=c", "USER cnb")
				o := s.succeed("-output", "oci:"+s.path("whole"))
				checkNowhere(t, s, o, engine{}, secretOfVariable, registryPassword)
				return s, o
			}
			reference, _ := make(embedded(t))
			s, o := make(d.engine())
			if !strings.Contains(o.stdout, "Engine: BuildKit of Docker ") {
				t.Errorf("the engine is not named: %v", o)
			}
			validateImage(t, openLayout(t, s.path("whole")))
			ofDocker := fileTree(t, unpack(t, openLayout(t, s.path("whole"))))
			delete(ofDocker, "run") // where old BuildKits mount a secret they leave
			delete(ofDocker, "run/secrets")
			compareTrees(t, "embedded", fileTree(t, unpack(t, openLayout(t, reference.path("whole")))), "docker", ofDocker)
			a, b := configOf(t, reference.image()), configOf(t, s.image())
			if !slices.Equal(a.Config.Env, b.Config.Env) || a.Config.User != b.Config.User || !maps.Equal(a.Config.Labels, b.Config.Labels) {
				t.Errorf("the configs are %v and %v", a.Config, b.Config)
			}
			again, o := make(d.engine())
			if len(o.cached()) == 0 {
				t.Errorf("nothing is cached: %v", o)
			}
			if before, now := digest(t, s.image()), digest(t, again.image()); now != before {
				t.Errorf("the second time it is %v, and was %v", now, before)
			}
		})
	}
	if after := d.images(t); !sameBut(before, after, r.host) {
		t.Errorf("the daemon's images were\n%s\nand are\n%s", before, after)
	}
}

// sameBut compares lines, without those that hold a text.
func sameBut(a, b, without string) bool {
	keep := func(text string) []string {
		return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.Contains(line, without) })
	}
	return slices.Equal(keep(a), keep(b))
}

// A RUN that fails in Docker's BuildKit is told with extension, line and output; one that
// is cut off ends soon. Neither leaves an image.
func TestDockerAsEngineFails(t *testing.T) {
	d := startDocker(t)
	base := "oci:" + smallBase(t, nil)
	s := newScene(t, "run", base, d.engine())
	s.step("one", "USER root", "RUN --network=none echo told; false", "USER 7")
	s.fail(102, "extension one", "run.Dockerfile:4", "exit code 1", "    told")

	s = newScene(t, "run", base, d.engine())
	mark := uniqueSeconds()
	s.step("one", "USER root", "RUN --network=none sleep "+mark, "USER 7")
	c := s.command()
	outcomeOf := start(t, c)
	eventually(t, "the RUN runs", func() bool { return len(processesWith(t, "sleep\x00"+mark)) > 0 })
	check(t, c.Process.Signal(syscall.SIGTERM))
	if o := outcomeOf(patience); o.code != 143 {
		t.Errorf("wanted exit code 143: %v", o)
	}
	eventually(t, "the RUN ends", func() bool { return len(processesWith(t, "sleep\x00"+mark)) == 0 })
	if left := d.images(t); left != "" {
		t.Errorf("the daemon has\n%s", left)
	}

	s.env["BUILDKIT_HOST"] = "docker://" + s.path("nobody.sock")
	s.fail(103, s.path("nobody.sock"), "does not answer")
	s.env["BUILDKIT_HOST"] = "docker://nonsense"
	s.fail(103, "docker://host:port")
}

// docker:// alone is the daemon that DOCKER_HOST names, and -preflight says so.
func TestPreflightOfDocker(t *testing.T) {
	d := startDocker(t)
	s := newScene(t, "run", "", engine{address: "docker://"})
	s.env["DOCKER_HOST"] = d.host
	o := s.succeed("-preflight")
	if !strings.Contains(o.stdout, "BuildKit of Docker ") || !strings.Contains(o.stdout, d.host) {
		t.Errorf("the engine is not named: %v", o)
	}
}
