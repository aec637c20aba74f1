package acceptance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A chain of two extensions gives one entry in <extended>/run that holds the
// manifest, the config and the added layers, and whose layers, diffIDs and history
// belong together; the base's layers are referenced as they are (platform.md,
// "extender", "Outputs").
func TestExtendedLayout(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		base := smallBase(t, nil)
		s := newScene(t, "run", "oci:"+base, e)
		s.step("example/one", "ENV ONE=1", "RUN echo one >/tmp/one", "COPY here.txt /data/", "USER 7")
		s.step("two", "LABEL two=2", "USER root", "RUN <<EOF", "echo two >/tmp/two", "rm /data/old/file", "EOF", "WORKDIR /made/here", "USER 1001:1000")
		s.write("app/here.txt", "from the app\n")
		s.succeed("-output", "oci:"+s.path("whole"))

		checkLayers(t, s, openLayout(t, base), 4)
		checkModes(t, s.path("layers/extended"))

		config := configOf(t, s.image())
		want := []string{
			"base layer 1", "base layer 2",
			"Layer: 'RUN echo one >/tmp/one', Created by extension: example/one",
			"Layer: 'COPY here.txt /data/', Created by extension: example/one",
			"Layer: 'RUN <<EOF', Created by extension: two",
			"Layer: 'WORKDIR /made/here', Created by extension: two",
		}
		var got []string
		for _, h := range config.History {
			got = append(got, h.CreatedBy)
			if h.EmptyLayer {
				t.Errorf("history has an entry without a layer: %q", h.CreatedBy)
			}
		}
		if !slices.EqualFunc(got, want, strings.HasPrefix) {
			t.Errorf("history is\n%s\nwanted\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if c := config.Config; c.User != "1001:1000" || c.WorkingDir != "/made/here" || c.Labels["two"] != "2" || c.Labels["of"] != "base" ||
			!slices.Contains(c.Env, "ONE=1") || !slices.Contains(c.Env, "FROM_BASE=yes") || !slices.Contains(c.Env, "PATH=/bin") {
			t.Errorf("the config is %+v", c)
		}

		whole := openLayout(t, s.path("whole"))
		validateImage(t, whole)
		if a, b := digest(t, whole), digest(t, s.image()); a != b {
			t.Errorf("-output has the image %v and <extended> %v", a, b)
		}
		tree := fileTree(t, unpack(t, whole))
		if _, ok := tree["data/old/file"]; ok {
			t.Error("the file that was removed is still there")
		}
		for path, content := range map[string]string{"tmp/one": "one\n", "tmp/two": "two\n", "data/here.txt": "from the app\n"} {
			if got := s.files(openLayout(t, base))[path]; got != content {
				t.Errorf("%s is %q, wanted %q", path, got, content)
			}
		}
	})
}

// checkLayers compares manifest, config and blobs of the extended image with each
// other and with the base.
func checkLayers(t *testing.T, s *scene, base v1.Image, added int) {
	t.Helper()
	manifest, config, dir := manifestOf(t, s.image()), configOf(t, s.image()), s.extended()
	below, belowConfig := manifestOf(t, base).Layers, configOf(t, base).RootFS.DiffIDs
	if want := "sha256:" + mustDigest(t, filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(filepath.Base(dir), "sha256:"))); filepath.Base(dir) != want {
		t.Errorf("the entry is called %s and holds the manifest %s", filepath.Base(dir), want)
	}
	if len(manifest.Layers) != len(below)+added || len(config.RootFS.DiffIDs) != len(manifest.Layers) || len(config.History) != len(manifest.Layers) {
		t.Fatalf("%d layers, %d diffIDs, %d history entries, wanted %d+%d of each",
			len(manifest.Layers), len(config.RootFS.DiffIDs), len(config.History), len(below), added)
	}
	wantBlobs := []string{filepath.Base(dir)[len("sha256:"):], manifest.Config.Digest.Hex}
	for i, layer := range manifest.Layers {
		if i < len(below) {
			if layer.Digest != below[i].Digest || layer.Size != below[i].Size || config.RootFS.DiffIDs[i] != belowConfig[i] {
				t.Errorf("layer %d is %v, the base has %v", i, layer, below[i])
			}
			continue
		}
		wantBlobs = append(wantBlobs, layer.Digest.Hex)
		data, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", layer.Digest.Hex))
		check(t, err)
		hash, size := sum(t, data)
		diffID, _ := sum(t, gunzip(t, data))
		if hash != layer.Digest || size != layer.Size || diffID != config.RootFS.DiffIDs[i] {
			t.Errorf("added layer %d: blob %v of %d bytes, diffID %v; manifest %v, config %v", i, hash, size, diffID, layer, config.RootFS.DiffIDs[i])
		}
		if layer.MediaType != types.OCILayer && layer.MediaType != types.OCIUncompressedLayer {
			t.Errorf("added layer %d is of type %s", i, layer.MediaType)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	check(t, err)
	var blobs []string
	for _, entry := range entries {
		blobs = append(blobs, entry.Name())
	}
	slices.Sort(wantBlobs)
	if wantBlobs = slices.Compact(wantBlobs); !slices.Equal(blobs, wantBlobs) {
		t.Errorf("the layout has the blobs %v, wanted %v: manifest, config and added layers", blobs, wantBlobs)
	}
}

// checkModes demands that later phases, which run as other users, can read all.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o644)
		if entry.IsDir() {
			want = fs.ModeDir | 0o755
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, wanted %v", path, info.Mode(), want)
		}
		return nil
	}))
}

func digest(t *testing.T, image v1.Image) v1.Hash {
	t.Helper()
	hash, err := image.Digest()
	check(t, err)
	return hash
}

