package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// buildctl is BuildKit's own client, and a daemon that only it uses, so that nothing
// it makes can come from what an extender has made.
type buildctl struct {
	program string
	daemon  engine
}

func newBuildctl(t *testing.T) buildctl {
	t.Helper()
	program := os.Getenv("GRAFT_TEST_BUILDCTL")
	need(t, program != "", "GRAFT_TEST_BUILDCTL to name a buildctl (hack/buildctl.sh)")
	return buildctl{program, buildkitd(t)}
}

// The name of the base in what buildctl is given.
const goldenName = "golden"

// chain applies the Dockerfiles of a case one after the other, each on the image that
// the one before has made.
func (b buildctl) chain(t *testing.T, c goldenCase, s *scene, base string) v1.Image {
	t.Helper()
	for _, id := range c.extensions {
		dir := s.path("layers/generated/" + id)
		args := []string{
			"--local", "dockerfile=" + dir, "--opt", "filename=" + c.kind + ".Dockerfile", "--local", "context=" + contextDir(s, c.kind, id),
			"--opt", "build-arg:base_image=" + goldenName, "--opt", "build-arg:build_id=d9a1c8a2-5f0c-4a39-9d4a-3f3f6a3d6f10",
		}
		uid, gid := userOf(t, openLayout(t, base))
		args = append(args, "--opt", "build-arg:user_id="+uid, "--opt", "build-arg:group_id="+gid)
		for name, value := range extensionArgs(t, dir, c.kind) {
			args = append(args, "--opt", "build-arg:"+name+"="+value)
		}
		base = b.build(t, c, s, base, args)
	}
	return openLayout(t, base)
}

// single applies the one Dockerfile that comes to the same as all of a case. It finds
// the context of each extension under the extension's name.
func (b buildctl) single(t *testing.T, c goldenCase, s *scene, base string) v1.Image {
	t.Helper()
	dir := filepath.Join(goldenDir, c.name)
	args := []string{"--local", "dockerfile=" + dir, "--local", "context=" + dir}
	for _, id := range c.extensions {
		name := id + "-context"
		args = append(args, "--opt", "context:"+name+"=local:"+name, "--local", name+"="+contextDir(s, c.kind, id))
	}
	return openLayout(t, b.build(t, c, s, base, args))
}

// build runs buildctl on a layout and returns the layout with its result.
func (b buildctl) build(t *testing.T, c goldenCase, s *scene, base string, args []string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	all := append([]string{
		"--addr", b.daemon.address, "build", "--frontend", "dockerfile.v0", "--progress", "plain", "--no-cache",
		"--oci-layout", "layout=" + base,
		"--opt", "context:" + goldenName + "=oci-layout://layout@" + digest(t, openLayout(t, base)).String(),
		"--output", "type=oci,tar=false,compression=uncompressed,dest=" + out,
	}, args...)
	for id := range c.Secrets {
		all = append(all, "--secret", "id="+id+",src="+s.path("secrets/"+id))
	}
	command := exec.Command(b.program, all...)
	command.Env = []string{"PATH=" + searchPath(), "HOME=" + s.path("home")}
	if o := finish(t, command); o.code != 0 {
		t.Fatalf("buildctl failed: %v", o)
	}
	return out
}

// contextDir is the context of an extension's Dockerfile (image_extension.md, "Context
// Folders").
func contextDir(s *scene, kind, id string) string {
	for _, name := range []string{"context." + kind, "context"} {
		if dir := s.path("layers/generated/" + id + "/" + name); exists(dir) {
			return dir
		}
	}
	return s.path("app")
}

// extensionArgs are an extension's own args (image_extension.md,
// "extend-config.toml").
func extensionArgs(t *testing.T, dir, kind string) map[string]string {
	t.Helper()
	type args struct {
		Args []struct{ Name, Value string } `toml:"args"`
	}
	var config map[string]args
	if _, err := toml.DecodeFile(filepath.Join(dir, "extend-config.toml"), &config); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, arg := range config[kind].Args {
		all[arg.Name] = arg.Value
	}
	return all
}

// userOf are the numbers of an image's user, for images in which it is a number, or a
// name that is in their /etc/passwd and /etc/group.
func userOf(t *testing.T, image v1.Image) (uid, gid string) {
	t.Helper()
	config := configOf(t, image).Config
	uid, gid, _ = strings.Cut(config.User, ":")
	if strings.Trim(uid+gid, "0123456789") == "" {
		return uid, gid
	}
	accounts := map[string]string{}
	layers, err := image.Layers()
	check(t, err)
	for _, layer := range layers {
		_, contents := layerEntries(t, layer)
		for _, file := range []string{"etc/passwd", "etc/group"} {
			for line := range strings.Lines(contents[file]) {
				if fields := strings.Split(line, ":"); len(fields) > 2 {
					accounts[file+" "+fields[0]] = fields[2]
				}
			}
		}
	}
	if number, ok := accounts["etc/passwd "+uid]; ok {
		uid = number
	}
	if number, ok := accounts["etc/group "+gid]; ok {
		gid = number
	}
	return uid, gid
}
