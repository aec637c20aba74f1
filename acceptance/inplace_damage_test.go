package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A cache of a whole build in place that is damaged costs what is damaged and no more than
// the cache, and the run that finds out succeeds. The build looks a user up in its result:
// what that left in the cache was once in the way of dropping a layer, for good. A bad page
// of a database was once the end of every run, with a trace of Go's.
func TestInPlaceDamage(t *testing.T) {
	base := smallBase(t, nil)
	volume := filepath.Join(t.TempDir(), "kaniko")
	run := func(t *testing.T) outcome {
		t.Helper()
		c := newCell(t, base, engine{})
		c.shared["/kaniko"] = volume
		c.extension("run", "USER root", "RUN echo once >/first", "RUN cat /first >/second", "USER cnb")
		o := c.extend("run")
		if o.code != 0 || strings.Contains(o.stderr, "goroutine") {
			t.Fatalf("%v", o)
		}
		return o
	}
	state := filepath.Join(volume, "cache", "graft", "inplace")
	for name, test := range map[string]struct {
		damage func(t *testing.T)
		warns  string
	}{
		"truncated layers": {func(t *testing.T) { eachLayer(t, state, func(blob string) error { return os.Truncate(blob, 1) }) }, "it is dropped"},
		"missing layers":   {func(t *testing.T) { eachLayer(t, state, os.Remove) }, "it is dropped"},
		"other layers": {func(t *testing.T) {
			eachLayer(t, state, func(blob string) error { return os.WriteFile(blob, []byte("other"), 0o644) })
		}, "it is dropped"},
		"no content":  {func(t *testing.T) { check(t, os.RemoveAll(filepath.Join(state, "content"))) }, "it is dropped"},
		"bad pages":   {func(t *testing.T) { clearPages(t, filepath.Join(state, "cache.db")) }, "starting with an empty one"},
		"bad records": {func(t *testing.T) { clearPages(t, filepath.Join(state, "metadata_v2.db")) }, "starting with an empty one"},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, os.RemoveAll(volume))
			check(t, os.Mkdir(volume, 0o755))
			run(t)
			test.damage(t)
			if o := run(t); !strings.Contains(o.stderr, test.warns) {
				t.Errorf("nothing says %q: %v", test.warns, o)
			}
			if o := run(t); len(o.cached()) != 2 || o.stderr != "" {
				t.Errorf("the cache is not used again: %v", o)
			}
		})
	}
}

// eachLayer does something to all blobs in a state directory.
func eachLayer(t *testing.T, state string, do func(blob string) error) {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(state, "content", "blobs", "sha256", "*"))
	check(t, err)
	if len(blobs) < 2 {
		t.Fatalf("the cache has only %q", blobs)
	}
	for _, blob := range blobs {
		check(t, os.Chmod(blob, 0o644))
		check(t, do(blob))
	}
}

// clearPages overwrites what a database holds after the pages that say what there is.
func clearPages(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	check(t, err)
	clear(content[2*os.Getpagesize():])
	check(t, os.WriteFile(file, content, 0o600))
}
