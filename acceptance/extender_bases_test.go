package acceptance

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// leaveMetadata writes what a restorer leaves of a base image: a layout with
// manifest and configuration, named by the digest that analyzed.toml has.
func leaveMetadata(t *testing.T, s *scene, name string, image v1.Image) {
	t.Helper()
	dir := s.path("kaniko/cache/base/" + name)
	writeLayout(t, dir, image)
	for _, layer := range manifestOf(t, image).Layers {
		check(t, os.Remove(filepath.Join(dir, "blobs", "sha256", layer.Digest.Hex)))
	}
	s.env["CNB_KANIKO_DIR"] = s.path("kaniko")
}

// What a restorer left is the base, without a question to the registry until a
// layer is needed; it is completed from there.
func TestSparseBase(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.address == "" {
			e.state = t.TempDir()
		}
		r := newRegistry(t, (*httptest.Server).Start)
		base := smallImage(t, nil)
		name := digest(t, base).String()
		r.push(t, "base:tag", base)
		s := registryScene(t, r.host+"/base@"+name, e)
		s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
		leaveMetadata(t, s, name, base)
		s.succeed("-output", "oci:"+s.path("whole"), "-output", "registry:"+r.host+"/other/app:1")
		checkLayers(t, s, base, 3)
		validateImage(t, openLayout(t, s.path("whole")))
		validateImage(t, r.pull(t, r.host+"/other/app:1"))
	})
}

// A chain without a layer needs neither an engine nor the registry.
func TestSparseBaseWithoutRegistry(t *testing.T) {
	base := smallImage(t, nil)
	name := digest(t, base).String()
	s := newScene(t, "run", "127.0.0.1:1/base@"+name, engine{})
	s.step("one", "ENV ONE=1", "USER 7")
	leaveMetadata(t, s, name, base)
	s.succeed()
	if got := configOf(t, s.image()).Config; got.User != "7" || !slices.Contains(got.Env, "ONE=1") {
		t.Errorf("the config is %+v", got)
	}
}

// Metadata of another image, or that is damaged, is no base: the registry is
// asked.
func TestSparseBaseThatIsAnother(t *testing.T) {
	r := newRegistry(t, (*httptest.Server).Start)
	base := smallImage(t, nil)
	other := smallImage(t, func(c *v1.Config) { c.User = "4242" })
	name := digest(t, base).String()
	r.push(t, "base:tag", base)
	for what, change := range map[string]func(s *scene){
		"another image": func(s *scene) { leaveMetadata(t, s, name, other) },
		"damaged": func(s *scene) {
			leaveMetadata(t, s, name, base)
			s.write("kaniko/cache/base/"+name+"/blobs/sha256/"+manifestOf(t, base).Config.Digest.Hex, "{}")
		},
		"no layout": func(s *scene) {
			s.write("kaniko/cache/base/"+name+"/file", "")
			s.env["CNB_KANIKO_DIR"] = s.path("kaniko")
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t, "run", r.host+"/base@"+name, engine{})
			s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
			s.step("one", "ENV ONE=1")
			change(s)
			before := r.asked("GET /v2/base/manifests/")
			s.succeed()
			if user := configOf(t, s.image()).Config.User; user != "1001:1000" || r.asked("GET /v2/base/manifests/") == before {
				t.Errorf("the user is %q; the registry was asked: %v", user, r.asked("GET /v2/base/manifests/") > before)
			}
		})
	}
}

// saveUncompressed writes an image as older versions of docker do: plain layers,
// of which one is a link to another image's.
func saveUncompressed(t *testing.T, path string, image v1.Image) {
	t.Helper()
	f, err := os.Create(path)
	check(t, err)
	defer f.Close()
	w := tar.NewWriter(f)
	put := func(name string, data []byte) {
		check(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}))
		_, err := w.Write(data)
		check(t, err)
	}
	layers, err := image.Layers()
	check(t, err)
	var names []string
	for n, layer := range layers {
		r, err := layer.Uncompressed()
		check(t, err)
		data, err := io.ReadAll(r)
		check(t, err)
		put(fmt.Sprintf("layer-%d/content.tar", n), data)
		check(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("link-%d/layer.tar", n), Typeflag: tar.TypeSymlink, Linkname: fmt.Sprintf("../layer-%d/content.tar", n)}))
		names = append(names, fmt.Sprintf("link-%d/layer.tar", n))
	}
	config, err := image.RawConfigFile()
	check(t, err)
	put("config.json", config)
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{"a:b"}, "Layers": names}})
	check(t, err)
	put("manifest.json", manifest)
	check(t, w.Close())
}

