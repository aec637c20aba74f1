package acceptance

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/graft-cnb/graft/acceptance/internal/restorer"
)

// buildPlatform is a platform that runs each phase in a container: Docker's engine, a
// registry with a password, and in it a builder image and a run image.
type buildPlatform struct {
	docker   *dockerDaemon
	registry *testRegistry
	builder  platformImage
	run      platformImage
	image    string // the program image
}

// platformImage is an image of the platform, by its names in the registry and in Docker.
type platformImage struct {
	v1.Image
	reference string // with its digest
	local     string
}

// newBuildPlatform starts one, with Debian as the base of all.
func newBuildPlatform(t *testing.T) *buildPlatform {
	t.Helper()
	base := openLayout(t, debian(t))
	lifecycle := releasedPrograms(t)
	builder, err := os.ReadFile(filepath.Join(programs, "builder"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(lifecycle, "builder"), builder, 0o755))
	p := &buildPlatform{docker: startDocker(t), registry: newRegistry(t, (*httptest.Server).Start)}
	p.image = filepath.Join(t.TempDir(), "image")
	buildProgram(t, "./cmd/image", p.image)

	p.builder = p.add(t, "builder", builderImage(t, base, lifecycle))
	p.run = p.add(t, "run", base)
	check(t, p.docker.LoadAll(map[string]v1.Image{
		p.builder.local: p.builder,
		p.run.local:     p.run,
		// Platforms put the phases into a container of the run image, over whatever it has.
		runWithPhases: withLayer(t, base, layerOf(t, map[string]string{"cnb/lifecycle": lifecycle})),
	}))
	return p
}

// buildProgram builds a program of the tests, static.
func buildProgram(t *testing.T, pkg, to string) {
	t.Helper()
	c := exec.Command("go", "build", "-o", to, pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if o := finish(t, c); o.code != 0 {
		t.Fatalf("building %s: %v", pkg, o)
	}
}

// runWithPhases is Docker's name of the image that the run image is extended in.
const runWithPhases = "run-with-phases:1"

// add pushes an image.
func (p *buildPlatform) add(t *testing.T, name string, image v1.Image) platformImage {
	t.Helper()
	repository := strings.TrimSuffix(p.registry.push(t, name+":1", image), ":1")
	return platformImage{Image: image, reference: repository + "@" + digest(t, image).String(), local: name + ":1"}
}

// dockerConfig is a docker config file that opens the registry.
func (p *buildPlatform) dockerConfig() string {
	return `{"auths": {"` + p.registry.host + `": {"auth": "` + strings.TrimPrefix(basicAuth(), "Basic ") + `"}}}`
}

// appBuild is what the phases of one build share: volumes, and what the platform passes
// to all of them.
type appBuild struct {
	*buildPlatform
	t   *testing.T
	dir string
	// kaniko is the directory of the volume /kaniko, which builds may share.
	kaniko string
	env    map[string]string
	// options are further ones of docker run, for the extender.
	options []string
}

// Who builds, in the Debian base.
const builderUID, builderGID = 1001, 1000

// newBuild prepares the build of the application in examples/, with an engine.
func (p *buildPlatform) newBuild(t *testing.T, e containerEngine) *appBuild {
	t.Helper()
	b := &appBuild{buildPlatform: p, t: t, dir: t.TempDir(), options: e.options, env: map[string]string{
		"CNB_PLATFORM_API": "0.13",
		"CNB_REGISTRY_AUTH": func() string {
			auth, err := json.Marshal(map[string]string{p.registry.host: basicAuth()})
			check(t, err)
			return string(auth)
		}(),
	}}
	b.kaniko = filepath.Join(b.dir, "kaniko")
	check(t, copyDir("../examples/app", filepath.Join(b.dir, "workspace")))
	for _, name := range []string{"layers", "platform/env", "kaniko"} {
		check(t, os.MkdirAll(filepath.Join(b.dir, name), 0o755))
	}
	b.giveToBuilder("layers", "workspace", "platform", "kaniko")
	b.analyze()
	return b
}

// path is a file of the build's volumes.
func (b *appBuild) path(name string) string { return filepath.Join(b.dir, name) }

// giveToBuilder makes volumes the build user's, as platforms do.
func (b *appBuild) giveToBuilder(names ...string) {
	b.t.Helper()
	for _, name := range names {
		check(b.t, filepath.WalkDir(b.path(name), func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, builderUID, builderGID)
		}))
	}
}

