package acceptance

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// refusedInPlace are the cases of the golden set that need what only isolation gives, and
// what is said about it.
var refusedInPlace = map[string]string{
	"copy-args":        "is read-only, and in place nothing can keep a command from writing there",
	"dockerignore":     "is read-only, and in place nothing can keep a command from writing there",
	"mount-bind-tmpfs": "is read-only, and in place nothing can keep a command from writing there",
	"network":          "RUN --network=none cannot be done in place",
}

// otherInPlace are files that are something else in place, by case: what a command saw of
// a mount that is a link, or that nothing keeps it from writing to; and what COPY --link
// puts in the way of a link, where an ordinary COPY follows it; and a directory whose
// hard links an overlay has parted.
var otherInPlace = map[string][]string{
	"mount-cache":  {"stat", "list"},
	"mount-secret": {"stat"},
	"chain-three":  {"three/z/file", "three/z/hard"},
	"copy-link":    {"link-target/through", "data/link", "data/link/through"},
}

// In place the layers are those of the engine that isolates, but for files that were
// touched and are what they were, and for further names of files of lower layers, which
// an overlay makes files of their own. What cannot be done in place is refused, with 102.
func TestGoldenSetInPlace(t *testing.T) {
	docker := startDocker(t)
	isolating := embeddedIn(t, filepath.Join(t.TempDir(), "state"))
	for _, c := range goldenSet(t) {
		t.Run(c.name, func(t *testing.T) {
			base := goldenBase(t, c)
			image := openLayout(t, base)
			below := len(manifestOf(t, image).Layers)
			docker.load(t, "golden:"+c.name, image)
			defer docker.docker(t, "rmi", "--force", "golden:"+c.name)
			s := newGoldenScene(t, c, base, engine{state: "unused"})
			o := finish(t, s.inContainer(docker, "golden:"+c.name, base))
			if words := refusedInPlace[c.name]; words != "" {
				if o.code != 102 || !strings.Contains(o.stderr, words) {
					t.Errorf("wanted exit code 102 and %q: %v", words, o)
				}
				return
			}
			if o.code != 0 || !strings.Contains(o.stdout, "Engine: in-place BuildKit") && !strings.Contains(o.stdout, "with 0 layers") {
				t.Fatalf("the extender in a container: %v", o)
			}
			inPlace := openLayout(t, s.path("whole"))

			s = newGoldenScene(t, c, base, isolating)
			s.succeed()
			isolated := openLayout(t, s.path("whole"))
			a, b := readGolden(t, inPlace, below), readGolden(t, isolated, below)
			dropUntouched(t, a.layers, b.layers, inPlace, below)
			for n := range min(len(a.layers), len(b.layers)) {
				for _, path := range otherInPlace[c.name] {
					delete(a.layers[n], path)
					delete(b.layers[n], path)
				}
			}
			compareGolden(t, "in place", a, "embedded", b)
		})
	}
}

// dropUntouched drops entries of layers that only one of two images has, and that are
// what lies below them.
func dropUntouched(t *testing.T, a, b []map[string]string, image v1.Image, below int) {
	t.Helper()
	layers, err := image.Layers()
	check(t, err)
	was := map[string]string{}
	for n, layer := range layers {
		tree := layerTree(t, layer)
		if added := n - below; added >= 0 && added < min(len(a), len(b)) {
			dropLinked(a[added], b[added], was)
			dropKnown(a[added], b[added], was)
			dropKnown(b[added], a[added], was)
		}
		for path, text := range tree {
			was[path] = text
		}
	}
}

// dropKnown drops what a has, b has not, and was already.
func dropKnown(a, b, was map[string]string) {
	for path, text := range a {
		if _, both := b[path]; !both && was[path] == text {
			delete(a, path)
		}
	}
}

// dropLinked drops the names of files of which one was there before, where the layers
// differ in them.
func dropLinked(a, b, was map[string]string) {
	for path, text := range maps.Clone(a) {
		_, list, linked := strings.Cut(text, " same file: ")
		if !linked || b[path] == text {
			continue
		}
		var names []string
		for _, quoted := range strings.Fields(strings.Trim(list, "[]")) {
			names = append(names, strings.Trim(quoted, `"`))
		}
		if slices.ContainsFunc(names, func(name string) bool { return was[name] != "" }) {
			for _, name := range names {
				delete(a, name)
				delete(b, name)
			}
		}
	}
}
