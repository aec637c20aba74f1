package chain_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile"
)

// "check=error=true" failed every Dockerfile, for what the preamble draws that the
// specification demands, and did not say where. What else is found fails with the line.
func TestCheckThatMakesErrors(t *testing.T) {
	base := asLayout(t, makeBase(t, baseOptions{}))
	for name, c := range map[string]struct {
		content, want string
		line          int
	}{
		"nothing found": {"# check=error=true\n" + from + "ENV A=b\n", "", 0},
		"skipped":       {"# check=skip=LegacyKeyValueFormat;error=true\n" + from + "ENV A b\n", "", 0},
		"found":         {"# check=error=true\n" + from + "ENV C=d\nENV A b\n", `(LegacyKeyValueFormat), which "check" with error=true makes an error`, 5},
		"no option":     {"# check=nonsense\n" + from, `check=nonsense: invalid check option "nonsense"`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			_, err := h.Apply(t.Context(), dockerfile.Application{
				Kind: dockerfile.KindBuild, Base: base, Steps: steps(t, dockerfile.KindBuild, from, c.content),
			})
			var located *dockerfile.Error
			switch {
			case c.want == "" && err != nil:
				t.Errorf("error %v", err)
			case c.want != "" && (!errors.As(err, &located) || located.Line != c.line || located.Extension != "ext/b" || !strings.Contains(located.Problem, c.want)):
				t.Errorf("error %v, wanted %q in line %d", err, c.want, c.line)
			}
			if len(h.warnings) > 0 {
				t.Errorf("warnings %q", h.warnings)
			}
		})
	}
}

// One finding was shown as often as BuildKit came to it.
func TestFindingIsShownOnce(t *testing.T) {
	h := newHarness(t)
	shown := map[dockerfile.Finding]int{}
	h.Find = func(f dockerfile.Finding) { shown[f]++ }
	_, err := h.Apply(t.Context(), dockerfile.Application{
		Kind: dockerfile.KindBuild, Base: asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"ENV X=${none}${none} Y=$none\n", from+"ENV X=${none}${none} Y=$none\n"),
	})
	if err != nil || len(shown) != 2 {
		t.Errorf("%v, shown %v", err, shown)
	}
	for f, n := range shown {
		if n != 1 {
			t.Errorf("%d times %+v", n, f)
		}
	}
}
