package acceptance

import (
	"path/filepath"
	"strings"
	"testing"
)

// allowedToMount are the options of docker run under which the embedded engine runs in a
// container. --privileged is more than that, and more than some machines that tests run
// on have themselves.
var allowedToMount = []string{"--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined",
	"--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined",
	"--volume", "/sys/fs/cgroup:/sys/fs/cgroup"}

// A platform runs each phase in a container: with every engine that can be had there,
// the application's image holds what the extensions installed.
func TestPhasesInContainers(t *testing.T) {
	p := newBuildPlatform(t)
	daemon := buildkitd(t)
	engines := []struct {
		name    string
		options []string
		said    string
	}{
		{"embedded", allowedToMount, "by its own OCI runtime"},
		{"remote", []string{"--volume", filepath.Dir(strings.TrimPrefix(daemon.address, "unix://")) + ":/buildkit",
			"--env", "BUILDKIT_HOST=unix:///buildkit/buildkitd.sock"}, "unix:///buildkit/buildkitd.sock"},
	}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			b := p.newBuild(t)
			b.options = e.options
			b.prepare()
			o := b.finish(b.extender("run"))
			if !strings.Contains(o.stdout, e.said) {
				t.Errorf("the extender does not say %q: %v", e.said, o)
			}
			checkApp(t, b.start(b.export("app-"+e.name)))
			checkNoSecret(t, "the extender's output", []byte(o.stdout+o.stderr))
		})
	}
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
