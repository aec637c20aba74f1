package acceptance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// inspected is what a Docker daemon tells of an image.
type inspected struct {
	ID     string `json:"Id"`
	RootFS struct{ Layers []string }
	Config struct{ User string }
}

func (d *dockerDaemon) inspect(t *testing.T, image string) inspected {
	t.Helper()
	var all []inspected
	check(t, json.Unmarshal([]byte(d.docker(t, "image", "inspect", image)), &all))
	return all[0]
}

// dockerScene is a scene that speaks to a Docker daemon, and whose chain adds two layers.
func dockerScene(t *testing.T, base string, d *dockerDaemon, e engine) *scene {
	t.Helper()
	s := newScene(t, "run", base, e)
	s.env["DOCKER_HOST"] = d.host
	s.write("app/file", "content")
	s.step("one", "USER root", "RUN cat /data/old/file >/seen", "COPY file /copied", "USER 9")
	return s
}

// The base may be an image of a Docker daemon, by name or by id: its layers and its
// config are what they were when it was loaded.
func TestBaseInDocker(t *testing.T) {
	d := startDocker(t)
	image := smallImage(t, nil)
	d.load(t, "some/base:1", image)
	d.docker(t, "tag", "some/base:1", "another:latest")
	id := d.inspect(t, "some/base:1").ID
	e := embedded(t)
	for _, name := range []string{"some/base:1", "another", id} {
		s := dockerScene(t, "docker:"+name, d, e)
		s.succeed("-output", "oci:"+s.path("whole"))
		whole := openLayout(t, s.path("whole"))
		validateImage(t, whole)
		below := configOf(t, image).RootFS.DiffIDs
		if got := configOf(t, whole).RootFS.DiffIDs; len(got) != len(below)+2 || got[0] != below[0] || got[1] != below[1] {
			t.Errorf("%s: the layers are %v, those of the base %v", name, got, below)
		}
		if files := s.files(image); files["seen"] != "of the base\n" {
			t.Errorf("%s: a RUN has seen %q", name, files["seen"])
		}
		if left, err := filepath.Glob(s.path("layers/extended/.graft-*")); err != nil || len(left) > 0 {
			t.Errorf("%v is left (%v)", left, err)
		}
	}
	s := dockerScene(t, "docker:none/such:1", d, engine{})
	s.fail(102, "none/such:1", d.host, "docker images")
	s = dockerScene(t, "docker:some/base:1", d, engine{})
	s.env["DOCKER_HOST"] = "unix://" + s.path("nobody.sock")
	s.fail(102, s.path("nobody.sock"), "DOCKER_HOST")
}

// A result goes into a Docker daemon, whether that has the base or not, and runs there.
// The layers that it has are not read.
func TestOutputToDocker(t *testing.T) {
	d := startDocker(t)
	base := smallBase(t, nil)
	s := dockerScene(t, "oci:"+base, d, embedded(t))
	run := func(name string) {
		t.Helper()
		s.succeed("-output", "docker:"+name)
		if got, want := d.inspect(t, name).ID, manifestOf(t, s.image()).Config.Digest.String(); got != want {
			t.Errorf("the daemon has %s, and the config is %s", got, want)
		}
		if out := d.docker(t, "run", "--rm", name, "cat", "/seen", "/copied"); out != "of the base\ncontent" {
			t.Errorf("the container said %q", out)
		}
	}
	run("registry.example.com/new/image:1")
	d.docker(t, "rmi", "registry.example.com/new/image:1")

	d.load(t, "base:1", openLayout(t, base))
	for _, layer := range manifestOf(t, openLayout(t, base)).Layers {
		check(t, os.Remove(filepath.Join(base, "blobs/sha256", layer.Digest.Hex)))
	}
	run("image")

	earlier := s.extended()
	s.step("two", "LABEL a=b")
	s.env["DOCKER_HOST"] = "unix://" + s.path("nobody.sock")
	s.args = append(s.args, "-output", "docker:image")
	s.fail(102, "docker:image", s.path("nobody.sock"))
	if now := s.extended(); now != earlier {
		t.Errorf("after a failure there is %s, and was %s", now, earlier)
	}
}
