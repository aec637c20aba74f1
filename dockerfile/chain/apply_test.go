package chain_test

import (
	"testing"

	"github.com/graft-cnb/graft/dockerfile"
)

const from = "ARG base_image\nFROM ${base_image}\n"

// CONTRACT 7.1: each Dockerfile is applied on the result of the one before.
func TestEveryDockerfileExtendsTheResultOfTheOneBefore(t *testing.T) {
	h := withEngine(t)
	e := apply(t, h, dockerfile.Application{
		Kind: dockerfile.KindBuild,
		Base: asLayout(t, makeBase(t, baseOptions{user: "1001:1000"})),
		Steps: steps(t, dockerfile.KindBuild,
			from+"USER root\nRUN echo one > /one\nENV ONE=1\n",
			from+"RUN test \"$ONE\" = 1 && cat /one > /two && echo more >> /two\nUSER 1001:1000\n",
		),
	})
	if got := e.content(t, "/two"); got != "one\nmore\n" {
		t.Errorf("/two is %q", got)
	}
	if h.opened != 1 {
		t.Errorf("the engine was opened %d times", h.opened)
	}
	t.Log(e.histories(), e.config, h.warnings)
}