// tarDir writes a directory as a tar file.
func tarDir(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Create(path)
	check(t, err)
	defer f.Close()
	w := tar.NewWriter(f)
	check(t, w.AddFS(os.DirFS(dir)))
	check(t, w.Close())
}

// A base may be a tar file: of a layout, or of docker save.
func TestArchiveBases(t *testing.T) {
	image := smallImage(t, nil)
	dir := t.TempDir()
	writeLayout(t, filepath.Join(dir, "layout"), image)
	tarDir(t, filepath.Join(dir, "oci.tar"), filepath.Join(dir, "layout"))
	check(t, tarball.WriteToFile(filepath.Join(dir, "docker.tar"), nil, image))
	saveUncompressed(t, filepath.Join(dir, "plain.tar"), image)
	eachEngine(t, func(t *testing.T, e engine) {
		for _, base := range []string{"oci-archive:" + dir + "/oci.tar", "docker-archive:" + dir + "/docker.tar", "docker-archive:" + dir + "/plain.tar"} {
			t.Run(filepath.Base(base), func(t *testing.T) {
				if e.address == "" {
					e.state = t.TempDir()
				}
				s := newScene(t, "run", base, e)
				s.step("one", "RUN cat /data/old/file >/tmp/seen", "USER 7")
				s.succeed("-output", "oci:"+s.path("whole"))
				whole := openLayout(t, s.path("whole"))
				validateImage(t, whole)
				config := configOf(t, whole)
				if !slices.Equal(config.RootFS.DiffIDs[:2], configOf(t, image).RootFS.DiffIDs) || !slices.Contains(config.Config.Env, "FROM_BASE=yes") {
					t.Errorf("the config is %+v", config)
				}
				if _, err := os.Stat(filepath.Join(unpack(t, whole), "tmp/seen")); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// What is no such file is said in words that name it.
func TestBadArchives(t *testing.T) {
	dir := t.TempDir()
	image := smallImage(t, nil)
	check(t, tarball.WriteToFile(filepath.Join(dir, "docker.tar"), nil, image))
	check(t, os.WriteFile(filepath.Join(dir, "text"), []byte(strings.Repeat("no tar file ", 100)), 0o644))
	writeLayout(t, filepath.Join(dir, "layout"), image)
	layers := manifestOf(t, image).Layers
	check(t, os.WriteFile(filepath.Join(dir, "layout", "blobs", "sha256", layers[1].Digest.Hex), []byte("x"), 0o644))
	tarDir(t, filepath.Join(dir, "damaged.tar"), filepath.Join(dir, "layout"))
	for base, text := range map[string]string{
		"oci-archive:" + dir + "/missing":     "no such file",
		"oci-archive:" + dir + "/text":        "no tar file",
		"oci-archive:" + dir + "/docker.tar":  "docker-archive:",
		"docker-archive:" + dir + "/text":     "no tar file",
		"docker-archive:" + dir + "/missing":  "no such file",
		"docker-archive:" + dir + "/bad.tar":  "oci-archive:",
		"oci-archive:" + dir + "/damaged.tar": "the base image is damaged: layer " + layers[1].Digest.String(),
	} {
		if strings.HasSuffix(base, "/bad.tar") {
			tarDir(t, dir+"/bad.tar", filepath.Join(dir, "layout"))
		}
		s := newScene(t, "run", base, engine{})
		s.step("one", "ENV ONE=1", "USER 7")
		s.env["CNB_OUTPUT"] = "oci:" + s.path("whole")
		s.fail(102, text, "image")
	}
}

// An image for another processor can be extended as long as nothing has to run.
func TestForeignPlatform(t *testing.T) {
	dir := imageFor(t, "s390x")
	eachEngine(t, func(t *testing.T, e engine) {
		s := newScene(t, "run", "oci:"+dir, e)
		s.write("app/file", "content")
		s.step("one", "COPY file /data/", "WORKDIR /made", "USER 7")
		s.succeed()
		if got := configOf(t, s.image()); got.Architecture != "s390x" || len(got.RootFS.DiffIDs) != 4 {
			t.Errorf("the config is %+v", got)
		}
		s.step("two", "RUN true")
		s.fail(102, "extension two", "run.Dockerfile:3", "linux/s390x", "linux/"+goarch, "binfmt_misc")
	})
}
