package result_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

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

func TestOutputsMustBeNamed(t *testing.T) {
	for _, s := range []string{"", "dir", "oci:", "registry:", "docker:", "docker:UPPER", "docker:a@sha256:b", "registry:UPPER"} {
		if _, err := result.ParseOutput(s, nil); err == nil || !strings.Contains(err.Error(), "output") {
			t.Errorf("%q: %v", s, err)
		}
	}
}
