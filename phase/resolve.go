package phase

import (
	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/platform"
)

// candidate is a module that passed detection, with what it provides and
// requires.
type candidate struct {
	member
	alternatives []buildmodule.Alternative
}

// selection is a resolved group: who is left of the candidates and which
// alternative of each counts.
type selection struct {
	members []member
	plan    platform.Plan
	// dropped are the reasons why the other candidates dropped out.
	dropped map[*buildmodule.Module]string
}

// resolve finds the first trial that holds, in the order of trials that the
// spec gives: one alternative of each module, the first module's changing
// slowest (buildpack.md, "Phase #1: Detection", "For each trial"). It is a pure
// function; ok is false if no trial holds.
//
// The trials are not built one by one. With the alternatives of some modules
// chosen, those of the others that cannot hold whatever else is chosen are
// struck out, and where a module has none left the whole branch is cut. A branch
// whose beginning comes to the same as that of one that failed is not tried
// again. Neither ever cuts a trial that would hold, so the first to hold stays the
// first.
func resolve(candidates []candidate) (sel selection, ok bool) {
	t := newTrial(candidates)
	if !t.search(0) {
		return selection{}, false
	}
	sel = t.selection()
	sel.dropped = explainSelection(candidates, t)
	return sel, true
}

// trial is a search for a choice of alternatives.
type trial struct {
	candidates []candidate
	// open[i][a] tells that alternative a of candidate i may still be chosen.
	open [][]bool
	// gone[i] tells that candidate i, which is optional, drops out when its
	// last alternative is chosen.
	gone []bool
	// failed are beginnings of trials from which none holds, by what of them
	// matters to the rest. All copies of a trial share it.
	failed map[string]bool
}

func newTrial(candidates []candidate) *trial {
	t := &trial{candidates: candidates, gone: make([]bool, len(candidates)), failed: map[string]bool{}}
	for _, c := range candidates {
		all := make([]bool, len(c.alternatives))
		for a := range all {
			all[a] = true
		}
		t.open = append(t.open, all)
	}
	return t
}

// search chooses for the candidates from i on, and leaves the choice in t.open
// with one alternative for each.
func (t *trial) search(i int) bool {
	if !t.narrow() {
		return false
	}
	for i < len(t.candidates) && count(t.open[i]) == 1 {
		i++
	}
	if i == len(t.candidates) {
		return true
	}
	key := t.essence(i)
	if t.failed[key] {
		return false
	}
	for a, open := range t.open[i] {
		if !open {
			continue
		}
		next := t.choose(i, a)
		if next.search(i + 1) {
			*t = *next
			return true
		}
	}
	t.failed[key] = true
	return false
}

// choose is a copy of the trial in which candidate i has only alternative a.
func (t *trial) choose(i, a int) *trial {
	next := &trial{candidates: t.candidates, failed: t.failed, gone: append([]bool(nil), t.gone...)}
	for j, open := range t.open {
		open = append([]bool(nil), open...)
		if j == i {
			clear(open)
			open[a] = true
		}
		next.open = append(next.open, open)
	}
	return next
}

// narrow strikes out what cannot hold until nothing changes. It returns false
// if no trial is left. When every candidate has one alternative, what it leaves
// is exactly what the spec's rules leave of that trial: dropping a module can
// only make more requires and provides unmet, so the order does not matter.
func (t *trial) narrow() bool {
	for changed := true; changed; {
		changed = false
		first, last := t.reach()
		for i := range t.candidates {
			for a, open := range t.open[i] {
				if !open || t.droppable(i, a) && t.gone[i] || t.holds(i, a, first, last) {
					continue
				}
				changed = true
				if t.droppable(i, a) {
					t.gone[i] = true
				} else {
					t.open[i][a] = false
				}
			}
			if count(t.open[i]) == 0 {
				return false
			}
		}
	}
	return t.hasBuildpack()
}

// droppable tells whether a module is optional in that alternative: it is so
// only in its last.
func (t *trial) droppable(i, a int) bool {
	return t.candidates[i].optional && a == len(t.open[i])-1
}

// contributes tells whether an alternative may be part of the result.
func (t *trial) contributes(i, a int) bool {
	return t.open[i][a] && !(t.droppable(i, a) && t.gone[i])
}

// reach finds for each name the first candidate that may provide it and the
// last that may require it.
func (t *trial) reach() (first, last map[string]int) {
	first, last = map[string]int{}, map[string]int{}
	for i, c := range t.candidates {
		for a, alternative := range c.alternatives {
			if !t.contributes(i, a) {
				continue
			}
			for _, p := range alternative.Provides {
				if _, known := first[p.Name]; !known {
					first[p.Name] = i
				}
			}
			for _, r := range alternative.Requires {
				last[r.Name] = i
			}
		}
	}
	return first, last
}

// holds tells whether what an alternative requires may be provided by itself or
// before it, and what it provides may be required by itself or after it.
func (t *trial) holds(i, a int, first, last map[string]int) bool {
	alternative := t.candidates[i].alternatives[a]
	for _, r := range alternative.Requires {
		if at, ok := first[r.Name]; !ok || at > i || at == i && !provides(alternative, r.Name) {
			return false
		}
	}
	for _, p := range alternative.Provides {
		if at, ok := last[p.Name]; !ok || at < i || at == i && !requires(alternative, p.Name) {
			return false
		}
	}
	return true
}

func provides(alternative buildmodule.Alternative, name string) bool {
	for _, p := range alternative.Provides {
		if p.Name == name {
			return true
		}
	}
	return false
}

func requires(alternative buildmodule.Alternative, name string) bool {
	for _, r := range alternative.Requires {
		if r.Name == name {
			return true
		}
	}
	return false
}

// hasBuildpack tells whether a buildpack may be left in the result.
func (t *trial) hasBuildpack() bool {
	for i, c := range t.candidates {
		if c.module.Kind != buildmodule.Buildpack {
			continue
		}
		for a := range t.open[i] {
			if t.contributes(i, a) {
				return true
			}
		}
	}
	return false
}

// selection reads the result off a trial in which all is chosen. Entries of the
// plan come in the order in which their names were first provided; a module is
// a provider of a name only for those who require it from there on.
func (t *trial) selection() selection {
	var sel selection
	index := map[string]int{}
	waiting := map[string][]platform.Provider{}
	for i, c := range t.candidates {
		a := chosen(t.open[i])
		if !t.contributes(i, a) {
			continue
		}
		sel.members = append(sel.members, c.member)
		for _, p := range c.alternatives[a].Provides {
			if _, known := index[p.Name]; !known {
				index[p.Name] = len(sel.plan.Entries)
				sel.plan.Entries = append(sel.plan.Entries, platform.PlanEntry{})
			}
			waiting[p.Name] = append(waiting[p.Name], platform.Provider{
				ID: c.module.ID, Version: c.module.Version, Extension: c.module.Kind == buildmodule.Extension,
			})
		}
		for _, r := range c.alternatives[a].Requires {
			entry := &sel.plan.Entries[index[r.Name]]
			entry.Providers = append(entry.Providers, waiting[r.Name]...)
			delete(waiting, r.Name)
			entry.Requires = append(entry.Requires, platform.Require{Name: r.Name, Metadata: r.Metadata})
		}
	}
	return sel
}

func count(open []bool) int {
	n := 0
	for _, o := range open {
		if o {
			n++
		}
	}
	return n
}

func chosen(open []bool) int {
	for a, o := range open {
		if o {
			return a
		}
	}
	return -1
}
