package acceptance

import (
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"slices"
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

// Features of the system that a base names do not make it one for another platform: it was
// refused as one for linux/amd64 where the engine runs linux/amd64.
func TestBaseWithFeaturesOfTheSystem(t *testing.T) {
	own := smallImage(t, nil)
	config := configOf(t, own).DeepCopy()
	config.OSFeatures, config.OSVersion = []string{"some-feature", "another"}, "1.2"
	image, err := mutate.ConfigFile(own, config)
	check(t, err)
	dir := filepath.Join(t.TempDir(), "base")
	writeLayout(t, dir, image)
	r := newRegistry(t, (*httptest.Server).Start)
	for from, base := range map[string]string{"layout": "oci:" + dir, "registry": r.push(t, "base:tag", image)} {
		t.Run(from, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, e engine) {
				if e.address == "" {
					e.state = t.TempDir()
				}
				s := newScene(t, "run", base, e)
				s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
				s.step("one", "RUN true >/tmp/ran", "USER 7")
				s.succeed()
				if got := configOf(t, s.image()); !slices.Equal(got.OSFeatures, config.OSFeatures) {
					t.Errorf("the extended image has the features %q", got.OSFeatures)
				}
			})
		})
	}
}
