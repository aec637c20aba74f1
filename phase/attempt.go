package phase

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/platform"
)

// runs runs every module's bin/detect at most once, however many groups name
// it.
type runs struct {
	inputs       ModuleInputs
	matchTargets bool
	log          *platform.Log
	done         map[*buildmodule.Module]buildmodule.Detection
	// order is in which order they were asked.
	order  []*buildmodule.Module
	warned map[*buildmodule.Module]bool
}

func newRuns(d Detector) *runs {
	return &runs{
		inputs: d.Modules, matchTargets: d.MatchTargets, log: d.Log,
		done: map[*buildmodule.Module]buildmodule.Detection{}, warned: map[*buildmodule.Module]bool{},
	}
}

// attempt is what came of trying one group.
type attempt struct {
	resolved  bool
	selection selection
	modules   []judged
	// reasons say in plain words why the group does not pass.
	reasons []string
}

func (a attempt) errored() bool {
	return slices.ContainsFunc(a.modules, func(j judged) bool { return j.verdict == VerdictError })
}

// try asks every module of a group and resolves what they answer.
func (r *runs) try(ctx context.Context, members []member) (attempt, error) {
	mismatches := make([]string, len(members))
	var fit []member
	for i, m := range members {
		if mismatches[i] = r.mismatch(m); mismatches[i] == "" {
			fit = append(fit, m)
		}
	}
	if err := r.detectAll(ctx, fit); err != nil {
		return attempt{}, err
	}
	var a attempt
	var candidates []candidate
	for i, m := range members {
		j := judged{m, VerdictMismatch, mismatches[i]}
		if j.reason == "" {
			d := r.done[m.module]
			j.verdict, j.reason = explainDetection(d)
			if j.verdict == VerdictPass {
				candidates = append(candidates, candidate{m, d.Plan.Alternatives()})
			}
		}
		a.modules = append(a.modules, j)
		if j.verdict != VerdictPass && !m.optional && m.excluded == "" {
			a.reasons = append(a.reasons, fmt.Sprintf("%s is required, and does not take part: %s", m.module, j.reason))
		}
	}
	if len(a.reasons) == 0 {
		a.resolve(candidates)
	}
	return a, nil
}

// resolve settles who takes part of those who passed.
func (a *attempt) resolve(candidates []candidate) {
	if !slices.ContainsFunc(candidates, func(c candidate) bool { return c.module.Kind == buildmodule.Buildpack }) {
		a.reasons = append(a.reasons, "no buildpack passes")
		return
	}
	a.selection, a.resolved = resolve(candidates)
	dropped := a.selection.dropped
	if !a.resolved {
		var failing *buildmodule.Module
		var reason string
		dropped, failing, reason = explainUnresolved(candidates)
		a.reasons = append(a.reasons, reason)
		if failing != nil {
			dropped[failing] = reason
		}
	}
	for i, j := range a.modules {
		if reason, ok := dropped[j.module]; ok {
			a.modules[i].verdict, a.modules[i].reason = VerdictDropped, reason
		}
	}
}

// mismatch says why a module is not for this build; it is empty if it is. One
// that could be left out without failing its group is worth a warning, since
// nobody would notice otherwise.
func (r *runs) mismatch(m member) string {
	if m.excluded != "" {
		return m.excluded
	}
	if !r.matchTargets || m.module.Matches(r.inputs.target) {
		return ""
	}
	why := fmt.Sprintf("it is for %s, and the target is %s", m.module.DescribeTargets(), buildmodule.DescribeTarget(r.inputs.target))
	if m.optional && !r.warned[m.module] {
		r.warned[m.module] = true
		r.log.Warnf("%s %s is left out: %s", m.module.Kind, m.module, why)
	}
	return why
}

// atOnce is how many modules run side by side. Most of them wait for the disk
// or for a start of an interpreter, so it is more than there are processors, and
// more than a group that anybody has seen has modules.
const atOnce = 128

// detectAll runs those modules that have not run yet, in parallel, and shows
// what they printed in the order of the group.
func (r *runs) detectAll(ctx context.Context, members []member) error {
	var todo []*buildmodule.Module
	for _, m := range members {
		if _, done := r.done[m.module]; !done {
			r.done[m.module] = buildmodule.Detection{}
			todo = append(todo, m.module)
		}
	}
	r.order = append(r.order, todo...)
	detections := make([]buildmodule.Detection, len(todo))
	errs := make([]error, len(todo))
	slots := make(chan struct{}, atOnce)
	var wait sync.WaitGroup
	for i, module := range todo {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			in := r.inputs.forModule()
			output := r.log.Lines(platform.LevelDebug, module.ID)
			defer output.Close()
			in.Output = output
			detections[i], errs[i] = module.Detect(ctx, in)
		})
	}
	wait.Wait()
	for i, module := range todo {
		if errs[i] != nil {
			return errs[i]
		}
		r.done[module] = detections[i]
		r.showFailure(module, detections[i])
	}
	return nil
}

// showFailure shows what a module printed that did not pass, unless all output
// was shown already.
func (r *runs) showFailure(module *buildmodule.Module, d buildmodule.Detection) {
	if d.Status == buildmodule.Passed || r.log.Enabled(platform.LevelDebug) {
		return
	}
	output := r.log.Lines(platform.LevelInfo, module.ID)
	defer output.Close()
	output.Write(d.Output)
}
