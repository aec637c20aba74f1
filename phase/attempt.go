package phase

import (
	"context"
	"fmt"
	"strings"
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
	warned       map[*buildmodule.Module]bool
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
	// errored tells that a module of the group errored.
	errored bool
	// reasons say in plain words why the group does not pass.
	reasons []string
}

// try asks every module of a group and resolves what they answer.
func (r *runs) try(ctx context.Context, members []member) (attempt, error) {
	members, failed := r.matching(members)
	if err := r.detectAll(ctx, members); err != nil {
		return attempt{}, err
	}
	a := attempt{reasons: failed}
	var candidates []candidate
	refused := len(failed) > 0
	for _, m := range members {
		d := r.done[m.module]
		a.errored = a.errored || d.Status == buildmodule.Errored
		if d.Status == buildmodule.Passed {
			candidates = append(candidates, candidate{m, d.Plan.Alternatives()})
			continue
		}
		refused = refused || !m.optional
		a.reasons = append(a.reasons, explainDetection(m, d))
	}
	if refused {
		return a, nil
	}
	a.selection, a.resolved = resolve(candidates)
	if !a.resolved {
		a.reasons = append(a.reasons, explainUnresolved(candidates)...)
	}
	return a, nil
}

// matching leaves out modules that are not for the run image. A required
// buildpack among them is the reason why the group fails.
func (r *runs) matching(members []member) (fit []member, failed []string) {
	if !r.matchTargets {
		return members, nil
	}
	for _, m := range members {
		if m.module.Matches(r.inputs.target) {
			fit = append(fit, m)
			continue
		}
		why := &buildmodule.MismatchError{Wants: m.module.DescribeTargets(), Is: buildmodule.DescribeTarget(r.inputs.target)}
		if !m.optional {
			failed = append(failed, fmt.Sprintf("%s does not match: %v", m.module, why))
			continue
		}
		if !r.warned[m.module] {
			r.warned[m.module] = true
			r.log.Warnf("%s %s is left out: %v", m.module.Kind, m.module, why)
		}
	}
	return fit, failed
}

// atOnce is how many modules run side by side. Most of them wait for the disk
// or for a start of an interpreter, so it is more than there are processors.
const atOnce = 32

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

func explainDetection(m member, d buildmodule.Detection) string {
	name := m.module.String()
	if m.optional {
		name += " (optional)"
	}
	switch {
	case d.Status == buildmodule.Failed:
		return fmt.Sprintf("%s fails: bin/detect ended with 100, it is not for this app", name)
	case d.Err != nil:
		return fmt.Sprintf("%s errors: %v", name, d.Err)
	}
	s := fmt.Sprintf("%s errors: bin/detect ended with %d", name, d.ExitCode)
	if lines := strings.Split(strings.TrimSpace(string(d.Output)), "\n"); lines[0] != "" {
		s += ": " + lines[len(lines)-1]
	}
	return s
}

// explainUnresolved says why the modules that passed do not make a group, from
// the first alternative of each: that is the one their authors think of.
func explainUnresolved(candidates []candidate) []string {
	var reasons []string
	buildpacks := 0
	for i, c := range candidates {
		if c.module.Kind == buildmodule.Buildpack {
			buildpacks++
		}
		first := c.alternatives[0]
		for _, r := range first.Requires {
			if reason := explainRequire(candidates, i, r.Name); reason != "" {
				reasons = append(reasons, reason)
			}
		}
		for _, p := range first.Provides {
			if !requiredFrom(candidates, i, p.Name) {
				reasons = append(reasons, fmt.Sprintf("%s provides %s, which nobody requires", c.module, p.Name))
			}
		}
	}
	if buildpacks == 0 {
		reasons = append(reasons, "no buildpack passes")
	}
	return reasons
}

func explainRequire(candidates []candidate, i int, name string) string {
	later := ""
	for j, c := range candidates {
		if !provides(c.alternatives[0], name) {
			continue
		}
		if j <= i {
			return ""
		}
		if later == "" {
			later = c.module.String()
		}
	}
	if later != "" {
		return fmt.Sprintf("%s requires %s, but %s, which provides it, comes later", candidates[i].module, name, later)
	}
	return fmt.Sprintf("%s requires %s, which nobody provides", candidates[i].module, name)
}

func requiredFrom(candidates []candidate, i int, name string) bool {
	for _, c := range candidates[i:] {
		if requires(c.alternatives[0], name) {
			return true
		}
	}
	return false
}
