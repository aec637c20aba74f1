package acceptance

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// defaultCapabilities are those that a container's root has where nobody says otherwise.
var defaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// cell is a container of a build image, made with runc alone: a platform's, as far as the
// extender can tell. Its root filesystem is a directory, so that a test can look at what
// became of it.
type cell struct {
	t *testing.T
	// root is its root filesystem, as the test sees it.
	root string
	// shared are its volumes, by where they are in it.
	shared map[string]string
	env    map[string]string
	uid    int
	// capabilities are those of its root user.
	capabilities []string

	dir  string
	runs int
}

// newCell makes one of an image in a layout, for the build of an application with a group
// of extensions. It is not started. The engine is a daemon outside of it.
func newCell(t *testing.T, base string, e engine) *cell {
	t.Helper()
	needProgram(t, "runc", "runc")
	c := &cell{t: t, root: unpack(t, openLayout(t, base)), dir: t.TempDir(), capabilities: defaultCapabilities}
	for _, program := range []string{"extender", "builder"} {
		c.install(filepath.Join(programs, program), "cnb/lifecycle/"+program)
	}
	c.shared = map[string]string{"/base": base}
	for _, name := range []string{"layers", "workspace", "platform", "kaniko"} {
		c.shared["/"+name] = filepath.Join(c.dir, name)
		check(t, os.Mkdir(c.shared["/"+name], 0o755))
	}
	check(t, os.WriteFile(filepath.Join(c.root, ".dockerenv"), nil, 0o755))
	c.env = map[string]string{
		"CNB_PLATFORM_API": "0.15", "CNB_BASE": "oci:/base", "CNB_USER_ID": "1001", "CNB_GROUP_ID": "1000",
		"CNB_PROGRESS": "plain", "HOME": "/root", "USER": "root",
	}
	for _, variable := range configOf(t, openLayout(t, base)).Config.Env {
		name, value, _ := strings.Cut(variable, "=")
		c.env[name] = value
	}
	if socket, ok := strings.CutPrefix(e.address, "unix://"); ok {
		c.shared["/run/buildkit"] = filepath.Dir(socket)
		c.env["BUILDKIT_HOST"] = "unix:///run/buildkit/" + filepath.Base(socket)
	}
	for volume := range c.shared {
		check(t, os.MkdirAll(filepath.Join(c.root, volume), 0o755))
	}
	return c
}

// install copies a program of this machine into the container.
func (c *cell) install(from, to string) {
	c.t.Helper()
	content, err := os.ReadFile(from)
	check(c.t, err)
	check(c.t, os.MkdirAll(filepath.Dir(c.inside(to)), 0o755))
	check(c.t, os.WriteFile(c.inside(to), content, 0o755))
}

// inside is a file of the container, in a volume or not, as the test sees it.
func (c *cell) inside(name string) string {
	name = "/" + strings.TrimPrefix(name, "/")
	for volume, dir := range c.shared {
		if rest, ok := strings.CutPrefix(name, volume+"/"); ok {
			return filepath.Join(dir, rest)
		}
	}
	return filepath.Join(c.root, name)
}

// write writes a file in the container.
func (c *cell) write(name, content string) {
	c.t.Helper()
	check(c.t, os.MkdirAll(filepath.Dir(c.inside(name)), 0o755))
	check(c.t, os.WriteFile(c.inside(name), []byte(content), 0o644))
}

// content is a file's in the container; empty when it is not there.
func (c *cell) content(name string) string {
	data, _ := os.ReadFile(c.inside(name))
	return string(data)
}

// extension makes a group of one extension, whose Dockerfile for a kind has these lines
// after FROM.
func (c *cell) extension(kind string, lines ...string) {
	c.t.Helper()
	c.write("/layers/group.toml", "[[group-extensions]]\nid = \"one\"\nversion = \"1\"\napi = \"0.10\"\n")
	c.write("/layers/generated/one/"+kind+".Dockerfile", "ARG base_image\nFROM ${base_image}\n"+strings.Join(lines, "\n")+"\n")
}

// command is a program in the container.
func (c *cell) command(args ...string) *exec.Cmd {
	c.t.Helper()
	c.runs++
	bundle := filepath.Join(c.dir, fmt.Sprintf("bundle-%d", c.runs))
	check(c.t, os.Mkdir(bundle, 0o755))
	config, err := json.Marshal(c.config(args))
	check(c.t, err)
	check(c.t, os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o644))
	runc, err := lookPath("runc")
	check(c.t, err)
	id := fmt.Sprintf("graft-%d-%s-%d", os.Getpid(), filepath.Base(filepath.Dir(c.dir)), c.runs)
	command := exec.Command(runc, "--root", filepath.Join(c.dir, "runc"), "run", "--bundle", bundle, id)
	command.Env = []string{"PATH=" + searchPath()}
	command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return command
}

// config is what runc is told.
func (c *cell) config(args []string) map[string]any {
	type object = map[string]any
	mounts := []object{
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"mode=755"}},
		{"destination": "/sys", "type": "none", "source": "/sys", "options": []string{"rbind", "ro"}},
	}
	for _, volume := range slices.Sorted(maps.Keys(c.shared)) {
		mounts = append(mounts, object{"destination": volume, "type": "none", "source": c.shared[volume], "options": []string{"rbind", "rw"}})
	}
	var env []string
	for _, name := range slices.Sorted(maps.Keys(c.env)) {
		env = append(env, name+"="+c.env[name])
	}
	capabilities := object{}
	for _, set := range []string{"bounding", "effective", "permitted", "inheritable"} {
		capabilities[set] = c.capabilities
	}
	var namespaces []object
	for _, kind := range []string{"pid", "mount", "ipc", "uts"} {
		namespaces = append(namespaces, object{"type": kind})
	}
	return object{
		"ociVersion": "1.0.2",
		"process": object{
			"user": object{"uid": c.uid, "gid": 0, "additionalGids": []int{0, 4, 27}},
			"args": args, "env": env, "cwd": "/workspace", "capabilities": capabilities,
		},
		"root":     object{"path": c.root},
		"hostname": "cell",
		"mounts":   mounts,
		"linux":    object{"namespaces": namespaces},
	}
}

// extend runs the extender for a kind.
func (c *cell) extend(kind string, args ...string) outcome {
	c.t.Helper()
	return finish(c.t, c.command(append([]string{"/cnb/lifecycle/extender", "-kind", kind}, args...)...))
}

// built is what the builder says of itself, which must have run.
type built struct {
	Args        []string
	Dir         string
	Environment []string
	UID, GID    int
	Groups      []int
	Status      map[string]string
	PID         int
	Files       map[string]string
}

func (c *cell) built() built {
	c.t.Helper()
	return recordOfBuilder(c.t, c.inside("/layers/builder.json"))
}

// recordOfBuilder reads what the tests' builder was given.
func recordOfBuilder(t *testing.T, file string) built {
	t.Helper()
	data, err := os.ReadFile(file)
	check(t, err)
	var b built
	check(t, json.Unmarshal(data, &b))
	return b
}

// notBuilt demands that no builder has run.
func (c *cell) notBuilt() {
	c.t.Helper()
	if _, err := os.Stat(c.inside("/layers/builder.json")); err == nil {
		c.t.Error("the builder has run")
	}
}
