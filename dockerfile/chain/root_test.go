package chain_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
)

// rootEngine is an engine that works in the root filesystem that is wanted. It notes what
// it is asked for.
type rootEngine struct {
	chain.Engine
	err    error
	asked  []digest.Digest
	closed bool
	late   bool
}

func (e *rootEngine) FastForward(_ context.Context, added []digest.Digest) error {
	e.asked, e.late = added, e.closed
	return e.err
}

func (e *rootEngine) Close() error {
	e.closed = true
	return e.Engine.Close()
}

func rootApplication(t *testing.T, root string) dockerfile.Application {
	t.Helper()
	return dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{user: "1001:1000", env: []string{"OF=base"}})),
		Steps: steps(t, dockerfile.KindBuild, from+"USER root\nENV ADDED=a=b\nRUN echo one >/one\nRUN echo two >/two; mkdir /kept; echo >/kept/file\n"),
		Root:  root, RootSkip: []string{"/kept"},
	}
}

// CONTRACT 7.6: after extending, the added layers are on the root directory, and what is
// not the image's is left alone. The environment of the image is told.
func TestAddedLayersAreOnTheRoot(t *testing.T) {
	h := withEngine(t)
	root := t.TempDir()
	e := apply(t, h, rootApplication(t, root))
	for name, want := range map[string]string{"one": "one\n", "two": "two\n", "kept/file": ""} {
		if got, _ := os.ReadFile(filepath.Join(root, name)); string(got) != want {
			t.Errorf("%s is %q, wanted %q", name, got, want)
		}
	}
	for _, variable := range []string{"OF=base", "ADDED=a=b"} {
		if !slices.Contains(e.applied.Env, variable) {
			t.Errorf("the environment %q lacks %s", e.applied.Env, variable)
		}
	}
}

// An engine that works in the root filesystem is asked to bring it to the result while it
// is open, and nobody else touches it then.
func TestEngineBringsTheRootForward(t *testing.T) {
	for name, broken := range map[string]error{"well": nil, "in vain": errors.New("the root is dirty")} {
		t.Run(name, func(t *testing.T) {
			h := withEngine(t)
			open, used := h.Engine, &rootEngine{err: broken}
			h.Engine = func(ctx context.Context) (chain.Engine, error) {
				e, err := open(ctx)
				used.Engine = e
				return used, err
			}
			root := t.TempDir()
			app := rootApplication(t, root)
			app.Outputs = []string{"oci:" + filepath.Join(t.TempDir(), "out")}
			applied, err := h.Apply(t.Context(), app)
			if !errors.Is(err, broken) || broken != nil && !strings.Contains(err.Error(), root) {
				t.Fatalf("the error is %v, wanted %v of %s", err, broken, root)
			}
			if used.late || len(used.asked) != 2 || applied[0].Layers != 2 {
				t.Errorf("asked for %v, late: %v; %d layers were added", used.asked, used.late, applied[0].Layers)
			}
			if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 {
				t.Errorf("somebody else has changed the root: %v %v", entries, err)
			}
		})
	}
}

// A chain without a layer leaves the root as it is, and tells its environment.
func TestNothingToBringToTheRoot(t *testing.T) {
	h := newHarness(t)
	root := t.TempDir()
	app := rootApplication(t, root)
	app.Steps = steps(t, dockerfile.KindBuild, from+"ENV ADDED=a=b\n")
	e := apply(t, h, app)
	if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 || !slices.Contains(e.applied.Env, "ADDED=a=b") {
		t.Errorf("the root holds %v (%v), the environment is %q", entries, err, e.applied.Env)
	}
}

// An engine that brings the root directory forward by itself knows only the layers that it
// made: with other times in them they would be others.
func TestRootKeepsTheTimesOfFiles(t *testing.T) {
	h := withEngine(t)
	open, used := h.Engine, &rootEngine{}
	h.Engine = func(ctx context.Context) (chain.Engine, error) {
		e, err := open(ctx)
		used.Engine = e
		return used, err
	}
	h.RewriteTimestamps = true
	app := rootApplication(t, t.TempDir())
	kept := apply(t, h, app)
	if !strings.Contains(strings.Join(h.warnings, "\n"), "keep their times") {
		t.Errorf("warnings %q", h.warnings)
	}
	app.Root, h.RewriteTimestamps = "", false
	if plain := apply(t, h, app); plain.applied.Manifest != kept.applied.Manifest {
		t.Error("the times of files were changed")
	}
	h.RewriteTimestamps = true
	if rewritten := apply(t, h, app); rewritten.applied.Manifest == kept.applied.Manifest {
		t.Error("without a root, the times of files were not changed")
	}
}
