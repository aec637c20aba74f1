package acceptance

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowedNamespaces are the options of docker run under which a container may make user
// namespaces, but neither mount outside of one, nor mount a /proc in one.
var allowedNamespaces = []string{"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"}

// Where user namespaces are allowed the embedded engine is chosen, not the one in place; where
// no /proc can be mounted it shares the container's processes, and whatever ends it, it
// leaves none there.
func userNamespacesInContainers(t *testing.T, p *buildPlatform) {
	e := containerEngine{"userns", allowedNamespaces, "but not from this container's processes", true}
	kaniko := t.TempDir()
	for name, test := range map[string]func(*testing.T, *appBuild){
		"preflight":                func(t *testing.T, b *appBuild) { saysIsolation(t, b.finish(b.extender("run", "-preflight")), e) },
		"both kinds":               func(t *testing.T, b *appBuild) { extendsBothKinds(t, b, e) },
		"a RUN that fails":         runThatFails,
		"a RUN that leaves daemon": runThatLeavesDaemons,
		"a RUN that looks around":  runThatLooksAround,
		"told to end":              toldToEnd,
		"killed":                   killedInContainer,
		"killed beside others":     killedBesideOthers,
	} {
		t.Run(name, func(t *testing.T) {
			b := p.newBuild(t, e)
			b.kaniko = kaniko
			test(t, b)
		})
	}
	t.Run("unmasked", func(t *testing.T) {
		e.says = "in a user namespace (overlayfs), RUN isolated in its own mount, pid, ipc and uts namespaces"
		b := p.newBuild(t, e)
		b.options = slices.Concat(b.options, []string{"--security-opt", "systempaths=unconfined"})
		saysIsolation(t, b.finish(b.extender("run", "-preflight")), e)
	})
}

func saysIsolation(t *testing.T, o outcome, e containerEngine) {
	t.Helper()
	if !strings.Contains(o.stdout, "embedded BuildKit") || !strings.Contains(o.stdout, e.says) {
		t.Errorf("the extender does not say %q: %v", e.says, o)
	}
}

// extendsBothKinds extends the run image, and the build image up to the hand-over.
func extendsBothKinds(t *testing.T, b *appBuild, e containerEngine) {
	b.step("RUN echo one >/srv/one && chown 33:44 /srv/one")
	saysIsolation(t, b.finish(b.extender("run")), e)
	b.write("workspace/build.sh", "cp /srv/one /layers/said && exit 51\n")
	if o := finish(t, b.extender("build")); o.code != 51 {
		t.Errorf("the builder does not find what the extension made: %v", o)
	}
}

// When the extender is not the container's first process its end is not that of the container.
func killedBesideOthers(t *testing.T, b *appBuild) {
	mark := uniqueSeconds()
	name := "graft-test-" + mark
	b.step("RUN sleep " + mark + " & setsid -f sleep " + mark + "; sleep " + mark)
	b.options = slices.Concat(b.options, []string{"--name", name})
	c := besideShell(b.extender("run"))
	check(t, c.Start())
	t.Cleanup(func() {
		endProcesses(t, name)
		_ = c.Wait() // it was killed
	})
	eventually(t, "the RUN runs", func() bool { return len(processesWith(t, "sleep\x00"+mark)) == 3 })
	b.docker.docker(t, "exec", name, "sh", "-c", "kill -9 $(cat /tmp/extender)")
	left := ""
	eventually(t, "nothing is left beside the first process", func() bool {
		left = b.docker.docker(t, "top", name, "-o", "pid,args")
		return strings.Count(left, "\n") == 1 && strings.Contains(left, "sleep 1000")
	})
	b.docker.docker(t, "kill", name)
	b.noResult()
}

// besideShell makes the extender's container one whose first process is a shell, which
// outlives it.
func besideShell(extender *exec.Cmd) *exec.Cmd {
	i := slices.Index(extender.Args, "/cnb/lifecycle/extender")
	extender.Args[i] = "/bin/sh"
	extender.Args = slices.Insert(extender.Args, i+2, "-c",
		`/cnb/lifecycle/extender "$@" & echo $! >/tmp/extender; wait; exec sleep 1000`, "sh")
	return extender
}
