package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// protection is a way in which the app is kept from being changed by
// bin/generate, brought about by the circumstances under which users meet it.
type protection struct {
	name string
	// below is where the app lies.
	below string
	// says is what the debug log says about it.
	says string
	// metadata tells that modes, times and xattrs are protected too.
	metadata bool
	// found tells that a change is not prevented but found.
	found bool
	// noNamespaces takes away the right to make user and mount namespaces, and
	// noAdmin that of root to make mount namespaces without a user namespace.
	noNamespaces, noAdmin bool
	need                  func(*testing.T)
}

// protections are all ways, the best first.
var protections = []protection{
	{
		// For an ordinary user it is the next.
		name: "bind", below: "/var/lib", says: `is protected by a read-only bind mount`, metadata: true,
		need: needNamespaces,
	},
	{
		name: "bind in a user namespace", below: "/tmp", says: `is protected by a read-only bind mount in a user namespace`,
		metadata: true, noAdmin: true, need: needNamespaces,
	},
	{
		name: "Landlock", below: "/var/lib", says: `is protected by Landlock`, noNamespaces: true,
		need: func(t *testing.T) { needLandlock(t); needNamespaces(t) },
	},
	{
		// Programs may make files beside an app in /tmp, which Landlock cannot tell
		// from the app.
		name: "compare", below: "/tmp", says: `is protected by comparison before and after`, metadata: true, found: true,
		noNamespaces: true, need: needNamespaces,
	},
}

// needLandlock needs a kernel whose Landlock controls truncation.
func needLandlock(t *testing.T) {
	t.Helper()
	version, _, failed := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	need(t, failed == 0 && version >= 3, "a kernel with Landlock of version 3 or later")
}

// needNamespaces needs user namespaces for everybody.
func needNamespaces(t *testing.T) {
	t.Helper()
	try := exec.Command("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
		"unshare", "--user", "--map-root-user", "--mount", "true")
	need(t, try.Run() == nil, "user namespaces that an ordinary user can mount in")
}

const (
	buildUID = 12345
	// otherGID is a further group of the build user where it is who starts the
	// programs.
	otherGID = 12346
)

// generation is a group with the extension evil, an app that belongs to the build
// user, and the means to generate.
type generation struct {
	t   *testing.T
	way protection
	// asRoot tells that the programs are started as root, and not as the build
	// user.
	asRoot bool
	dir    string
	app    string
	home   string
}

