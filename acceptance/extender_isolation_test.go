package acceptance

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// A RUN sees the image that is extended and nothing of the extender: neither its
// files nor its environment nor its processes; and what it sees leaves no trace of
// the machine in a layer.
func TestRunIsIsolated(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		base := smallBase(t, nil)
		s := newScene(t, "run", "oci:"+base, e)
		s.write("home/.docker/config.json", `{"auths": {}}`)
		s.write("marker", "of the extender's machine")
		s.env["GRAFT_TEST_SECRET"] = "from-the-extenders-environment"
		s.step("look", "USER root",
			"RUN test ! -e /root/.docker",
			"RUN test ! -e "+s.path("marker")+" && test ! -e "+s.dir,
			"RUN test ! -e "+s.env["HOME"],
			"RUN env | grep -v -e ^OTEL_ -e ^TRACEPARENT= | sort >/see-env", // a daemon tells where its traces go,
			"RUN ls / | grep -v see- >/see-root",
			"RUN ls /proc | grep '^[0-9]*$' >/see-processes; cat /proc/1/cmdline | tr '\\0' ' ' >/see-first",
			"RUN hostname >/see-hostname",
			"RUN cat /proc/self/mountinfo >/see-mounts",
			"RUN ls -l /proc/self/fd >/see-fds",
			"USER 9")
		s.succeed()
		files := s.files(openLayout(t, base))

		if got, want := files["see-env"], "FROM_BASE=yes\nHOME=/root\nPATH=/bin\nPWD=/\nSHLVL=1\n"; got != want {
			t.Errorf("the environment of a RUN is %q, wanted %q", got, want)
		}
		if got := strings.Fields(files["see-root"]); !slices.Equal(got, []string{"bin", "data", "dev", "etc", "home", "proc", "root", "sys", "tmp"}) {
			t.Errorf("a RUN sees in / %v", got)
		}
		if n := len(strings.Fields(files["see-processes"])); n < 1 || n > 4 {
			t.Errorf("a RUN sees %d processes: %q", n, files["see-processes"])
		}
		if first := files["see-first"]; !strings.HasPrefix(first, "/bin/sh -c") {
			t.Errorf("process 1 of a RUN is %q", first)
		}
		name, err := os.Hostname()
		check(t, err)
		if got := strings.TrimSpace(files["see-hostname"]); got == name {
			t.Errorf("a RUN sees the machine's name, %q", got)
		}
		if fds := files["see-fds"]; strings.Contains(fds, s.dir) {
			t.Errorf("a RUN has the extender's files open: %s", fds)
		}
		for name, content := range files {
			if strings.Contains(content, "from-the-extenders-environment") || strings.Contains(content, "GRAFT_TEST_SECRET") {
				t.Errorf("%s holds the extender's secret", name)
			}
		}
	})
}

// A layer holds what the instruction changed, and not one entry more: none of the
// files that an engine puts in the way of a RUN (resolv.conf, hosts, mounts), and
// nothing that names the machine.
func TestLayersHoldWhatChanged(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		base := smallBase(t, nil)
		s := newScene(t, "run", "oci:"+base, e)
		s.step("one", "USER root",
			"RUN cat /etc/resolv.conf /etc/hosts >/dev/null 2>&1; touch /new",
			"RUN rm /data/old/file",
			"RUN --mount=type=cache,target=/var/cache/x --mount=type=tmpfs,target=/scratch echo y >/var/cache/x/y; echo z >/scratch/z; touch /newer",
			"COPY file /copied/",
			"RUN true",
			"USER 9")
		s.write("app/file", "content")
		s.succeed()
		want := [][]string{
			{"new"},
			{"data", "data/old", "data/old/.wh.file"},
			{"newer"},
			{"copied", "copied/file"},
			nil,
		}
		layers := s.added(openLayout(t, base))
		if len(layers) != len(want) {
			t.Fatalf("%d layers, wanted %d", len(layers), len(want))
		}
		host, err := os.Hostname()
		check(t, err)
		for i, layer := range layers {
			headers, contents := layerEntries(t, layer)
			if names := slices.Sorted(maps.Keys(headers)); !slices.Equal(names, want[i]) {
				t.Errorf("layer %d holds %v, wanted %v", i, names, want[i])
			}
			for name, content := range contents {
				for _, text := range []string{s.dir, s.env["HOME"], host + "."} {
					if strings.Contains(name+content, text) {
						t.Errorf("layer %d: %s names the machine: %q", i, name, text)
					}
				}
			}
		}
	})
}
