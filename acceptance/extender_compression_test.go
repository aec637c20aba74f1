package acceptance

import (
	"net/http/httptest"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// -layer-compression decides the form of every added layer, in <extended> and in
// whole images, whatever form the engine keeps from another run.
func TestLayerCompression(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.address == "" {
			e.state = t.TempDir()
		}
		base := smallBase(t, nil)
		r := newRegistry(t, (*httptest.Server).Start)
		s := newScene(t, "run", "oci:"+base, e)
		s.env["CNB_REGISTRY_AUTH"] = `{"` + r.host + `": "` + basicAuth() + `"}`
		s.step("one", "RUN echo one >/tmp/one", "COPY file /data/", "USER 7")
		s.step("two", "RUN cat /bin/busybox /bin/busybox >/tmp/two")
		s.write("app/file", "content")
		extend := func(want types.MediaType, args ...string) string {
			t.Helper()
			s.succeed(append(args, "-output", "oci:"+s.path("whole"), "-output", "registry:"+r.host+"/app")...)
			checkLayers(t, s, openLayout(t, base), 3)
			validateImage(t, openLayout(t, s.path("whole")))
			for n, layer := range manifestOf(t, r.pull(t, r.host+"/app")).Layers {
				if n >= 2 && layer.MediaType != want || n < 2 && layer.MediaType != types.OCILayer {
					t.Errorf("layer %d is of type %s, wanted %s for added ones", n, layer.MediaType, want)
				}
			}
			return digest(t, s.image()).String()
		}
		plain := extend(types.OCIUncompressedLayer)
		zipped := extend(types.OCILayer, "-layer-compression", "gzip")
		// All that go-containerregistry has to say of an image, when it can read it.
		check(t, validate.Image(openLayout(t, s.path("whole"))))
		if again := extend(types.OCIUncompressedLayer, "-layer-compression", "uncompressed"); again != plain {
			t.Errorf("the image was %s, and is %s after one with gzip layers", plain, again)
		}
		if again := extend(types.OCILayer, "-layer-compression", "gzip"); again != zipped {
			t.Errorf("the image with gzip layers was %s, and is %s", zipped, again)
		}
	})
}

func TestLayerCompressionThatNobodyReads(t *testing.T) {
	s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
	s.env["CNB_LAYER_COMPRESSION"] = "zstd"
	s.fail(3, "CNB_LAYER_COMPRESSION", "zstd", "uncompressed, gzip")
}
