package acceptance

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// In a platform's container the build image is extended where it stands, and the builder
// takes the extender's place: with what the extensions installed, with the environment of
// the extended image, as the build user and with no privilege (platform.md, "extender").
func TestHandover(t *testing.T) {
	base := smallBase(t, func(config *v1.Config) { config.Env = append(config.Env, "WHICH=of the base") })
	t.Run("buildkitd", func(t *testing.T) {
		c := newCell(t, base, buildkitd(t))
		testHandover(t, c)
		for _, name := range []string{"/workspace/bad", "/layers/bad", "/platform/bad", "/kaniko/bad"} {
			if got := c.content(name); got != "" {
				t.Errorf("%s is there: %q", name, got)
			}
		}
	})
	t.Run("in place", func(t *testing.T) { testHandover(t, newCell(t, base, engine{})) })
}

func testHandover(t *testing.T, c *cell) {
	t.Helper()
	c.extension("build",
		`ENV GREETING="a=b=c d" WHICH="of the extended image" HOME=/wrong USER=wrong CNB_LAYERS_DIR=/wrong`,
		"USER root",
		"RUN echo 'echo from the tool' >/bin/tool; chmod +x /bin/tool; rm /data/old/file",
		"RUN sed -i s,/home/cnb,/home/renamed, /etc/passwd; echo extra:x:2001:daemon,cnb >>/etc/group; echo other:x:2002:daemon >>/etc/group",
		"RUN mkdir -p /cnb/lifecycle; echo replaced >/cnb/lifecycle/new; mv /cnb/lifecycle/new /cnb/lifecycle/extender",
		"RUN mkdir -p /workspace /layers /platform /kaniko; echo bad | tee /workspace/bad /layers/bad /platform/bad /kaniko/bad >/dev/null",
	)
	for name, value := range map[string]string{
		"CNB_REGISTRY_AUTH": `{"x.invalid": "Basic dTpzZWNyZXQ="}`, "CNB_SECRETS": "id=token,env=TOKEN", "TOKEN": "hush",
		"PLATFORMS_OWN": "kept=as it is", "CNB_EXEC_ENV": "test", "CNB_APP_DIR": "/workspace",
	} {
		c.env[name] = value
	}
	c.write("/workspace/build.sh", "tool; echo $GREETING; touch /layers/by-the-builder || exit 9; exit 51\n")
	o := c.extend("build", "-log-level", "debug", "-plan", "/layers/other-plan.toml")
	if o.code != 51 || !strings.Contains(o.stdout, "from the tool\na=b=c d\n") {
		t.Fatalf("wanted the builder's exit code 51, and what it said: %v", o)
	}
	b := c.built()
	if b.UID != 1001 || b.GID != 1000 || b.Dir != "/" || !slices.Equal(b.Args, []string{"/cnb/lifecycle/builder"}) || b.PID != 1 {
		t.Errorf("the builder is %+v", b)
	}
	if slices.Sort(b.Groups); !slices.Equal(b.Groups, []int{1000, 2001}) {
		t.Errorf("its groups are %v", b.Groups)
	}
	for set, value := range b.Status {
		if strings.HasPrefix(set, "Cap") && strings.Trim(value, "0") != "" {
			t.Errorf("%s is %s", set, value)
		}
	}
	for descriptor, file := range b.Files {
		limits := []string{"cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"} // of a control group, version 2 or 1
		own := strings.HasPrefix(file, "anon_inode:") ||
			strings.HasPrefix(file, "/sys/fs/cgroup/") && slices.Contains(limits, filepath.Base(file)) // Go's
		if !own && !slices.Contains([]string{"0", "1", "2"}, descriptor) {
			t.Errorf("the builder has %s open, as %s", file, descriptor)
		}
	}
	checkEnvironment(t, b.Environment, map[string]string{
		"GREETING": "a=b=c d", "WHICH": "of the extended image", "FROM_BASE": "yes", "PLATFORMS_OWN": "kept=as it is",
		"HOME": "/home/renamed", "USER": "cnb", "PATH": "/bin",
		"CNB_PLATFORM_API": "0.15", "CNB_EXEC_ENV": "test", "CNB_APP_DIR": "/workspace", "CNB_LAYERS_DIR": "/layers",
		"CNB_ANALYZED_PATH": "/layers/analyzed.toml", "CNB_GROUP_PATH": "/layers/group.toml", "CNB_PLAN_PATH": "/layers/other-plan.toml",
		"CNB_BUILDPACKS_DIR": "/cnb/buildpacks", "CNB_BUILD_CONFIG_DIR": "/cnb/build-config", "CNB_PLATFORM_DIR": "/platform",
		"CNB_LOG_LEVEL": "debug",
	}, "CNB_REGISTRY_AUTH", "CNB_SECRETS", "TOKEN")

	for name, want := range map[string]string{"/data/old/file": "", "/bin/tool": "echo from the tool\n", "/cnb/lifecycle/extender": "replaced\n"} {
		if got := c.content(name); got != want {
			t.Errorf("%s is %.20q, wanted %q", name, got, want)
		}
	}
}

