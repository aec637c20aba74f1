package acceptance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// containerEngine is an engine as the extender has it in a container.
type containerEngine struct {
	name string
	// options are those of docker run that make it the one that is chosen.
	options []string
	// says is what the extender says of it.
	says string
	// ownCache says that it keeps its cache in the volume /kaniko.
	ownCache bool
}

// allowedToMount are the options of docker run under which the embedded engine runs in a
// container. --privileged is more than that, and more than some machines that tests run
// on have themselves.
var allowedToMount = []string{"--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined",
	"--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined",
	"--volume", "/sys/fs/cgroup:/sys/fs/cgroup"}

// containerEngines are all engines that there are in containers. The daemon is on this
// machine.
func containerEngines(t *testing.T) []containerEngine {
	t.Helper()
	daemon := buildkitd(t)
	return []containerEngine{
		{"inplace", nil, "in-place BuildKit", true},
		{"embedded", allowedToMount, "by its own OCI runtime", true},
		{"remote", []string{"--volume", filepath.Dir(strings.TrimPrefix(daemon.address, "unix://")) + ":/buildkit",
			"--env", "BUILDKIT_HOST=unix:///buildkit/buildkitd.sock"}, "unix:///buildkit/buildkitd.sock", false},
	}
}

// A platform runs each phase in a container. All tests of that share one of Docker's
// daemons and its images.
func TestInContainers(t *testing.T) {
	p := newBuildPlatform(t)
	for _, e := range containerEngines(t) {
		t.Run(e.name, func(t *testing.T) {
			t.Run("phases", func(t *testing.T) { phasesInContainers(t, p, e) })
			if e.name == "inplace" {
				t.Run("refusals", func(t *testing.T) { refusalsInContainers(t, p, e) })
			}
			t.Run("faults", func(t *testing.T) { faultsInContainers(t, p, e) })
		})
	}
	t.Run("userns", func(t *testing.T) { userNamespacesInContainers(t, p) })
}

// Two applications are built at the same time, and for each the build image and the run
// image are extended at the same time, in containers that share one cache. All succeed,
// and the applications' images hold what each asked for.
func phasesInContainers(t *testing.T, p *buildPlatform, e containerEngine) {
	one, other := p.newBuild(t, e), p.newBuild(t, e)
	other.kaniko = one.kaniko
	other.write("workspace/Aptfile", "hello\njq\ned\n")
	other.write("workspace/greet.sh", "set -e\ncat /etc/motd\nhello\njq -r .greeting greeting.json\ned --version\n")
	extenders := map[string]func(time.Duration) outcome{}
	for name, b := range map[string]*appBuild{"one": one, "other": other} {
		// What the tests' builder is to do in the extended build image.
		b.write("workspace/build.sh", "cd /workspace && sh greet.sh >/layers/said && exit 51\n")
		b.prepare()
		for _, kind := range []string{"build", "run"} {
			extenders[name+" "+kind] = start(t, b.extender(kind))
		}
	}
	wanted := map[string]int{"one build": 51, "one run": 0, "other build": 51, "other run": 0}
	for name, outcomeOf := range extenders {
		o := outcomeOf(5 * patience)
		if o.code != wanted[name] || !strings.Contains(o.stdout, e.says) {
			t.Errorf("%s: wanted exit code %d, and that the extender says %q: %v", name, wanted[name], e.says, o)
		}
		checkNoSecret(t, "the extender's output", []byte(o.stdout+o.stderr))
	}
	if t.Failed() {
		return
	}
	for name, b := range map[string]*appBuild{"one": one, "other": other} {
		checkBuilder(t, b)
		checkApp(t, "run", b.start(b.export("app-"+name+"-"+e.name)))
		checkAgain(t, b)
	}
}

// checkAgain extends the run image once more, in a new container: all comes from the
// cache, and gives the same.
func checkAgain(t *testing.T, b *appBuild) {
	t.Helper()
	before, err := os.ReadDir(b.path("layers/extended/run"))
	check(t, err)
	o := b.finish(b.extender("run"))
	after, err := os.ReadDir(b.path("layers/extended/run"))
	check(t, err)
	if len(before) != 1 || len(after) != 1 || before[0].Name() != after[0].Name() {
		t.Errorf("the extended run image was %v, and is %v", before, after)
	}
	if len(o.cached()) == 0 || strings.Contains(o.stdout, "Unpacking jq") {
		t.Errorf("a new container does not use the cache: %v", o)
	}
}

// In place is refused before anything runs where it cannot be, with the reason.
func refusalsInContainers(t *testing.T, p *buildPlatform, e containerEngine) {
	for name, c := range map[string]struct {
		options []string
		lines   []string
		says    string
	}{
		"read-only root": {[]string{"--read-only"}, []string{"RUN true"}, "read-only root"},
		"not root":       {[]string{"--user", "1001:1000"}, []string{"RUN true"}, "start the container as root"},
		"another image":  {nil, []string{"COPY --from=" + p.builder.reference + " /etc/passwd /srv/"}, "is not the base image"},
	} {
		t.Run(name, func(t *testing.T) {
			b := p.newBuild(t, e)
			b.options = slices.Concat(b.options, c.options)
			b.step(c.lines...)
			o := finish(t, b.extender("run"))
			if o.code != 102 && o.code != 103 || !strings.Contains(o.stderr, c.says) {
				t.Errorf("wanted exit code 102 or 103 and %q: %v", c.says, o)
			}
			b.noResult()
		})
	}
}

// checkBuilder looks at what the tests' builder has recorded (CONTRACT 7.6), and at what
// it could make of the packages that the extension installed.
func checkBuilder(t *testing.T, b *appBuild) {
	t.Helper()
	record := recordOfBuilder(t, b.path("layers/builder.json"))
	if record.UID != builderUID || record.GID != builderGID || record.Dir != "/" || record.PID != 1 ||
		!slices.Equal(record.Args, []string{"/cnb/lifecycle/builder"}) || !slices.Equal(record.Groups, []int{builderGID}) {
		t.Errorf("the builder is %+v", record)
	}
	for name, value := range record.Status {
		if strings.HasPrefix(name, "Cap") && strings.Trim(value, "0") != "" {
			t.Errorf("the builder has the capabilities %s %s", name, value)
		}
	}
	checkEnvironment(t, record.Environment, map[string]string{
		"HOME": "/home/cnb", "USER": "cnb", "CNB_LAYERS_DIR": "/layers", "CNB_APP_DIR": "/workspace", "CNB_PLATFORM_API": "0.13",
	}, "CNB_REGISTRY_AUTH")
	said, err := os.ReadFile(b.path("layers/said"))
	check(t, err)
	checkApp(t, "build", string(said))
}

// checkApp looks at what an application like the one in examples/ says in an image of a
// kind, when all that it asked for is there.
func checkApp(t *testing.T, kind, said string) {
	t.Helper()
	for _, want := range []string{"Hello, world!", "Greetings from jq", "You are in the " + kind + " image."} {
		if !strings.Contains(said, want) {
			t.Errorf("the application does not say %q:\n%s", want, said)
		}
	}
}
