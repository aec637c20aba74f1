package acceptance

import (
	"reflect"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// coldScene is always the same but for its engine, which has an empty cache. What its
// Dockerfiles do is the same each time, but for when.
func coldScene(t *testing.T, e engine, base string) *scene {
	t.Helper()
	s := newScene(t, "run", "oci:"+base, e)
	s.step("one", "USER root", "WORKDIR /made/by/workdir", "COPY file copied", "RUN mkdir -p /made/dir && echo x >/made/dir/file && ln -s file /made/dir/link && rm /data/old/file")
	s.step("two", "RUN <<EOF", "echo y >>/made/dir/file", "chmod 600 /etc/group", "EOF", "USER 7")
	s.write("app/file", "copied\n")
	return s
}

// eachColdPair runs a test with two engines that have nothing in common.
func eachColdPair(t *testing.T, test func(t *testing.T, one, two engine)) {
	t.Run("embedded", func(t *testing.T) { test(t, embeddedIn(t, t.TempDir()), embeddedIn(t, t.TempDir())) })
	t.Run("buildkitd", func(t *testing.T) { test(t, buildkitd(t), buildkitd(t)) })
}

// Two cold runs of Dockerfiles that are themselves deterministic give one manifest with
// -rewrite-timestamps, in either form of the layers. What was added is dated to
// SOURCE_DATE_EPOCH, and the base's layers are as they were.
func TestTwoColdRuns(t *testing.T) {
	base := smallBase(t, nil)
	for _, form := range []string{"uncompressed", "gzip"} {
		t.Run(form, func(t *testing.T) {
			eachColdPair(t, func(t *testing.T, one, two engine) {
				var digests []v1.Hash
				for _, e := range []engine{one, two} {
					s := coldScene(t, e, base)
					s.env["CNB_REWRITE_TIMESTAMPS"] = "true"
					s.env["SOURCE_DATE_EPOCH"] = "86400"
					s.succeed("-layer-compression", form, "-output", "oci:"+s.path("whole"))
					digests = append(digests, digest(t, s.image()))
					checkLayers(t, s, openLayout(t, base), 4)
					checkDates(t, s, openLayout(t, base))
					validateImage(t, openLayout(t, s.path("whole")))
					time.Sleep(1100 * time.Millisecond) // times in a tar file are whole seconds
				}
				if digests[0] != digests[1] {
					t.Errorf("the manifests are %v", digests)
				}
			})
		})
	}
}

// checkDates demands that nothing in added layers, or in the configuration, is newer than
// a day after 1970.
func checkDates(t *testing.T, s *scene, base v1.Image) {
	t.Helper()
	epoch := time.Unix(86400, 0)
	for n, layer := range s.added(base) {
		headers, _ := layerEntries(t, layer)
		for name, h := range headers {
			if h.ModTime.After(epoch) {
				t.Errorf("added layer %d: %s is of %v", n+1, name, h.ModTime)
			}
		}
	}
	config := configOf(t, s.image())
	if !config.Created.Equal(epoch) {
		t.Errorf("the image is of %v", config.Created)
	}
	for _, h := range config.History[len(manifestOf(t, base).Layers):] {
		if !h.Created.Equal(epoch) {
			t.Errorf("%s is of %v", h.CreatedBy, h.Created)
		}
	}
}

// Without it, the times of files in added layers are what they are, and only they differ:
// the configuration is of a fixed date.
func TestTwoColdRunsWithTheTimesOfFiles(t *testing.T) {
	base := smallBase(t, nil)
	eachColdPair(t, func(t *testing.T, one, two engine) {
		var configs []*v1.ConfigFile
		var trees [][]map[string]string
		for _, e := range []engine{one, two} {
			s := coldScene(t, e, base)
			begin := time.Now().Truncate(time.Second)
			s.succeed()
			added := s.added(openLayout(t, base))
			headers, _ := layerEntries(t, added[2])
			if made := headers["made/dir/file"].ModTime; made.Before(begin) {
				t.Errorf("a file that was just made is of %v", made)
			}
			var layers []map[string]string
			for _, layer := range added {
				layers = append(layers, layerTree(t, layer))
			}
			trees = append(trees, layers)
			config := configOf(t, s.image())
			if want := time.Date(1980, 1, 1, 0, 0, 1, 0, time.UTC); !config.Created.Equal(want) {
				t.Errorf("the image is of %v", config.Created)
			}
			config.RootFS.DiffIDs = nil
			configs = append(configs, config)
		}
		if !reflect.DeepEqual(configs[0], configs[1]) {
			t.Errorf("the configurations differ:\n%+v\n%+v", configs[0], configs[1])
		}
		if !reflect.DeepEqual(trees[0], trees[1]) {
			t.Errorf("the layers differ in more than times:\n%v\n%v", trees[0], trees[1])
		}
	})
}
