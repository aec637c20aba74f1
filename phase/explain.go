package phase

import (
	"fmt"
	"slices"
	"strings"

	"github.com/graft-cnb/graft/buildmodule"
)

// Verdict is what came of a module in a group that was tried.
type Verdict string

// The verdicts.
const (
	// VerdictPass: the module takes part.
	VerdictPass Verdict = "pass"
	// VerdictFail: bin/detect said that the module is not for this app.
	VerdictFail Verdict = "fail"
	// VerdictError: bin/detect or its build plan is broken.
	VerdictError Verdict = "error"
	// VerdictMismatch: the module is not for the target or for the execution
	// environment, and did not run.
	VerdictMismatch Verdict = "mismatch"
	// VerdictDropped: the module passed, and what it provides or requires leaves
	// no place for it.
	VerdictDropped Verdict = "dropped"
)

// judged is a module of a group with what came of it.
type judged struct {
	member
	verdict Verdict
	// reason is in plain words; empty for a module that passes.
	reason string
}

func explainDetection(d buildmodule.Detection) (Verdict, string) {
	switch {
	case d.Status == buildmodule.Passed:
		return VerdictPass, ""
	case d.Status == buildmodule.Failed:
		return VerdictFail, "bin/detect ended with 100: it is not for this app"
	case d.Err != nil:
		return VerdictError, d.Err.Error()
	}
	reason := fmt.Sprintf("bin/detect ended with %d", d.ExitCode)
	if last := lastLine(d.Output); last != "" {
		reason += ": " + last
	}
	return VerdictError, reason
}

// lastLine is the end of an output that is worth showing in a table; the whole
// output has been shown where it belongs.
func lastLine(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// chosenAlternative is a module with the alternative of it that counts.
type chosenAlternative struct {
	member
	buildmodule.Alternative
	// required: the module cannot drop out.
	required bool
}

// unmet says why a module of a trial cannot stay, in plain words; it is empty if
// it can.
func unmet(trial []chosenAlternative, i int) string {
	self := trial[i]
	for _, r := range self.Requires {
		at := slices.IndexFunc(trial, func(c chosenAlternative) bool { return provides(c.Alternative, r.Name) })
		switch {
		case at < 0:
			return fmt.Sprintf("%s requires %s, which nobody provides", self.module, r.Name)
		case at > i:
			return fmt.Sprintf("%s requires %s, but %s, which provides it, comes later", self.module, r.Name, trial[at].module)
		}
	}
	for _, p := range self.Provides {
		if !slices.ContainsFunc(trial[i:], func(c chosenAlternative) bool { return requires(c.Alternative, p.Name) }) {
			return fmt.Sprintf("%s provides %s, which nobody requires", self.module, p.Name)
		}
	}
	return ""
}

// explainTrial plays the spec's rules on one trial and says in plain words why
// modules drop out of it and, last, why it fails, if it does: then failing is
// the module that cannot stay, else nil.
func explainTrial(trial []chosenAlternative) (dropped map[*buildmodule.Module]string, failing *buildmodule.Module, reason string) {
	dropped = map[*buildmodule.Module]string{}
	trial = slices.Clone(trial)
	for i := 0; i < len(trial); i++ {
		reason := unmet(trial, i)
		if reason == "" {
			continue
		}
		if trial[i].required {
			return dropped, trial[i].module, reason
		}
		dropped[trial[i].module] = reason
		trial = slices.Delete(trial, i, i+1)
		i = -1
	}
	return dropped, nil, ""
}

// explainSelection says why the candidates that are not selected dropped out.
func explainSelection(candidates []candidate, t *trial) map[*buildmodule.Module]string {
	var chosenOnes []chosenAlternative
	for i, c := range candidates {
		a := chosen(t.open[i])
		chosenOnes = append(chosenOnes, chosenAlternative{c.member, c.alternatives[a], !t.droppable(i, a)})
	}
	dropped, _, _ := explainTrial(chosenOnes)
	return dropped
}

// explainUnresolved says why the modules that passed do not make a group: from
// the first alternative of each, since that is the one that authors think of,
// where optional modules may drop out as if there were no other.
func explainUnresolved(candidates []candidate) (dropped map[*buildmodule.Module]string, failing *buildmodule.Module, reason string) {
	var first []chosenAlternative
	more := false
	for _, c := range candidates {
		first = append(first, chosenAlternative{c.member, c.alternatives[0], !c.optional})
		more = more || len(c.alternatives) > 1
	}
	dropped, failing, reason = explainTrial(first)
	if reason == "" {
		reason = "no buildpack is left"
	}
	if more {
		reason += " (with the first alternative of each module; with the others it fails likewise)"
	}
	return dropped, failing, reason
}
