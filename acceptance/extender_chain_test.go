package acceptance

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// However many extensions there are, they are one graph: one engine solves it in one
// build, and exports once.
func TestManyExtensionsAreOneBuild(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		base := smallBase(t, nil)
		s := newScene(t, "run", "oci:"+base, e)
		const extensions = 12
		for i := range extensions {
			s.step(fmt.Sprintf("example/%d", i), "USER root", fmt.Sprintf("RUN echo %d >>/tmp/all", i), "USER 7")
		}
		o := s.succeed()
		checkLayers(t, s, openLayout(t, base), extensions)
		if all := s.files(openLayout(t, base))["tmp/all"]; strings.Count(all, "\n") != extensions {
			t.Errorf("the last one sees %q", all)
		}
		if n := strings.Count(o.stdout, "Engine: "); n != 1 {
			t.Errorf("%d engines: %v", n, o)
		}
		for _, step := range []string{"exporting to", "[base] FROM"} {
			numbers := map[string]bool{}
			for _, found := range regexp.MustCompile(`(?m)^#(\d+) `+regexp.QuoteMeta(step)).FindAllStringSubmatch(o.stdout, -1) {
				numbers[found[1]] = true
			}
			if len(numbers) != 1 {
				t.Errorf("the steps %v are %q, wanted one: %v", numbers, step, o)
			}
		}
	})
}
