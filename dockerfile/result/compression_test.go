package result_test

import (
	"os"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graft-cnb/graft/dockerfile/result"
)

// A layer that arrives in another form than the one wanted is packed anew, and
// is then what it would have been in that form from the start.
func TestLayersAreRepackedInTheFormThatIsWanted(t *testing.T) {
	content := tarOf(t, "some content")
	forms := map[result.Compression]types.MediaType{
		"": types.OCIUncompressedLayer, result.Uncompressed: types.OCIUncompressedLayer, result.Gzip: types.OCILayer,
	}
	for want, mediaType := range forms {
		direct := newLayer(t, content, mediaType)
		for _, have := range []types.MediaType{types.OCILayer, types.OCIUncompressedLayer, types.OCILayerZStd} {
			l := newLayer(t, content, have)
			if err := l.Normalize(t.Context(), want); err != nil {
				t.Errorf("%s as %q: %v", have, want, err)
				continue
			}
			info, err := os.Stat(l.Path)
			if err != nil {
				t.Fatal(err)
			}
			if l.Type != mediaType || l.Blob != direct.Blob || l.Bytes != info.Size() || l.DiffID != direct.DiffID {
				t.Errorf("%s as %q: %+v, wanted %+v", have, want, l, direct)
			}
		}
	}
}
