package acceptance

import (
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// inContainer is the extender on this scene in a container of the base image, a default
// one unless options of docker run say otherwise.
func (s *scene) inContainer(d *dockerDaemon, image, base string, options ...string) *exec.Cmd {
	return s.commandInContainer(d, image, base, nil, options...)
}

// commandInContainer is inContainer with words before the extender.
func (s *scene) commandInContainer(d *dockerDaemon, image, base string, before []string, options ...string) *exec.Cmd {
	local := s.command()
	args := []string{"run", "--rm", "--user", "0", "--network", "none",
		"--volume", s.dir + ":" + s.dir, "--volume", base + ":" + base + ":ro", "--volume", programs + ":/cnb/lifecycle:ro"}
	env := maps.Clone(s.env)
	for _, name := range []string{"CNB_STATE_DIR", "CNB_IN_CONTAINER", "PATH"} {
		delete(env, name)
	}
	// A build image is handed over to a builder.
	env["CNB_USER_ID"], env["CNB_GROUP_ID"] = "1001", "1000"
	for _, name := range slices.Sorted(maps.Keys(env)) {
		args = append(args, "--env", name+"="+env[name])
	}
	args = append(append(args, options...), image)
	args = append(append(args, before...), "/cnb/lifecycle/extender", "-builder", "/bin/true")
	return d.command(append(args, local.Args[1:]...)...)
}

// inPlaceTest is a daemon with an image whose containers are extended in place.
type inPlaceTest struct {
	docker *dockerDaemon
	base   string
}

func newInPlaceTest(t *testing.T) *inPlaceTest {
	t.Helper()
	p := &inPlaceTest{docker: startDocker(t), base: smallBase(t, func(c *v1.Config) {
		c.Env = append(c.Env, "OF_THE_BASE=1", "MORE_OF_THE_BASE=1")
		c.Labels = map[string]string{"io.buildpacks.base.distro.name": "small"}
	})}
	p.docker.load(t, "base:1", openLayout(t, p.base))
	p.docker.load(t, "other:1", smallImage(t, nil))
	return p
}

// step is a scene with a RUN.
func (p *inPlaceTest) step(t *testing.T, lines ...string) *scene {
	t.Helper()
	s := newScene(t, "run", "oci:"+p.base, engine{state: "unused"})
	s.step("ext", append(append([]string{"USER root"}, lines...), "USER 1001")...)
	return s
}

// What the in-place engine does in containers that are not as it needs them, and for RUNs
// that want more than theirs.
func TestInPlace(t *testing.T) {
	p := newInPlaceTest(t)
	t.Run("preflight", func(t *testing.T) {
		s := p.step(t, "RUN true")
		s.args = []string{"-preflight"}
		o := finish(t, s.inContainer(p.docker, "base:1", p.base))
		if o.code != 0 || !strings.HasPrefix(o.stdout, "Engine: in-place BuildKit v") || !strings.Contains(o.stdout, "RUN not isolated, as with kaniko") {
			t.Errorf("%v", o)
		}
	})
	for name, test := range map[string]struct {
		image   string
		options []string
		args    []string
		want    string
	}{
		"read-only root":   {"base:1", []string{"--read-only"}, nil, "without a read-only root"},
		"not root":         {"base:1", []string{"--user", "1001"}, []string{"-preflight"}, "start the container as root"},
		"embedded only":    {"base:1", nil, []string{"-engine", "embedded"}, "the embedded BuildKit engine cannot run here"},
		"no container":     {"base:1", nil, []string{"-engine", "inplace", "-in-container=false"}, "would change this machine itself"},
		"of another image": {"other:1", nil, nil, "whose environment lacks OF_THE_BASE, MORE_OF_THE_BASE"},
	} {
		t.Run(name, func(t *testing.T) {
			s := p.step(t, "RUN true")
			s.args = append(s.args, test.args...)
			o := finish(t, s.inContainer(p.docker, test.image, p.base, test.options...))
			if o.code != 103 || !strings.Contains(o.stderr, test.want) {
				t.Errorf("wanted exit code 103 and %q: %v", test.want, o)
			}
		})
	}
	t.Run("credentials", func(t *testing.T) { credentialsInPlace(t, p) })
	t.Run("own files", func(t *testing.T) { ownFilesInPlace(t, p) })
	t.Run("again", func(t *testing.T) { againInPlace(t, p) })
}

// A RUN reads the extender's memory and environment nowhere, also in a container that may
// look into processes: what can find credentials there is taken from it.
func credentialsInPlace(t *testing.T, p *inPlaceTest) {
	s := p.step(t,
		// What may be opened may be read, though not at every place: memory not at the beginning.
		"RUN for f in environ mem maps fd/0; do ( : </proc/1/$f ) 2>/dev/null && echo le''ak /proc/1/$f; done; true",
		`RUN --mount=type=secret,id=key,target=/key cat /key >/dev/null && echo ${#GRAFT_SECRET} in the environment`,
		"RUN ls /key /dev/shm 2>&1 | sed s/^/left:/")
	s.env["CNB_REGISTRY_AUTH"] = `{"registry.example.com":"Bearer of-the-registry"}`
	s.env["GRAFT_SECRET"] = "of-the-extender"
	s.args = append(s.args, "-secret", "id=key,env=GRAFT_SECRET")
	for _, options := range [][]string{nil, {"--cap-add", "SYS_PTRACE"}} {
		o := finish(t, s.inContainer(p.docker, "base:1", p.base, options...))
		if o.code != 0 || strings.Contains(o.stdout, "leak") || !strings.Contains(o.stdout, "0 in the environment") {
			t.Errorf("%q: %v", options, o)
		}
		for _, secret := range []string{"of-the-registry", "of-the-extender", "left:/key\n", "left:graft"} {
			if strings.Contains(o.stdout+o.stderr, secret) {
				t.Errorf("%q is told: %v", secret, o)
			}
		}
	}
}

// In a container that was extended already, the same is there at once, more can follow,
// and a step that failed is the end.
func againInPlace(t *testing.T, p *inPlaceTest) {
	s := p.step(t, "RUN echo once >>/log")
	more := p.step(t, "RUN echo once >>/log", "RUN echo twice >>/log && cat /log && exit 3")
	script := []string{"sh", "-c", `"$@"; echo code $?; CNB_LAYERS_DIR=` + more.path("layers") + ` "$@"; echo code $?; "$@"; echo code $?`, "sh"}
	o := finish(t, s.commandInContainer(p.docker, "base:1", p.base, script, "--volume", more.dir+":"+more.dir))
	var codes []string
	for line := range strings.Lines(o.stdout) {
		if code, ok := strings.CutPrefix(line, "code "); ok {
			codes = append(codes, strings.TrimSpace(code))
		}
	}
	if !slices.Equal(codes, []string{"0", "102", "103"}) || !strings.Contains(o.stderr, "start again in a new container") {
		t.Errorf("the exit codes are %q: %v", codes, o)
	}
	if !strings.Contains(o.stdout, "once\n") || strings.Contains(o.stdout, "once\nonce") {
		t.Errorf("the first step was not there just once: %v", o)
	}
}

// What the extender writes itself is in no layer, wherever in the container that is.
func ownFilesInPlace(t *testing.T, p *inPlaceTest) {
	s := p.step(t, "RUN echo loud; sleep 1; touch /touched", "RUN echo loud; sleep 1")
	s.args = append(s.args, "-progress-file", "/tmp/progress", "-report", "/tmp/report", "-output", "oci:"+s.path("whole"))
	delete(s.env, "CNB_PROGRESS")
	if o := finish(t, s.inContainer(p.docker, "base:1", p.base)); o.code != 0 {
		t.Fatalf("%v", o)
	}
	layers, err := openLayout(t, s.path("whole")).Layers()
	check(t, err)
	if tree := layerTree(t, layers[2]); len(tree) != 1 || tree["touched"] == "" {
		t.Errorf("the first layer has %v", tree)
	}
	if tree := layerTree(t, layers[3]); len(tree) != 0 {
		t.Errorf("the second layer has %v", tree)
	}
}
