package chain

import (
	"github.com/containerd/platforms"

	"github.com/graft-cnb/graft/dockerfile"
)

// applied tells what came of the run, as far as it came.
func (r *run) applied() dockerfile.Applied {
	applied := dockerfile.Applied{Failed: r.failed}
	if r.base != nil {
		applied.Base = dockerfile.AppliedBase{
			Name: r.base.Name, Digest: r.base.Digest.String(), Platform: platforms.Format(r.base.Platform()),
		}
	}
	if r.record != nil {
		applied.Engine = r.record.engine
	}
	if r.plan != nil {
		for _, c := range r.plan.converted {
			applied.Steps = append(applied.Steps, r.appliedStep(c))
		}
	}
	for _, l := range r.added {
		applied.Bytes += l.Bytes
	}
	applied.Layers = len(r.added)
	if r.extended != nil {
		if digest, err := r.extended.Digest(); err == nil {
			applied.Manifest = digest.String()
		}
		if config, err := r.extended.ConfigFile(); err == nil {
			applied.Env = config.Config.Env
		}
	}
	return applied
}

func (r *run) appliedStep(c converted) dockerfile.AppliedStep {
	out := dockerfile.AppliedStep{Extension: c.step.Extension, Path: c.step.Path, Args: c.args}
	for n, in := range c.instructions {
		one := dockerfile.AppliedInstruction{
			Line: in.line, Text: in.text, Triggered: !in.own, Outcome: dockerfile.OutcomeConfig,
		}
		if in.layer >= 0 {
			one.Outcome, one.Seconds = r.record.outcome(place{c.step.label, n})
			if r.solved && one.Outcome == dockerfile.OutcomePending {
				// Nobody had to look at it, since what came after was there.
				one.Outcome = dockerfile.OutcomeCached
			}
			if in.layer < len(r.added) {
				l := r.added[in.layer]
				one.Layer = &dockerfile.AppliedLayer{Digest: l.Blob.String(), DiffID: l.DiffID.String(), Bytes: l.Bytes}
			}
		}
		out.Instructions = append(out.Instructions, one)
	}
	return out
}
