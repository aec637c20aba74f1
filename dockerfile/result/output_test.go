package result_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/sync/errgroup"

	"github.com/graft-cnb/graft/dockerfile/result"
)

// A whole image in a layout is complete, replaces what was there, and a
// directory with something else in it is left alone.
func TestLayoutOutput(t *testing.T) {
	b := newBase(t)
	out := filepath.Join(t.TempDir(), "a", "b")
	for _, content := range []string{"one", "two"} {
		img := newImage(t, b, newLayer(t, tarOf(t, content), types.OCILayer))
		o, err := result.ParseOutput("oci:"+out, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := deliver(t, img, result.Destinations{Outputs: []result.Output{o}}); err != nil {
			t.Fatal(err)
		}
		index, err := layout.ImageIndexFromPath(out)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index); err != nil {
			t.Error(err)
		}
		m, err := index.IndexManifest()
		if err != nil || len(m.Manifests) != 1 || m.Manifests[0].Digest.String() != digestOf(t, img) {
			t.Errorf("index %+v %v", m, err)
		}
		if blobs, _ := os.ReadDir(filepath.Join(out, "blobs", "sha256")); len(blobs) != 5 {
			t.Errorf("%d blobs, want 3 layers, a configuration and a manifest", len(blobs))
		}
	}
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := result.ParseOutput("oci:"+occupied, nil); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("an occupied directory: %v", err)
	}
}

// A run that fails leaves the layout that was there, and none that was not.
func TestFailedRunKeepsTheLayoutThatWasThere(t *testing.T) {
	b := newBase(t)
	there, absent := filepath.Join(t.TempDir(), "there"), filepath.Join(t.TempDir(), "absent")
	first := newImage(t, b, newLayer(t, tarOf(t, "one"), types.OCILayer))
	if err := deliver(t, first, result.Destinations{Outputs: []result.Output{{Layout: there}}}); err != nil {
		t.Fatal(err)
	}
	second := newImage(t, b, newLayer(t, tarOf(t, "two"), types.OCILayer))
	err := deliver(t, second, result.Destinations{Outputs: []result.Output{
		{Layout: there}, {Layout: absent}, {Reference: "127.0.0.1:1/nobody/listens:here"},
	}})
	if err == nil || !strings.Contains(err.Error(), "push to 127.0.0.1:1/nobody/listens:here") {
		t.Errorf("error %v", err)
	}
	index, err := layout.ImageIndexFromPath(there)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	if m, _ := index.IndexManifest(); m.Manifests[0].Digest.String() != digestOf(t, first) {
		t.Error("the layout names another image")
	}
	if _, err := os.Stat(absent); err == nil {
		t.Error("a layout that was not there has been begun")
	}
}

// Two runs that write to one layout at the same time leave the image of one of them, and
// all of it: the blobs of the other were removed while it was still bringing them.
func TestLayoutOutputOfTwoRuns(t *testing.T) {
	b := newBase(t)
	images := []*result.Image{
		newImage(t, b, newLayer(t, tarOf(t, "one"), types.OCILayer)),
		newImage(t, b, newLayer(t, tarOf(t, "two"), types.OCILayer)),
		newImage(t, b, newLayer(t, tarOf(t, "two"), types.OCILayer), newLayer(t, tarOf(t, "three"), types.OCILayer)),
	}
	for n := range 20 {
		out := filepath.Join(t.TempDir(), "out")
		if n%2 == 1 { // and it may hold an image already, which goes
			if err := deliver(t, images[2], result.Destinations{Outputs: []result.Output{{Layout: out}}}); err != nil {
				t.Fatal(err)
			}
		}
		var group errgroup.Group
		for _, img := range images[:2] {
			group.Go(func() error {
				stage, err := result.NewStage(filepath.Dir(out))
				if err != nil {
					return err
				}
				defer stage.Close()
				d, err := img.Prepare(t.Context(), stage, result.Destinations{Outputs: []result.Output{{Layout: out}}})
				if err != nil {
					return err
				}
				return result.Deliver(t.Context(), d)
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		index, err := layout.ImageIndexFromPath(out)
		if err == nil {
			err = validate.Index(index)
		}
		if err != nil {
			t.Fatalf("in round %d the layout is not whole: %v", n, err)
		}
	}
}

// A run that is given up takes nothing away from another that has written to the same
// layout.
func TestAbortedRunKeepsTheLayoutOfAnother(t *testing.T) {
	b := newBase(t)
	out := filepath.Join(t.TempDir(), "out")
	to := result.Destinations{Outputs: []result.Output{{Layout: out}}}
	stage, err := result.NewStage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	var both [2]*result.Delivery
	for n, content := range []string{"one", "two"} {
		both[n], err = newImage(t, b, newLayer(t, tarOf(t, content), types.OCILayer)).Prepare(t.Context(), stage, to)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := result.Deliver(t.Context(), both[1]); err != nil {
		t.Fatal(err)
	}
	both[0].Abort() // which made the directory
	index, err := layout.ImageIndexFromPath(out)
	if err == nil {
		err = validate.Index(index)
	}
	if err != nil {
		t.Errorf("the layout is not whole: %v", err)
	}
}

// Stages that are made at the same time leave each other alone: one that was just made was
// taken for one that a killed run had left.
func TestStagesAtTheSameTime(t *testing.T) {
	dir := t.TempDir()
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			for range 50 {
				stage, err := result.NewStage(dir)
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(stage.Path(), "file"), nil, 0o600); err != nil {
					return errors.Join(err, stage.Close())
				}
				if err := stage.Close(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOutputsMustBeNamed(t *testing.T) {
	for _, s := range []string{"", "dir", "oci:", "registry:", "docker:", "docker:UPPER", "docker:a@sha256:b", "registry:UPPER"} {
		if _, err := result.ParseOutput(s, nil); err == nil || !strings.Contains(err.Error(), "output") {
			t.Errorf("%q: %v", s, err)
		}
	}
}
