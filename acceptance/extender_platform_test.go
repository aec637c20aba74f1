package acceptance

import (
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// imageFor is the small image as one for another architecture, in a layout.
func imageFor(t *testing.T, architecture string) string {
	t.Helper()
	own := smallImage(t, nil)
	config := configOf(t, own).DeepCopy()
	config.Architecture = architecture
	image, err := mutate.ConfigFile(own, config)
	check(t, err)
	dir := filepath.Join(t.TempDir(), "base")
	writeLayout(t, dir, image)
	return dir
}

// An architecture that is foreign, but that the kernel can run, is no obstacle to a RUN,
// and the extended image is for it.
func TestPlatformThatTheKernelCanRun(t *testing.T) {
	need(t, goarch == "amd64", "a processor of amd64, whose kernel runs programs for 386, too")
	base := imageFor(t, "386")
	eachEngine(t, func(t *testing.T, e engine) {
		s := newScene(t, "run", "oci:"+base, e)
		s.step("one", "ARG TARGETARCH", "RUN echo $TARGETARCH >/tmp/arch", "USER 7")
		s.succeed()
		if arch := configOf(t, s.image()).Architecture; arch != "386" {
			t.Errorf("the extended image is for %s", arch)
		}
		if arch := s.files(openLayout(t, base))["tmp/arch"]; arch != "386\n" {
			t.Errorf("a RUN is told of %q", arch)
		}
	})
}
