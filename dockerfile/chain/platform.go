package chain

import (
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// noteRun remembers the first RUN of the chain, if this is it.
func (p *plan) noteRun(s *step, c instructions.Command, line int) {
	if _, ok := c.(*instructions.RunCommand); ok && p.runStep == nil {
		p.runStep, p.runLine = s, line
	}
}

// checkPlatform refuses to run what the engine cannot: programs for another
// processor than its own, unless its kernel has an emulator for them. A chain
// without a RUN is good for any.
func (r *run) checkPlatform(p *plan, env environment) error {
	if p.runStep == nil {
		return nil
	}
	target := r.base.Platform()
	// Whatever else the image says of its platform, such as features of the system, is no
	// matter of what the processor can run.
	target.OSVersion, target.OSFeatures = "", nil
	var able []string
	for _, runs := range env.platforms {
		if platforms.NewMatcher(runs).Match(target) || platforms.Only(runs).Match(target) {
			return nil
		}
		able = append(able, platforms.Format(runs))
	}
	return p.runStep.problem(p.runLine, fmt.Sprintf(
		"this cannot run: the base image is for %s and the engine runs %s; extend an image for one of these, use an engine that runs %s, or install an emulator on its machine (binfmt_misc)",
		platforms.Format(target), strings.Join(able, ", "), platforms.Format(target)), nil)
}