func mustDigest(t *testing.T, path string) string {
	t.Helper()
	hash, err := digestOf(path)
	check(t, err)
	return hash
}

func sum(t *testing.T, data []byte) (v1.Hash, int64) {
	t.Helper()
	hash, size, err := v1.SHA256(strings.NewReader(string(data)))
	check(t, err)
	return hash, size
}

// A result takes the place of the one before; there are never two, and never a
// moment in which there is none (platform.md: consumers refuse two).
func TestExtendedAgainHasOneEntry(t *testing.T) {
	base := smallBase(t, nil)
	s := newScene(t, "run", "oci:"+base, embedded(t))
	s.step("one", "ARG build_id", "RUN echo $build_id >/tmp/id", "USER 7")
	s.succeed()
	first := filepath.Base(s.extended())

	stop, seen := make(chan struct{}), make(chan string)
	go func() {
		for {
			select {
			case <-stop:
				seen <- ""
				return
			default:
			}
			if entries := oneMoment(s.path("layers/extended/run")); entries != "" {
				seen <- entries
				return
			}
			// Often enough, and the extender keeps the processor. (What exchanges the
			// directories has a test of its own, which does it a hundred times.)
			time.Sleep(50 * time.Microsecond)
		}
	}()
	s.succeed()
	close(stop)
	if entries := <-seen; entries != "" {
		t.Errorf("at one moment <extended>/run held %s", entries)
	}
	if second := filepath.Base(s.extended()); second == first {
		t.Error("the second build_id gave the same image")
	}
	entries, err := os.ReadDir(s.path("layers/extended"))
	check(t, err)
	if len(entries) != 1 {
		t.Errorf("<extended> holds %v, wanted run alone", entries)
	}
}

// oneMoment looks into a directory, which must have one entry, and says what else
// it has. What it reads of a directory that another takes the place of meanwhile
// counts for nothing: nobody who opens it again sees that.
func oneMoment(dir string) string {
	before, errBefore := os.Stat(dir)
	entries, err := os.ReadDir(dir)
	after, errAfter := os.Stat(dir)
	switch {
	case errBefore != nil || errAfter != nil:
		return fmt.Sprint(errors.Join(errBefore, errAfter))
	case !os.SameFile(before, after) || err == nil && len(entries) == 1:
		return ""
	}
	return fmt.Sprint(entries, err)
}

// The second run comes from the cache: the same layers, and every step CACHED.
func TestSecondRunIsCached(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		base := smallBase(t, nil)
		s := newScene(t, "run", "oci:"+base, e)
		s.step("one", "RUN echo one >/tmp/one", "COPY . /data/app", "USER 7")
		s.step("two", "ARG build_id", "USER root", "RUN echo two >/tmp/two", "USER 7")
		s.write("app/file", "content")
		s.succeed()
		first := manifestOf(t, s.image()).Layers
		o := s.succeed()
		second := manifestOf(t, s.image()).Layers
		if len(first) != 5 || len(second) != 5 {
			t.Fatalf("%d and %d layers", len(first), len(second))
		}
		for i := range first[:4] { // the last sees build_id
			if first[i].Digest != second[i].Digest {
				t.Errorf("layer %d was %v and is %v", i, first[i].Digest, second[i].Digest)
			}
		}
		if n := len(o.cached()); n < 2 {
			t.Errorf("%d steps are CACHED, wanted at least 2: %v", n, o)
		}

		s.write("app/file", "changed")
		s.succeed()
		third := manifestOf(t, s.image()).Layers
		if third[2].Digest != first[2].Digest || third[3].Digest == first[3].Digest {
			t.Errorf("a change in the context changed the wrong layers: %v to %v", first, third)
		}
	})
}

// A build image goes where -output says, and is told in <extended>/build, too.
func TestExtendBuildImage(t *testing.T) {
	base := smallBase(t, nil)
	s := newScene(t, "build", "oci:"+base, embedded(t))
	s.step("one", "USER root", "RUN touch /made") // the build image may end as root
	s.succeed("-output", "oci:"+s.path("whole"))
	whole := openLayout(t, s.path("whole"))
	validateImage(t, whole)
	if user := configOf(t, whole).Config.User; user != "root" {
		t.Errorf("the user is %q", user)
	}
	checkLayers(t, s, openLayout(t, base), 1)
	if _, ok := fileTree(t, unpack(t, whole))["made"]; !ok {
		t.Error("what the RUN made is missing")
	}
}

// Platforms of API 0.12 have another layout of <generated>, and no contexts.
func TestGeneratedOfOldPlatforms(t *testing.T) {
	base := smallBase(t, nil)
	s := newScene(t, "run", "oci:"+base, embedded(t))
	s.env["CNB_PLATFORM_API"] = "0.12"
	s.env["CNB_EXPERIMENTAL_MODE"] = "silent"
	s.write("layers/group.toml", "[[group-extensions]]\nid = \"a/b\"\nversion = \"1\"\napi = \"0.9\"\n")
	s.write("layers/generated/run/a_b/Dockerfile", "ARG base_image\nFROM ${base_image}\nARG own\nRUN echo $own >/tmp/own\nCOPY file /data/\nUSER 7\n")
	s.write("layers/generated/run/a_b/extend-config.toml", "[[run.args]]\nname = \"own\"\nvalue = \"a value\"\n")
	s.write("layers/generated/run/a_b/context/file", "of a context that this API does not have")
	s.write("app/file", "of the app")
	s.succeed()
	files := s.files(openLayout(t, base))
	if files["tmp/own"] != "a value\n" || files["data/file"] != "of the app" {
		t.Errorf("the layers hold %v", files)
	}
}
