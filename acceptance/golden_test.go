package acceptance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// goldenDir holds the golden set, a directory for each case: generated/ as an
// extender reads it (one Dockerfile for each extension, which are applied in the
// order of their names), app/ and case.toml if there is need, and Dockerfile, one
// that comes to the same as all the generated ones.
const goldenDir = "testdata/golden"

// goldenCase is one case of the golden set: Dockerfiles whose layers must be those
// that BuildKit's own client gets of them.
type goldenCase struct {
	name string
	// kind is that of the Dockerfiles.
	kind string
	// extensions have one each, in this order.
	extensions []string
	goldenOptions
}

// goldenOptions are what case.toml may say.
type goldenOptions struct {
	// Base is "debian", or nothing for goldenBase.
	Base string `toml:"base"`
	// OnBuild are triggers of the base.
	OnBuild []string `toml:"onbuild"`
	// Secrets are what a RUN may ask for, by id.
	Secrets map[string]string `toml:"secrets"`
}

// goldenSet reads the golden set.
func goldenSet(t *testing.T) []goldenCase {
	t.Helper()
	entries, err := os.ReadDir(goldenDir)
	check(t, err)
	var all []goldenCase
	for _, entry := range entries {
		c := goldenCase{name: entry.Name()}
		if _, err := toml.DecodeFile(filepath.Join(goldenDir, c.name, "case.toml"), &c.goldenOptions); err != nil && !os.IsNotExist(err) {
			t.Fatalf("%s: %v", c.name, err)
		}
		files, err := filepath.Glob(filepath.Join(goldenDir, c.name, "generated", "*", "*.Dockerfile"))
		check(t, err)
		for _, file := range files { // sorted
			c.kind = strings.TrimSuffix(filepath.Base(file), ".Dockerfile")
			c.extensions = append(c.extensions, filepath.Base(filepath.Dir(file)))
		}
		all = append(all, c)
	}
	return all
}

// goldenBase is the base of most cases: the small image, and beside it what only a
// base can have below the layers that are added.
func goldenBase(t *testing.T, c goldenCase) string {
	t.Helper()
	if c.Base == "debian" {
		return debian(t)
	}
	image := smallImage(t, func(config *v1.Config) { config.OnBuild = c.OnBuild })
	dir := filepath.Join(t.TempDir(), "base")
	writeLayout(t, dir, appendLayer(t, image, goldenBaseLayer(t)))
	return dir
}

// prepare puts what the case consists of into a scene.
func (c goldenCase) prepare(t *testing.T, s *scene) {
	t.Helper()
	check(t, copyDir(filepath.Join(goldenDir, c.name, "generated"), s.path("layers/generated")))
	if app := filepath.Join(goldenDir, c.name, "app"); exists(app) {
		check(t, copyDir(app, s.path("app")))
	}
	if extras := goldenExtras[c.name]; extras != nil {
		extras(t, s.path("layers/generated"))
	}
	for _, id := range c.extensions {
		s.list(id)
	}
	for id, value := range c.Secrets {
		s.write("secrets/"+id, value)
		s.args = append(s.args, "-secret", "id="+id+",src="+s.path("secrets/"+id))
	}
	s.args = append(s.args, "-output", "oci:"+s.path("whole"))
}

// newGoldenScene is a case on its base, ready for an extender.
func newGoldenScene(t *testing.T, c goldenCase, base string, e engine) *scene {
	t.Helper()
	s := newScene(t, c.kind, "oci:"+base, e)
	c.prepare(t, s)
	return s
}

// goldenResult is what there is to compare of an extended image: the added layers,
// and the configuration.
type goldenResult struct {
	layers []map[string]string
	config string
}

// readGolden takes the layers from the one with this number on, and the config.
func readGolden(t *testing.T, image v1.Image, below int) goldenResult {
	t.Helper()
	layers, err := image.Layers()
	check(t, err)
	var r goldenResult
	for _, layer := range layers[below:] {
		r.layers = append(r.layers, layerTree(t, layer))
	}
	r.config = configText(t, image)
	return r
}

// compareGolden tells every difference.
func compareGolden(t *testing.T, nameA string, a goldenResult, nameB string, b goldenResult) {
	t.Helper()
	if len(a.layers) != len(b.layers) {
		t.Errorf("%s adds %d layers, %s %d", nameA, len(a.layers), nameB, len(b.layers))
	}
	for n := range min(len(a.layers), len(b.layers)) {
		t.Logf("added layer %d has %d entries", n+1, len(b.layers[n]))
		compareTrees(t, nameA, a.layers[n], nameB, b.layers[n])
	}
	if a.config != b.config {
		t.Errorf("the configuration of %s is\n%s\nand that of %s\n%s", nameA, a.config, nameB, b.config)
	}
}

// The layers and the configuration that the extender makes of Dockerfiles are those
// that BuildKit's own client makes of them: with the engine that is built in, and with
// a daemon. Several Dockerfiles are applied by that client one after the other, and
// where there is one that comes to the same, as that one.
func TestGoldenSet(t *testing.T) {
	client := newBuildctl(t)
	engines := []engine{embeddedIn(t, filepath.Join(t.TempDir(), "state")), buildkitd(t)}
	set := goldenSet(t)
	if len(set) < 25 {
		t.Errorf("the golden set has %d cases", len(set))
	}
	for _, c := range set {
		t.Run(c.name, func(t *testing.T) {
			base := goldenBase(t, c)
			below := len(manifestOf(t, openLayout(t, base)).Layers)
			s := newGoldenScene(t, c, base, engine{})
			want := readGolden(t, client.chain(t, c, s, base), below)
			if exists(filepath.Join(goldenDir, c.name, "Dockerfile")) {
				as := readGolden(t, client.single(t, c, s, base), below)
				compareGolden(t, "buildctl, one by one", want, "buildctl, as one Dockerfile", as)
			}
			for _, e := range engines {
				s := newGoldenScene(t, c, base, e)
				s.succeed()
				compareGolden(t, e.name, readGolden(t, openLayout(t, s.path("whole")), below), "buildctl", want)
			}
		})
	}
}

// A difference between two layers is told, whatever it is in: were it not, the golden
// set would hold for everything.
func TestLayerTreeTellsDifferences(t *testing.T) {
	trees := map[string]map[string]string{}
	for name, headers := range differentEntries() {
		trees[name] = layerTree(t, tarLayer(t, headers, map[string]string{"f": "abc", "g": "abd"}))
	}
	for nameA, a := range trees {
		for nameB, b := range trees {
			if nameA != nameB && equalTrees(a, b) {
				t.Errorf("%s and %s are described alike: %v", nameA, nameB, a)
			}
		}
	}
}

func equalTrees(a, b map[string]string) bool {
	var lines [2][]string
	for i, tree := range []map[string]string{a, b} {
		for path, text := range tree {
			lines[i] = append(lines[i], path+" "+text)
		}
		slices.Sort(lines[i])
	}
	return slices.Equal(lines[0], lines[1])
}
