package acceptance

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const goarch = runtime.GOARCH

// scene is what a platform prepares for the extender: an application, a group of
// extensions, what they generated, and a base image.
type scene struct {
	t    *testing.T
	dir  string
	kind string
	// base is the value of -base; empty for none.
	base string
	env  map[string]string
	args []string

	group []string
}

// newScene prepares a scene for extending an image of a kind with an engine. The
// zero engine stands for a daemon that does not exist: what is said to need no
// engine must not look for one.
func newScene(t *testing.T, kind, base string, e engine) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), kind: kind, base: base, args: []string{"-kind", kind}}
	for _, name := range []string{"app", "home", "layers"} {
		check(t, os.Mkdir(filepath.Join(s.dir, name), 0o755))
	}
	s.env = map[string]string{
		"PATH":             searchPath(),
		"HOME":             s.path("home"),
		"CNB_PLATFORM_API": "0.15",
		"CNB_APP_DIR":      s.path("app"),
		"CNB_LAYERS_DIR":   s.path("layers"),
		"CNB_IN_CONTAINER": "false",
		"CNB_PROGRESS":     "plain",
		"NO_COLOR":         "1",
	}
	switch {
	case e.address != "":
		s.env["BUILDKIT_HOST"] = e.address
	case e.state != "":
		s.env["CNB_STATE_DIR"] = e.state
	default:
		s.env["BUILDKIT_HOST"] = "unix://" + s.path("no-such-socket")
	}
	s.write("layers/group.toml", "")
	return s
}

// path is the absolute path of a file of the scene.
func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

// write writes a file of the scene.
func (s *scene) write(name, content string) {
	s.t.Helper()
	check(s.t, os.MkdirAll(filepath.Dir(s.path(name)), 0o755))
	check(s.t, os.WriteFile(s.path(name), []byte(content), 0o644))
}

// extension adds an extension to the group that generated a Dockerfile of the
// scene's kind, and files, named relative to its directory.
func (s *scene) extension(id, dockerfile string, files map[string]string) {
	s.t.Helper()
	s.list(id)
	dir := filepath.Join("layers/generated", strings.ReplaceAll(id, "/", "_"))
	s.write(filepath.Join(dir, s.kind+".Dockerfile"), dockerfile)
	for name, content := range files {
		s.write(filepath.Join(dir, name), content)
	}
}

// list adds an extension to the group.
func (s *scene) list(id string) {
	s.t.Helper()
	s.group = append(s.group, fmt.Sprintf("[[group-extensions]]\nid = %q\nversion = \"1\"\napi = \"0.10\"\n", id))
	s.write("layers/group.toml", strings.Join(s.group, "\n"))
}

// step adds an extension whose Dockerfile has these lines after FROM.
func (s *scene) step(id string, lines ...string) {
	s.t.Helper()
	s.extension(id, "ARG base_image\nFROM ${base_image}\n"+strings.Join(lines, "\n")+"\n", nil)
}

// outcome is how a run of a program ended.
type outcome struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

func (o outcome) String() string {
	return fmt.Sprintf("exit code %d after %v\n--- stdout\n%s--- stderr\n%s", o.code, o.took, o.stdout, o.stderr)
}

var (
	namePattern   = regexp.MustCompile(`(?m)^#(\d+) (\[.*)$`)
	cachedPattern = regexp.MustCompile(`(?m)^#(\d+) CACHED$`)
)

// cached are the instructions that plain progress calls CACHED. The base image is none:
// its layers come from the cache also when nothing that was made on them does.
func (o outcome) cached() []string {
	names := map[string]string{}
	for _, m := range namePattern.FindAllStringSubmatch(o.stdout, -1) {
		names[m[1]] = m[2]
	}
	var all []string
	for _, m := range cachedPattern.FindAllStringSubmatch(o.stdout, -1) {
		if name := names[m[1]]; name != "" && !strings.HasPrefix(name, "[base]") {
			all = append(all, name)
		}
	}
	return all
}

// command is the extender on this scene.
func (s *scene) command(args ...string) *exec.Cmd {
	all := slices.Concat(s.args, args)
	if s.base != "" {
		all = append([]string{"-base", s.base}, all...)
	}
	c := exec.Command(filepath.Join(programs, "extender"), all...)
	c.Dir = s.dir
	for _, name := range slices.Sorted(maps.Keys(s.env)) {
		c.Env = append(c.Env, name+"="+s.env[name])
	}
	return c
}

// run runs the extender.
func (s *scene) run(args ...string) outcome {
	s.t.Helper()
	return finish(s.t, s.command(args...))
}

// finish runs a command to its end.
func finish(t *testing.T, c *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	begin := time.Now()
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{c.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(begin)}
}

// succeed runs the extender, which must succeed, and returns what it said.
func (s *scene) succeed(args ...string) outcome {
	s.t.Helper()
	o := s.run(args...)
	if o.code != 0 {
		s.t.Fatalf("the extender failed: %v", o)
	}
	return o
}

// fail runs the extender, which must end with a code and say all these texts on
// stderr.
func (s *scene) fail(code int, texts ...string) outcome {
	s.t.Helper()
	o := s.run()
	if o.code != code {
		s.t.Errorf("wanted exit code %d: %v", code, o)
	}
	for _, text := range texts {
		if !strings.Contains(o.stderr, text) {
			s.t.Errorf("stderr does not say %q: %v", text, o)
		}
	}
	return o
}

var entryPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// extended is the directory of the one result in <extended>/<kind>.
func (s *scene) extended() string {
	s.t.Helper()
	dir := s.path("layers/extended/" + s.kind)
	entries, err := os.ReadDir(dir)
	check(s.t, err)
	if len(entries) != 1 || !entryPattern.MatchString(entries[0].Name()) {
		s.t.Fatalf("%s holds %v, wanted one sha256:<hex>", dir, entries)
	}
	return filepath.Join(dir, entries[0].Name())
}

// image is the extended image, of which only the added layers can be read.
func (s *scene) image() v1.Image {
	s.t.Helper()
	return openLayout(s.t, s.extended())
}

// added are the layers that the extended image has beyond its base.
func (s *scene) added(base v1.Image) []v1.Layer {
	s.t.Helper()
	layers, err := s.image().Layers()
	check(s.t, err)
	return layers[len(manifestOf(s.t, base).Layers):]
}

// files are the contents of regular files in the added layers, the last one of a
// path counting.
func (s *scene) files(base v1.Image) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, layer := range s.added(base) {
		_, contents := layerEntries(s.t, layer)
		maps.Copy(all, contents)
	}
	return all
}

// listing is every file of <layers> with its content's digest, to tell whether
// anything has changed.
func (s *scene) listing() map[string]string {
	s.t.Helper()
	return fileTree(s.t, s.path("layers"))
}