// The builder inherits what the platform started the extender with, and a RUN in place
// does not: umask 022 and no open files, as with any engine.
func TestHandoverOfInheritance(t *testing.T) {
	c := newCell(t, smallBase(t, nil), engine{})
	c.extension("build", "USER root", "RUN umask; mkdir /made; stat -c %a /made; (echo written >&9) 2>/dev/null || echo closed")
	script := `umask 077; exec 9>/layers/nine; exec "$0" "$@"`
	o := finish(t, c.command("/bin/sh", "-c", script, "/cnb/lifecycle/extender", "-kind", "build"))
	if o.code != 0 || !strings.Contains(o.stdout, "0022\n") || !strings.Contains(o.stdout, "755\n") || !strings.Contains(o.stdout, "closed\n") {
		t.Fatalf("wanted umask 022 and a closed descriptor in the RUN: %v", o)
	}
	b := c.built()
	if b.Status["Umask"] != "0077" || b.Files["9"] != "/layers/nine" {
		t.Errorf("the builder has umask %s, and open are %v", b.Status["Umask"], b.Files)
	}
	if got := c.content("/layers/nine"); got != "" {
		t.Errorf("the RUN wrote %q", got)
	}
}

// checkEnvironment compares an environment with what must be in it, and what must not.
func checkEnvironment(t *testing.T, environment []string, want map[string]string, never ...string) {
	t.Helper()
	got := map[string]string{}
	for _, variable := range environment {
		name, value, _ := strings.Cut(variable, "=")
		if _, twice := got[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		got[name] = value
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, wanted %q", name, got[name], value)
		}
	}
	for _, name := range never {
		if value, ok := got[name]; ok {
			t.Errorf("%s is there: %q", name, value)
		}
	}
}

// <layers> is the build user's when the builder starts, but nothing becomes it through a
// link: neither symbolic nor a further name of a file that is elsewhere.
func TestHandoverGivesLayers(t *testing.T) {
	c := newCell(t, smallBase(t, nil), engine{})
	c.extension("build", "ENV A=1")
	c.write("/layers/sub/dir/file", "")
	c.write("/layers/twice", "")
	check(t, os.Link(c.inside("/layers/twice"), c.inside("/layers/sub/again")))
	outside := filepath.Join(c.dir, "outside")
	check(t, os.WriteFile(outside, nil, 0o600))
	check(t, os.Link(outside, c.inside("/layers/linked")))
	check(t, os.Symlink("/etc/passwd", c.inside("/layers/symlink")))
	if o := c.extend("build"); o.code != 0 {
		t.Fatal(o)
	}
	c.built()
	check(t, filepath.WalkDir(c.shared["/layers"], func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		owner, want := ownerOf(t, path), 1001
		if entry.Name() == "linked" {
			want = 0
		}
		if owner != want {
			t.Errorf("%s belongs to %d, wanted %d", path, owner, want)
		}
		return nil
	}))
	for _, path := range []string{outside, c.inside("/etc/passwd")} {
		if owner := ownerOf(t, path); owner != 0 {
			t.Errorf("%s belongs to %d", path, owner)
		}
	}
}

