package chain

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile/base"
)

// testBase is a base of two layers.
func testBase(t *testing.T) *base.Image {
	t.Helper()
	img, err := random.Image(256, 2)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: rootFS(t, img)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := base.FromImage("test.invalid/base", img)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rootFS(t *testing.T, img v1.Image) v1.RootFS {
	t.Helper()
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return file.RootFS
}

// put writes a blob as an engine would.
func put(t *testing.T, r *receiver, data []byte) ocispecs.Descriptor {
	t.Helper()
	desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := content.WriteBlob(t.Context(), r, desc.Digest.String(), bytes.NewReader(data), desc); err != nil {
		t.Fatal(err)
	}
	return desc
}

// export writes manifest and configuration of an image with these layers.
func export(t *testing.T, r *receiver, layers []ocispecs.Descriptor, diffIDs []digest.Digest) digest.Digest {
	t.Helper()
	config, err := json.Marshal(ocispecs.Image{RootFS: ocispecs.RootFS{DiffIDs: diffIDs}})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(ocispecs.Manifest{Config: put(t, r, config), Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	return put(t, r, manifest).Digest
}

// Blobs of the base are refused as being there already, so that no engine sends
// them.
func TestReceiverHasTheBaseAlready(t *testing.T) {
	b := testBase(t)
	r, err := newReceiver(t.TempDir(), b, "")
	if err != nil {
		t.Fatal(err)
	}
	d := b.Manifest.Layers[1].Digest.String()
	_, err = r.Writer(t.Context(), content.WithRef(d), content.WithDescriptor(ocispecs.Descriptor{Digest: digest.Digest(d)}))
	if !errdefs.IsAlreadyExists(err) {
		t.Errorf("error %v", err)
	}
}

// CONTRACT 7.5: layers of the base are never re-created: same digests, same
// order. An engine that does otherwise is found out.
func TestReceiverChecksTheLayersOfTheBase(t *testing.T) {
	b := testBase(t)
	r, err := newReceiver(t.TempDir(), b, "")
	if err != nil {
		t.Fatal(err)
	}
	var below []ocispecs.Descriptor
	for _, l := range b.Manifest.Layers {
		below = append(below, ocispecs.Descriptor{MediaType: string(l.MediaType), Digest: digest.Digest(l.Digest.String()), Size: l.Size})
	}
	ids := b.Config.RootFS.DiffIDs
	added := put(t, r, []byte("an added layer"))
	for what, c := range map[string]struct {
		layers []ocispecs.Descriptor
		ids    []digest.Digest
		want   string
	}{
		"right":            {append(below[:2:2], added), append(ids[:2:2], added.Digest), ""},
		"one equal to one": {append(below[:2:2], below[0]), append(ids[:2:2], ids[0]), ""},
		"squashed":         {[]ocispecs.Descriptor{added}, []digest.Digest{added.Digest}, "1 layers"},
		"one too many":     {append(below[:2:2], added, added), append(ids[:2:2], added.Digest, added.Digest), "4 layers"},
		"other order":      {[]ocispecs.Descriptor{below[1], below[0], added}, append(ids[:2:2], added.Digest), "changed layer 1"},
		"other diffID":     {append(below[:2:2], added), []digest.Digest{ids[1], ids[1], added.Digest}, "changed layer 1"},
		"too few diffIDs":  {append(below[:2:2], added), ids, "2 diffIDs"},
	} {
		got, err := r.added(t.Context(), export(t, r, c.layers, c.ids), 1)
		switch {
		case c.want == "" && (err != nil || len(got) != 1):
			t.Errorf("%s: %v %v", what, got, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}
