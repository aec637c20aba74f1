package dockerd_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/graft-cnb/graft/dockerfile/internal/dockerd"
)

// What stands after docker:// is nothing, the path of a socket, or a host and a port.
func TestAddress(t *testing.T) {
	for rest, want := range map[string]string{
		"": "", "/run/docker.sock": "unix:///run/docker.sock", "host:2375": "tcp://host:2375", "[::1]:2375": "tcp://[::1]:2375",
	} {
		if got, err := dockerd.Address(rest); err != nil || got != want {
			t.Errorf("%q is %q (%v), wanted %q", rest, got, err, want)
		}
	}
	for _, rest := range []string{"host", "host:", "run/docker.sock"} {
		if got, err := dockerd.Address(rest); err == nil {
			t.Errorf("%q is %q", rest, got)
		}
	}
}

// A daemon that is not there is named, with what names another.
func TestNoDaemon(t *testing.T) {
	_, err := dockerd.Connect(t.Context(), "unix:///nonexistent/docker.sock")
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/docker.sock") || !strings.Contains(err.Error(), "DOCKER_HOST") {
		t.Errorf("error %v", err)
	}
}

// image is an image of so many layers.
func image(t *testing.T, layers int64) dockerd.Image {
	t.Helper()
	img, err := random.Image(100, layers)
	if err != nil {
		t.Fatal(err)
	}
	out := dockerd.Image{Tag: "some/app:1"}
	if out.Config, err = img.RawConfigFile(); err != nil {
		t.Fatal(err)
	}
	if out.Layers, err = img.Layers(); err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	out.Descriptors = manifest.Layers
	return out
}

// given reads an archive: what it says of the image, and the layers that are in it.
func given(t *testing.T, archive io.Reader) (layers, files []string) {
	t.Helper()
	var manifest []struct{ Layers, RepoTags []string }
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == "manifest.json" {
			if err := json.NewDecoder(r).Decode(&manifest); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasSuffix(h.Name, ".tar") {
			files = append(files, h.Name)
		}
	}
	if len(manifest) != 1 || !slices.Equal(manifest[0].RepoTags, []string{"some/app:1"}) {
		t.Fatalf("the manifest is %v", manifest)
	}
	return manifest[0].Layers, files
}

// The layers that a daemon is likely to have are neither sent nor read, unless it turns
// out to lack them.
func TestGiveLeavesLayersOut(t *testing.T) {
	for _, has := range []bool{true, false} {
		img := image(t, 3)
		if has {
			img.Layers = slices.Clone(img.Layers)
			img.Layers[0], img.Layers[1] = unreadable{img.Layers[0]}, unreadable{img.Layers[1]}
		}
		var sent []int
		err := img.Give(t.Context(), 2, func(_ context.Context, archive io.Reader) error {
			layers, files := given(t, archive)
			if len(layers) != 3 || !slices.Contains(files, layers[2]) {
				t.Errorf("of the layers %v the archive has %v", layers, files)
			}
			sent = append(sent, len(files))
			if !has && len(files) < 3 {
				return errors.New("a layer is missing")
			}
			return nil
		})
		want := []int{1}
		if !has {
			want = []int{1, 3}
		}
		if err != nil || !slices.Equal(sent, want) {
			t.Errorf("it was sent %v layers, wanted %v: %v", sent, want, err)
		}
	}
}

// A layer that cannot be read is what is told, and not what the daemon makes of the rest.
func TestGiveTellsWhatCannotBeRead(t *testing.T) {
	img := image(t, 1)
	img.Layers = []v1.Layer{unreadable{img.Layers[0]}}
	err := img.Give(t.Context(), 0, func(_ context.Context, archive io.Reader) error {
		_, err := io.Copy(io.Discard, archive)
		return err
	})
	if !errors.Is(err, errUnreadable) || !strings.Contains(err.Error(), "layer 1 of 1") {
		t.Errorf("error %v", err)
	}
}

var errUnreadable = errors.New("cannot be read")

type unreadable struct{ v1.Layer }

func (unreadable) Compressed() (io.ReadCloser, error) { return nil, errUnreadable }