// newGeneration prepares a generation in which bin/generate is a shell script.
// The scripts of all tests end with a Dockerfile.
func newGeneration(t *testing.T, way protection, asRoot bool, script string) *generation {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to be the build user as well")
	needProgram(t, "setpriv", "util-linux")
	way.need(t)
	above, err := os.MkdirTemp(way.below, "graft-acceptance-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(above)) })
	check(t, os.Chmod(above, 0o755))
	g := &generation{t: t, way: way, asRoot: asRoot, dir: t.TempDir(), app: filepath.Join(above, "app")}
	g.home = g.path("home")
	for _, dir := range []string{g.home, g.path("tmp"), g.path("layers"), filepath.Join(g.app, "dir")} {
		check(t, os.MkdirAll(dir, 0o755))
	}
	for name, content := range map[string]string{
		"layers/analyzed.toml":                 "[run-image]\nreference = \"registry.example/run:1\"\n",
		"buildpacks/bp/1/buildpack.toml":       "api = \"0.10\"\n[buildpack]\nid = \"bp\"\nversion = \"1\"\n",
		"buildpacks/bp/1/bin/detect":           "#!/bin/sh\n",
		"extensions/evil/1/extension.toml":     "api = \"0.10\"\n[extension]\nid = \"evil\"\nversion = \"1\"\n",
		"extensions/evil/1/bin/generate":       "#!/bin/sh\n" + script + "\n" + writeDockerfile,
		"extensions/evil/1/good.Dockerfile":    "ARG base_image\nFROM ${base_image}\n",
		"order.toml":                           "[[order]]\n[[order.group]]\nid = \"bp\"\nversion = \"1\"\n[[order-extensions]]\n[[order-extensions.group]]\nid = \"evil\"\nversion = \"1\"\n",
		"run.toml":                             "",
		filepath.Join("platform", "env", "BP"): "1",
	} {
		check(t, os.MkdirAll(filepath.Dir(g.path(name)), 0o755))
		g.write(name, content)
	}
	for name, content := range map[string]string{"file": "content\n", "dir/inner": "content\n"} {
		check(t, os.WriteFile(filepath.Join(g.app, name), []byte(content), 0o644))
	}
	check(t, os.Symlink("file", filepath.Join(g.app, "link")))
	chown(t, g.app, buildUID, buildUID)
	for _, dir := range []string{g.home, g.path("tmp"), g.path("layers")} {
		giveTo(t, dir, buildUID, buildUID)
	}
	return g
}

// writeDockerfile is how a script of these tests ends.
const writeDockerfile = `cp "$CNB_EXTENSION_DIR/good.Dockerfile" "$CNB_OUTPUT_DIR/build.Dockerfile"` + "\n"

func (g *generation) path(name string) string { return filepath.Join(g.dir, name) }

// write writes a program of the generation.
func (g *generation) write(name, content string) {
	g.t.Helper()
	writeProgram(g.t, g.path(name), content)
}

// writeProgram writes a file that can be executed at once. Whoever forks meanwhile, such
// as a test that runs at the same time, would keep it open for writing for a moment, and
// then it cannot be; so nobody may fork.
func writeProgram(t *testing.T, path, content string) {
	t.Helper()
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	check(t, os.WriteFile(path, []byte(content), 0o755))
}

// noNamespaces is what root of a user namespace does so that nobody in there can make
// another, or one for mounts.
const noNamespaces = "echo 0 >/proc/sys/user/max_user_namespaces; echo 0 >/proc/sys/user/max_mnt_namespaces; "

// command is a program on this generation.
func (g *generation) command(program string, args ...string) *exec.Cmd {
	argv := append([]string{filepath.Join(programs, program)}, args...)
	if !g.asRoot {
		id := strconv.Itoa(buildUID)
		argv = append([]string{"setpriv", "--reuid=" + id, "--regid=" + id, fmt.Sprintf("--groups=%d,%d", buildUID, otherGID)}, argv...)
	}
	if g.way.noNamespaces {
		argv = append([]string{"/bin/sh", "-ec", noNamespaces + `exec "$@"`, "sh"}, argv...)
	}
	if g.way.noAdmin {
		argv = append([]string{"setpriv", "--bounding-set=-sys_admin"}, argv...)
	}
	c := exec.Command(argv[0], argv[1:]...)
	if g.way.noNamespaces {
		same := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1 << 16}}
		c.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: same, GidMappings: same, GidMappingsEnableSetgroups: true,
		}
	}
	// Whoever starts a program may have left the app open.
	app, err := os.Open(g.app)
	check(g.t, err)
	g.t.Cleanup(func() { app.Close() })
	c.ExtraFiles = []*os.File{app, app}
	id := strconv.Itoa(buildUID)
	c.Dir = g.dir
	c.Env = []string{
		"PATH=" + searchPath(), "HOME=" + g.home, "TMPDIR=" + g.path("tmp"), "NO_COLOR=1",
		"CNB_PLATFORM_API=0.13", "CNB_LOG_LEVEL=debug", "CNB_USER_ID=" + id, "CNB_GROUP_ID=" + id,
		"CNB_APP_DIR=" + g.app, "CNB_LAYERS_DIR=" + g.path("layers"), "CNB_PLATFORM_DIR=" + g.path("platform"),
		"CNB_BUILDPACKS_DIR=" + g.path("buildpacks"), "CNB_EXTENSIONS_DIR=" + g.path("extensions"),
		"CNB_ORDER_PATH=" + g.path("order.toml"), "CNB_RUN_PATH=" + g.path("run.toml"),
	}
	return c
}

// detect prepares for the generator, if that is the program.
func (g *generation) detect(program string) {
	g.t.Helper()
	if program != "generator" {
		return
	}
	if o := finish(g.t, g.command("detector", "-skip-generate")); o.code != 0 {
		g.t.Fatalf("the detector failed: %v", o)
	}
}

// run generates by a program and checks that it says how the app is protected.
func (g *generation) run(program string) outcome {
	g.t.Helper()
	g.detect(program)
	o := finish(g.t, g.command(program))
	says := g.way.says
	if g.way.name == "bind" && !g.asRoot {
		says = protections[1].says
	}
	if !strings.Contains(o.stdout, "extension evil: the app "+says+"\n") {
		g.t.Fatalf("the log does not say that the app %s: %v", says, o)
	}
	return o
}

// generated is the generated file of that name.
func (g *generation) generated(name string) string {
	return filepath.Join(g.path("layers/generated/evil"), name)
}

// requireCode ends the test unless a run ended with that exit code and said to
// stderr what matches all patterns, each in one line.
func requireCode(t *testing.T, o outcome, code int, patterns ...string) {
	t.Helper()
	if o.code != code {
		t.Fatalf("want exit code %d, got %v", code, o)
	}
	for _, pattern := range patterns {
		if !regexp.MustCompile("(?m)^.*" + pattern).MatchString(o.stderr) {
			t.Fatalf("nothing on stderr matches %#q: %v", pattern, o)
		}
	}
}

// inodes tells everything about the files in dir that a change would show in:
// also times that cannot be set.
func inodes(t *testing.T, dir string) []string {
	t.Helper()
	lines, err := describe(dir)
	check(t, err)
	for _, line := range slices.Clone(lines) {
		path := strings.Fields(line)[1]
		var stat syscall.Stat_t
		check(t, syscall.Lstat(filepath.Join(dir, path), &stat))
		stat.Atim = syscall.Timespec{}
		lines = append(lines, fmt.Sprintf("%s %+v", path, stat))
	}
	return lines
}
