package result_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graft-cnb/graft/dockerfile/internal/needs"
	"github.com/graft-cnb/graft/dockerfile/result"
)

// CONTRACT 7.6: the added layers, in whatever form, are on the root directory, in order,
// but for what is left alone; and only if they are what they are said to be.
func TestDeliverOntoRoot(t *testing.T) {
	needs.Root(t)
	b := newBase(t)
	first, second := newLayer(t, tarOf(t, "a"), types.OCILayer), newLayer(t, tarOf(t, "b"), types.OCIUncompressedLayer)
	for name, c := range map[string]struct {
		root    func(dir string) result.Root
		damaged bool
		want    string
	}{
		"all":       {func(dir string) result.Root { return result.Root{Dir: dir} }, false, "b"},
		"skipped":   {func(dir string) result.Root { return result.Root{Dir: dir, Skip: []string{"/file"}} }, false, "old"},
		"no root":   {func(string) result.Root { return result.Root{} }, false, "old"},
		"a damaged": {func(dir string) result.Root { return result.Root{Dir: dir} }, true, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, output := t.TempDir(), filepath.Join(t.TempDir(), "output")
			if err := os.WriteFile(filepath.Join(dir, "file"), []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			last := second
			if c.damaged {
				last.Path = first.Path
			}
			err := deliver(t, newImage(t, b, first, last), result.Destinations{
				Outputs: []result.Output{{Layout: output}}, Root: c.root(dir),
			})
			if errors.Is(err, result.ErrDamaged) != c.damaged || err != nil && !c.damaged {
				t.Errorf("the error is %v", err)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(got) != c.want {
				t.Errorf("the file is %q (%v), wanted %q", got, err, c.want)
			}
			if _, err := os.Stat(filepath.Join(output, "index.json")); (err == nil) == c.damaged {
				t.Errorf("the other destination: %v", err)
			}
		})
	}
}
