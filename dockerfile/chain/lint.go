package chain

import (
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"

	"github.com/graft-cnb/graft/dockerfile"
)

// lint takes what BuildKit's linter finds in one Dockerfile.
type lint struct {
	step *step
	show func(s *step, rule, text string, line int)
	seen map[finding]bool
	// strict makes the first finding what failed is.
	strict bool
	failed error
}

// finding tells one from another.
type finding struct {
	rule, text string
	line       int
}

// linter prepares to take what the linter finds. The linter itself is told to make no error
// of it, whatever the Dockerfile's "check" says: it would count what every generated
// Dockerfile draws, and does not say where.
func (s *step) linter(ui *dockerui.Client, show func(s *step, rule, text string, line int)) (*lint, error) {
	config := ui.LinterConfig // that of the arg BUILDKIT_DOCKERFILE_CHECK
	if config == nil {
		text, _, at, _ := parser.ParseDirective("check", s.Content)
		var err error
		if config, err = linter.ParseLintOptions(text); err != nil {
			return nil, s.problem(firstLine(at), fmt.Sprintf("check=%s: %v", text, err), err)
		}
	}
	l := &lint{step: s, show: show, seen: map[finding]bool{}, strict: config.ReturnAsError}
	config.ReturnAsError = false
	ui.LinterConfig = config
	return l, nil
}

// warn passes a finding on once, unless every generated Dockerfile would draw it:
// base_image never has a default.
func (l *lint) warn(rule, _, _, text string, at []parser.Range) {
	switch rule {
	case linter.RuleInvalidDefaultArgInFrom.Name, linter.RuleUndefinedArgInFrom.Name:
		if strings.Contains(text, dockerfile.ArgBaseImage) {
			return
		}
	}
	found := finding{rule, text, firstLine(at)}
	switch {
	case l.seen[found]:
	case l.strict && l.failed == nil:
		l.failed = l.step.problem(found.line, fmt.Sprintf("%s (%s), which \"check\" with error=true makes an error", text, rule), nil)
	case l.show != nil:
		l.show(l.step, rule, text, found.line)
	}
	l.seen[found] = true
}

// lint shows a finding of BuildKit's linter.
func (r *run) lint(s *step, rule, text string, line int) {
	if r.Find == nil {
		r.log(r.Warn, "extension %s: %s:%d: %s (%s)", s.Extension, s.Path, line, text, rule)
		return
	}
	r.logMu.Lock()
	defer r.logMu.Unlock()
	r.Find(dockerfile.Finding{
		Extension: s.Extension, File: s.Path, Line: line, Severity: dockerfile.SeverityWarning,
		Rule: rule, Message: text, Source: s.source(line),
	})
}
