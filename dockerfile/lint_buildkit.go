package dockerfile

import (
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// hear takes a warning of BuildKit's linter. A rule that is not among ours is
// one that says the same as another, or that every extension would break.
func (l *lint) hear(name, _, _, message string, location []parser.Range) {
	for _, rule := range Rules() {
		if rule.buildkit == name && name != "" {
			l.warn(rule, line(location), nil, message, "")
		}
	}
}

// buildkitRules applies those of BuildKit's rules that it does not apply while
// it parses, and that need nothing but what was parsed.
func (l *lint) buildkitRules(read inspection) {
	for _, warning := range read.parsed.Warnings {
		if warning.URL == linter.RuleNoEmptyContinuation.URL && warning.Location != nil {
			l.rules.Run(&linter.RuleNoEmptyContinuation, []parser.Range{*warning.Location}, linter.RuleNoEmptyContinuation.Format())
		}
	}
	stage := read.stages[0]
	l.casing(stage)
	for _, command := range stage.Commands {
		var pairs instructions.KeyValuePairs
		switch c := command.(type) {
		case *instructions.EnvCommand:
			pairs = c.Env
		case *instructions.LabelCommand:
			pairs = c.Labels
		}
		for _, kv := range pairs {
			if kv.NoDelim {
				message := linter.RuleLegacyKeyValueFormat.Format(command.Name())
				l.forCommand(command).Run(&linter.RuleLegacyKeyValueFormat, command.Location(), message)
				break
			}
		}
	}
}

// forCommand is the linter with what the comments before an instruction take
// back.
func (l *lint) forCommand(command instructions.Command) *linter.Linter {
	return l.rules.WithMergedConfigFromComments(command.Comments())
}

// casing wants all instructions in the case that most of them have; upper case
// if they are even.
func (l *lint) casing(stage instructions.Stage) {
	lower, upper := 0, 0
	count := func(name string) {
		switch name {
		case strings.ToLower(name):
			lower++
		case strings.ToUpper(name):
			upper++
		}
	}
	count(stage.OrigCmd)
	for _, command := range stage.Commands {
		count(command.Name())
	}
	want, wanted := strings.ToUpper, "uppercase"
	if lower > upper {
		want, wanted = strings.ToLower, "lowercase"
	}
	rule := &linter.RuleConsistentInstructionCasing
	if stage.OrigCmd != want(stage.OrigCmd) {
		l.rules.Run(rule, stage.Location, rule.Format(stage.OrigCmd, wanted))
	}
	for _, command := range stage.Commands {
		if name := command.Name(); name != want(name) {
			l.forCommand(command).Run(rule, command.Location(), rule.Format(name, wanted))
		}
	}
}

// relativeWorkdir is BuildKit's rule about a WORKDIR that depends on the base
// image's.
func (l *lint) relativeWorkdir(command *instructions.WorkdirCommand, before string) {
	if before == "" && !path.IsAbs(command.Path) {
		rule := &linter.RuleWorkdirRelativePath
		l.forCommand(command).Run(rule, command.Location(), rule.Format(command.Path))
	}
}
