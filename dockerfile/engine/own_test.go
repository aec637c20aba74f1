package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// TestChoose holds the order in which the engines of this program are tried: the one that
// isolates first, the other only in a container, and only those that are not forbidden.
func TestChoose(t *testing.T) {
	refuse := func(line string) error { return &unavailable.Error{Missing: []string{line}} }
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		opts              Options
		embedded, inPlace error
		want              string // which engine, or a part of the error
	}{
		"both can":                {Options{InContainer: true}, nil, nil, "embedded"},
		"no mounts":               {Options{InContainer: true}, refuse("no mounts"), nil, "in place"},
		"no mounts, no container": {Options{}, refuse("no mounts"), nil, "no mounts"},
		"neither":                 {Options{InContainer: true}, refuse("no mounts"), refuse("read-only"), "embedded: no mounts\n  - in place: read-only"},
		"broken":                  {Options{InContainer: true}, broken, nil, "broken"},
		"in place broken":         {Options{InContainer: true}, refuse("no mounts"), broken, "broken"},
		"only embedded":           {Options{InContainer: true, Own: OwnEmbedded}, refuse("no mounts"), nil, "no mounts"},
		"only in place":           {Options{InContainer: true, Own: OwnInPlace}, nil, nil, "in place"},
		"in place on a machine":   {Options{Own: OwnInPlace}, nil, nil, "would change this machine itself"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := choose(test.opts,
				func() (string, error) { return "embedded", test.embedded },
				func() (string, error) { return "in place", test.inPlace })
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("it is %q, not %q", got, test.want)
			}
		})
	}
}
