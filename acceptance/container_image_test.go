package acceptance

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// withLayer adds a layer to an image.
func withLayer(t *testing.T, image v1.Image, layer v1.Layer) v1.Image {
	t.Helper()
	image, err := mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "of the tests"}})
	check(t, err)
	return image
}
