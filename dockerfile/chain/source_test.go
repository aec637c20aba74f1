package chain

import (
	"slices"
	"testing"

	"github.com/graft-cnb/graft/dockerfile"
)

// Only what the instructions name crosses to the engine, and nothing if they name
// nothing.
func TestContextPathsAreThoseThatInstructionsName(t *testing.T) {
	for text, c := range map[string]struct {
		paths []string
		used  bool
	}{
		"RUN true":                {nil, false},
		"COPY --from=other /x /y": {nil, false},
		"ADD https://example.com/x git@host:r.git#v /y": {nil, false},
		"COPY <<EOF /x\na\nEOF":                         {nil, false},
		"COPY a ./b/../c /d/e /to/":                     {[]string{"a", "c", "d/e"}, true},
		"COPY a b /\nADD a z /":                         {[]string{"a", "b", "z"}, true},
		"COPY . /":                                      {nil, true},
		"COPY ../../x /":                                {[]string{"x"}, true},
		"COPY $wherever /":                              {nil, true},
		"RUN --mount=type=bind,src=in/it,target=/x ls":  {[]string{"in/it"}, true},
		"RUN --mount=target=/x ls":                      {nil, true},
		"RUN --mount=type=cache,target=/x ls":           {nil, false},
		"RUN --mount=type=bind,from=other,target=/x ls": {nil, false},
		"RUN --mount=type=tmpfs,target=/x ls":           {nil, false},
	} {
		s := &step{Step: dockerfile.Step{Content: []byte("ARG base_image\nFROM $base_image\n" + text + "\n")}}
		if err := s.instructions(); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		paths, used := contextPaths(s.commands)
		if used != c.used || used && !slices.Equal(paths, c.paths) {
			t.Errorf("%s: %v %v, want %v %v", text, paths, used, c.paths, c.used)
		}
	}
}
