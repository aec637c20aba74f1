package acceptance

import (
	"path/filepath"
	"strings"
	"testing"
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
			t.Run("faults", func(t *testing.T) { faultsInContainers(t, p, e) })
		})
	}
}

// With every engine that can be had in a container, the application's image holds what
// the extensions installed.
func phasesInContainers(t *testing.T, p *buildPlatform, e containerEngine) {
	b := p.newBuild(t, e)
	b.prepare()
	o := b.finish(b.extender("run"))
	if !strings.Contains(o.stdout, e.says) {
		t.Errorf("the extender does not say %q: %v", e.says, o)
	}
	checkApp(t, b.start(b.export("app-"+e.name)))
	checkNoSecret(t, "the extender's output", []byte(o.stdout+o.stderr))
}

// checkApp looks at what the application in examples/ says when all that it asked for is
// there.
func checkApp(t *testing.T, said string) {
	t.Helper()
	for _, want := range []string{"Hello, world!", "Greetings from jq", "You are in the run image."} {
		if !strings.Contains(said, want) {
			t.Errorf("the application does not say %q:\n%s", want, said)
		}
	}
}