func ownerOf(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Lstat(path)
	check(t, err)
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

// A chain without a layer needs no engine, and its environment counts all the same. A
// user that /etc/passwd does not know has no name, and the root directory as home.
func TestHandoverWithoutLayers(t *testing.T) {
	c := newCell(t, smallBase(t, nil), engine{})
	c.extension("build", "ENV ONLY=this")
	c.env["CNB_USER_ID"] = "4321"
	c.env["BUILDKIT_HOST"] = "unix:///no/such/socket"
	if o := c.extend("build", "-gid", "8765"); o.code != 0 {
		t.Fatal(o)
	}
	b := c.built()
	if b.UID != 4321 || b.GID != 8765 || !slices.Equal(b.Groups, []int{8765}) {
		t.Errorf("the builder is %+v", b)
	}
	checkEnvironment(t, b.Environment, map[string]string{"ONLY": "this", "HOME": "/"}, "USER")
}

// A platform of an earlier version hands over just so, and names no input that its builder
// does not have.
func TestHandoverOfAnEarlierPlatform(t *testing.T) {
	c := newCell(t, smallBase(t, nil), engine{})
	c.extension("build", "ENV WRONG=1")
	c.write("/layers/generated/build/one/Dockerfile", "ARG base_image\nFROM ${base_image}\nENV ONLY=this\n")
	c.env["CNB_PLATFORM_API"], c.env["CNB_EXPERIMENTAL_MODE"] = "0.10", "silent"
	delete(c.env, "CNB_USER_ID")
	delete(c.env, "CNB_GROUP_ID")
	// It has no -kind either.
	o := finish(t, c.command("/cnb/lifecycle/extender", "-uid", "1001", "-gid", "1000"))
	if o.code != 0 {
		t.Fatal(o)
	}
	checkEnvironment(t, c.built().Environment, map[string]string{"ONLY": "this", "CNB_PLATFORM_API": "0.10"}, "WRONG", "CNB_BUILD_CONFIG_DIR")
}

// A container that lacks the right to narrow what its programs may ever have (the bounding
// set) still hands over, and the builder has no capability.
func TestHandoverWithFewCapabilities(t *testing.T) {
	c := newCell(t, smallBase(t, nil), engine{})
	c.capabilities = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID"}
	c.extension("build", "ENV ONLY=this")
	if o := c.extend("build"); o.code != 0 {
		t.Fatal(o)
	}
	for set, value := range c.built().Status {
		if strings.HasPrefix(set, "Cap") && set != "CapBnd" && strings.Trim(value, "0") != "" {
			t.Errorf("%s is %s", set, value)
		}
	}
}

// With an output, the image is written there, too.
func TestHandoverWithOutput(t *testing.T) {
	c := newCell(t, smallBase(t, nil), buildkitd(t))
	c.extension("build", "USER root", "RUN echo made >/made")
	if o := c.extend("build", "-output", "oci:/kaniko/whole"); o.code != 0 {
		t.Fatal(o)
	}
	c.built()
	whole := openLayout(t, c.inside("/kaniko/whole"))
	validateImage(t, whole)
	_, files := layerEntries(t, last(t, whole))
	if files["made"] != "made\n" || c.content("/made") != "made\n" {
		t.Errorf("the last layer holds %q, the container %q", files["made"], c.content("/made"))
	}
}

func last(t *testing.T, image v1.Image) v1.Layer {
	t.Helper()
	layers, err := image.Layers()
	check(t, err)
	return layers[len(layers)-1]
}

// What cannot be handed over is refused before anything is done, with what to do. Whoever
// asks for a report gets one all the same.
func TestHandoverRefuses(t *testing.T) {
	base := smallBase(t, nil)
	for name, c := range map[string]struct {
		change func(c *cell)
		args   []string
		code   int
		says   []string
	}{
		"no user":                {func(c *cell) { delete(c.env, "CNB_USER_ID") }, nil, 1, []string{"-uid", "CNB_USER_ID"}},
		"no group":               {func(c *cell) { delete(c.env, "CNB_GROUP_ID") }, nil, 1, []string{"-gid", "CNB_GROUP_ID"}},
		"root as the user":       {func(*cell) {}, []string{"-uid", "0"}, 1, []string{"-uid", "root"}},
		"not root":               {func(c *cell) { c.uid = 1001 }, nil, 102, []string{"start the container as root", "-output"}},
		"no builder":             {func(c *cell) { check(c.t, os.Remove(c.inside("/cnb/lifecycle/builder"))) }, nil, 102, []string{"/cnb/lifecycle/builder", "-builder"}},
		"another builder":        {func(*cell) {}, []string{"-builder", "/not/there"}, 102, []string{"/not/there"}},
		"a directory as builder": {func(*cell) {}, []string{"-builder", "/bin"}, 102, []string{"/bin is no program"}},
		"no container":           {func(*cell) {}, []string{"-in-container=false"}, 102, []string{"this machine", "-output"}},
	} {
		t.Run(name, func(t *testing.T) {
			cell := newCell(t, base, engine{})
			cell.extension("build", "RUN echo made >/made")
			c.change(cell)
			if cell.uid == 0 {
				c.args = append(c.args, "-report", "/layers/report.json")
			}
			before := fileTree(t, cell.root)
			o := cell.extend("build", c.args...)
			if o.code != c.code {
				t.Errorf("wanted exit code %d: %v", c.code, o)
			}
			if cell.uid == 0 {
				r, text := readReport(t, cell.inside("/layers/report.json"))
				if r.Result == "success" || r.ExitCode != c.code || r.Error == nil || !strings.Contains(string(text), c.says[0]) {
					t.Errorf("the report is %s", text)
				}
			}
			for _, text := range c.says {
				if !strings.Contains(o.stderr, text) {
					t.Errorf("stderr does not say %q: %v", text, o)
				}
			}
			cell.notBuilt()
			compareTrees(t, "before", before, "after", fileTree(t, cell.root))
		})
	}
}

// A RUN that makes a pipe of /etc/passwd is an error, and nothing that the hand-over waits
// for.
func TestHandoverWithoutPasswd(t *testing.T) {
	c := newCell(t, smallBase(t, nil), buildkitd(t))
	c.extension("build", "USER root", "RUN rm /etc/passwd && mkfifo /etc/passwd")
	if o := c.extend("build"); o.code != 102 || !strings.Contains(o.stderr, "/etc/passwd is no regular file") {
		t.Errorf("wanted exit code 102: %v", o)
	}
	c.notBuilt()
}

// When a RUN fails, the container stays as it was, and there is no build.
func TestNoHandoverAfterFailure(t *testing.T) {
	c := newCell(t, smallBase(t, nil), buildkitd(t))
	c.extension("build", "USER root", "RUN echo made >/made", "RUN exit 7")
	before := fileTree(t, c.root)
	if o := c.extend("build"); o.code != 102 {
		t.Errorf("wanted exit code 102: %v", o)
	}
	c.notBuilt()
	compareTrees(t, "before", before, "after", fileTree(t, c.root))
}

// The run image is extended for others: nobody takes over, and the container is not of it.
func TestNoHandoverOfTheRunImage(t *testing.T) {
	c := newCell(t, smallBase(t, nil), buildkitd(t))
	c.extension("run", "USER root", "RUN echo made >/made", "USER 1001")
	before := fileTree(t, c.root)
	if o := c.extend("run"); o.code != 0 {
		t.Fatal(o)
	}
	c.notBuilt()
	compareTrees(t, "before", before, "after", fileTree(t, c.root))
}

// The builder takes the extender's place, as the first process of the container: signals
// reach it.
func TestHandoverOfSignals(t *testing.T) {
	c := newCell(t, smallBase(t, nil), engine{})
	c.extension("build", "ENV A=1")
	c.write("/workspace/build.sh", "trap 'exit 52' TERM\necho >/layers/waiting\nwhile :; do sleep 0.1; done\n")
	command := c.command("/cnb/lifecycle/extender", "-kind", "build")
	outcomeOf := start(t, command)
	eventually(t, "the builder waits", func() bool { return c.content("/layers/waiting") != "" })
	check(t, command.Process.Signal(syscall.SIGTERM)) // runc passes it on
	if o := outcomeOf(patience); o.code != 52 {
		t.Errorf("wanted the builder's exit code 52: %v", o)
	}
}

// Builds at the same time over one cache wait for each other where they must, and succeed:
// both images of one application, and another application.
func TestHandoverTogether(t *testing.T) {
	base := smallBase(t, nil)
	var cells []*cell
	for _, kind := range []string{"build", "run", "build"} {
		c := newCell(t, base, engine{})
		if len(cells) > 0 {
			c.shared["/kaniko"] = cells[0].shared["/kaniko"]
		}
		c.extension(kind, "USER root", "RUN sleep 1; echo made by "+fmt.Sprint(len(cells))+" >/made", "USER 1001")
		cells = append(cells, c)
	}
	var outcomes []func(time.Duration) outcome
	for n, kind := range []string{"build", "run", "build"} {
		outcomes = append(outcomes, start(t, cells[n].command("/cnb/lifecycle/extender", "-kind", kind)))
	}
	for _, outcomeOf := range outcomes {
		if o := outcomeOf(5 * patience); o.code != 0 {
			t.Error(o)
		}
	}
	cells[1].notBuilt()
	for _, n := range []int{0, 2} {
		cells[n].built()
		if got, want := cells[n].content("/made"), fmt.Sprintf("made by %d\n", n); got != want {
			t.Errorf("container %d holds %q, wanted %q", n, got, want)
		}
	}
}

// The container's root filesystem becomes that of the extended image, whatever the
// Dockerfiles do: deletions, directories that are made anew, links of both kinds, owners
// and modes, kinds of files that change, and a program that runs meanwhile.
func TestHandoverMakesTheExtendedImage(t *testing.T) {
	base := smallBase(t, nil)
	for name, open := range map[string]func(t *testing.T) engine{
		"buildkitd": buildkitd, "in place": func(*testing.T) engine { return engine{} },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCell(t, base, open(t))
			c.extension("build", "USER root",
				"RUN rm -rf /data/old && mkdir /data/old && echo new >/data/old/new",
				"RUN mkdir -p /d/sub/deep /swap/in; echo a >/d/a; ln /d/a /d/b; ln -s a /d/s; chown 5:6 /d/b; chmod 4755 /d/a",
				"RUN rm -r /d/sub; echo file >/d/sub; mv /d/s /d/t; ln /d/b /data/c; rm /bin/tr; ln -s busybox /bin/another",
				"RUN cp /bin/busybox /bin/new; mv /bin/new /bin/busybox; rm -r /swap; ln -s d /swap",
				"RUN echo through >/swap/through; mkdir -m 2770 /swap/dir; chown 7:8 /swap/dir; rm /d/a; chmod 700 /home",
				"COPY --chown=3:4 --chmod=640 . /copied/here/",
				"WORKDIR /made/by/workdir", "USER 1001:1000")
			c.write("/workspace/file", "of the application")
			c.write("/workspace/dir/other", "of the application")
			if o := c.extend("build", "-output", "oci:/kaniko/whole"); o.code != 0 {
				t.Fatal(o)
			}
			c.built()
			want, got := fileTree(t, unpack(t, openLayout(t, c.inside("/kaniko/whole")))), fileTree(t, c.root)
			if want["swap"] == "" || want["copied/here/dir/other"] == "" || want["bin/tr"] != "" {
				t.Fatalf("the image is not what the Dockerfile says: %v", want)
			}
			for _, tree := range []map[string]string{want, got} {
				maps.DeleteFunc(tree, func(name string, _ string) bool {
					top, _, _ := strings.Cut(name, "/")
					return c.shared["/"+top] != "" || slices.Contains([]string{".dockerenv", ".graft-root", "cnb", "dev", "proc", "run", "sys"}, top)
				})
			}
			compareTrees(t, "the extended image", want, "the container", got)
		})
	}
}