// analyze writes what the platform's analyzer finds out about the run image.
func (b *appBuild) analyze() {
	b.t.Helper()
	o := finish(b.t, b.imageCommand("analyze", b.run.reference, b.path("layers/analyzed.toml")))
	if o.code != 0 {
		b.t.Fatalf("analyze: %v", o)
	}
	b.edit(func(analyzed map[string]any) { delete(analyzed, "build-image") })
	b.giveToBuilder("layers")
}

// imageCommand is the tests' program image, with the registry's password.
func (b *appBuild) imageCommand(args ...string) *exec.Cmd {
	home := b.t.TempDir()
	check(b.t, os.WriteFile(filepath.Join(home, "config.json"), []byte(b.dockerConfig()), 0o600))
	c := exec.Command(b.image, args...)
	c.Env = []string{"HOME=" + home, "DOCKER_CONFIG=" + home}
	return c
}

// edit changes analyzed.toml.
func (b *appBuild) edit(change func(map[string]any)) {
	b.t.Helper()
	var analyzed map[string]any
	_, err := toml.DecodeFile(b.path("layers/analyzed.toml"), &analyzed)
	check(b.t, err)
	change(analyzed)
	var text bytes.Buffer
	check(b.t, toml.NewEncoder(&text).Encode(analyzed))
	check(b.t, os.WriteFile(b.path("layers/analyzed.toml"), text.Bytes(), 0o644))
}

// restore does what the platform's restorer does for the extender: the build image's
// name, and the metadata of both images without their layers.
func (b *appBuild) restore() {
	b.t.Helper()
	b.edit(func(analyzed map[string]any) {
		image, _ := analyzed["build-image"].(map[string]any)
		if image == nil {
			image = map[string]any{}
		}
		image["reference"] = b.builder.reference
		analyzed["build-image"] = image
	})
	for _, image := range []platformImage{b.builder, b.run} {
		check(b.t, restorer.Restore(b.kaniko, image))
	}
}

// phase is the command that runs a phase in a container of its own, as platforms do:
// with what Docker gives by default, on the host's network, where the packages come from.
func (b *appBuild) phase(name, image string, options []string, args ...string) *exec.Cmd {
	all := []string{"run", "--rm", "--network", "host", "--security-opt", "no-new-privileges=true",
		"--volume", b.path("layers") + ":/layers", "--volume", b.path("workspace") + ":/workspace",
		"--volume", b.path("platform") + ":/platform"}
	for _, variable := range slices.Sorted(maps.Keys(b.env)) {
		all = append(all, "--env", variable+"="+b.env[variable])
	}
	all = append(all, options...)
	all = append(all, "--entrypoint", "/cnb/lifecycle/"+name, image)
	return b.docker.command(append(all, args...)...)
}

// finish runs a phase, which must succeed.
func (b *appBuild) finish(c *exec.Cmd) outcome {
	b.t.Helper()
	o := finish(b.t, c)
	if o.code != 0 {
		b.t.Fatalf("%s: %v", strings.Join(c.Args[len(c.Args)-4:], " "), o)
	}
	return o
}

// prepare runs what comes before the extender.
func (b *appBuild) prepare() {
	b.t.Helper()
	b.finish(b.phase("detector", b.builder.local, nil, "-skip-generate", "-app", "/workspace"))
	b.finish(b.phase("generator", b.builder.local, nil, "-app", "/workspace"))
	b.restore()
}

// extender is the extender's command for a kind, in a container of that image, as root.
func (b *appBuild) extender(kind string, args ...string) *exec.Cmd {
	image := b.builder.local
	if kind == "run" {
		image = runWithPhases
	}
	options := append([]string{"--user", "0:0", "--volume", b.kaniko + ":/kaniko"}, b.options...)
	return b.phase("extender", image, options, append([]string{"-kind", kind, "-app", "/workspace"}, args...)...)
}

// export makes the application's image of the extended run image, as an exporter does,
// and returns its reference.
func (b *appBuild) export(name string) string {
	b.t.Helper()
	return strings.TrimSpace(b.finish(b.imageCommand("assemble", "--base", b.run.reference, "--app", b.path("workspace"),
		"--command", "sh", "--command", "greet.sh", b.path("layers/extended/run"), b.registry.host+"/"+name+":1")).stdout)
}

// start runs the application's image, pulled from the registry, and returns what it said.
func (b *appBuild) start(reference string) string {
	b.t.Helper()
	home := b.t.TempDir()
	check(b.t, os.WriteFile(filepath.Join(home, "config.json"), []byte(b.dockerConfig()), 0o600))
	c := b.docker.command("run", "--rm", "--network", "none", reference)
	c.Env = append(c.Env, "DOCKER_CONFIG="+home)
	return b.finish(c).stdout
}
