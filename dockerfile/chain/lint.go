package chain

import (
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/linter"

	"github.com/graft-cnb/graft/dockerfile"
)

// lint passes a finding of BuildKit's linter on, unless every generated
// Dockerfile would draw it: base_image never has a default.
func (r *run) lint(s *step, rule, text string, line int) {
	switch rule {
	case linter.RuleInvalidDefaultArgInFrom.Name, linter.RuleUndefinedArgInFrom.Name:
		if strings.Contains(text, dockerfile.ArgBaseImage) {
			return
		}
	}
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
