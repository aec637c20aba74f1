package chain_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
)

// What a command prints of a secret, and what an engine says of one, was shown as it came.
func TestProgressIsRedacted(t *testing.T) {
	for _, mode := range []string{"plain", "rawjson"} {
		t.Run(mode, func(t *testing.T) {
			var out bytes.Buffer
			h := withEngine(t)
			h.Progress = chain.Progress{Mode: mode, Output: &out, Redact: strings.NewReplacer("the-secret", "[secret]").Replace}
			apply(t, h, dockerfile.Application{
				Kind: dockerfile.KindBuild, Base: asLayout(t, makeBase(t, baseOptions{})),
				Steps: steps(t, dockerfile.KindBuild, from+"USER root\nRUN echo printed the-secret; echo the-secret >/file\n"),
			})
			if text := out.String(); strings.Contains(text, "the-secret") || !strings.Contains(text, "[secret]") {
				t.Errorf("shown is %s", text)
			}
		})
	}
}
