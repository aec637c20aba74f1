package dockerfile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Finding is something in what an extension generated that must or should be
// changed.
type Finding struct {
	// Extension is the id of the extension that generated the file.
	Extension string `json:"extension"`
	// File is the file.
	File string `json:"file"`
	// Line is counted from 1; 0 when no single line is to blame.
	Line     int      `json:"line"`
	Severity Severity `json:"severity"`
	// Rule is the id of the rule that is broken.
	Rule string `json:"rule"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Suggestion says what to write instead.
	Suggestion string `json:"suggestion"`
	// Source is the line.
	Source string `json:"source"`
}

// String shows the finding with its line, a caret, and what to write instead.
func (f Finding) String() string {
	e := &Error{Extension: f.Extension, Path: f.File, Line: f.Line, Source: f.Source, Problem: fmt.Sprintf("%s [%s]", f.Message, f.Rule)}
	if f.Suggestion == "" {
		return e.Error()
	}
	return e.Error() + "\n     = " + f.Suggestion
}

// NewFinding is a finding about a file as a whole.
func NewFinding(rule Rule, extension, file, message string) Finding {
	return Finding{Extension: extension, File: file, Severity: rule.Severity, Rule: rule.ID, Message: message, Suggestion: rule.suggestion}
}

// SortFindings puts the findings of one extension in order: by file, line and
// rule.
func SortFindings(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
	})
}

// Generated is the text that an extension generated.
type Generated struct {
	// Extension is its id.
	Extension string
	// Target is the platform that the image is for, as in Step.
	Target string
	// Dockerfiles are its Dockerfiles; one of a kind that it has not is left out.
	Dockerfiles map[Kind]Text
	// Config is extend-config.toml; nil if there is none.
	Config *Text
	// Elsewhere are kinds whose Dockerfile lies elsewhere: args for it are not
	// missed here.
	Elsewhere []Kind
}

// Text is a file that has been read.
type Text struct {
	// Path names the file in findings.
	Path    string
	Content []byte
}

// Lint judges what an extension generated, without running anything: all that
// generation refuses is an error, and what is not good is a warning. A comment
// `# check=skip=RULE,...` at the top of a Dockerfile or right before an
// instruction takes back warnings. The findings are sorted.
func Lint(g Generated) []Finding {
	var findings []Finding
	var config ExtendConfig
	known := true
	if g.Config != nil {
		var problems []*Error
		config, problems = inspectConfig(g.Extension, g.Config.Path, g.Config.Content)
		for _, p := range problems {
			findings = append(findings, p.finding())
			known = known && p.Rule != RuleConfigSyntax.ID
		}
	}
	for _, kind := range []Kind{KindBuild, KindRun} {
		text, found := g.Dockerfiles[kind]
		declared := map[string]bool{}
		if found {
			l := newLint(kind, Step{Extension: g.Extension, Path: text.Path, Content: text.Content, Args: config.For(kind), Target: g.Target})
			l.argsKnown = known
			l.run()
			findings = append(findings, l.findings...)
			declared = l.declared
			if declared == nil {
				continue
			}
		}
		if g.Config != nil && !slices.Contains(g.Elsewhere, kind) {
			findings = append(findings, undeclared(g, kind, config.For(kind), declared)...)
		}
	}
	SortFindings(findings)
	return findings
}

// finding is the error as a finding.
func (e *Error) finding() Finding {
	f := Finding{Extension: e.Extension, File: e.Path, Line: e.Line, Severity: SeverityError, Rule: e.Rule,
		Message: e.Problem, Suggestion: e.Suggestion, Source: strings.TrimRight(e.Source, "\r")}
	if e.Source == "" {
		// A parser may blame a line beyond the last.
		f.Line = 0
	}
	return f
}

// lint judges one Dockerfile.
type lint struct {
	checker
	kind Kind
	// rules is BuildKit's linter, which also knows what comments take back.
	rules *linter.Linter
	// argsKnown tells that the extension's args could be read.
	argsKnown bool
	findings  []Finding
	// told are the variables about which there is a finding: one is enough.
	told map[string]bool
	// declared are the names of all args; nil if the Dockerfile cannot be parsed.
	declared map[string]bool
}

func newLint(kind Kind, step Step) *lint {
	l := &lint{checker: newChecker(step), kind: kind, told: map[string]bool{}}
	config := &linter.Config{}
	if _, value, _, found := parser.ParseDirective("check", step.Content); found {
		if parsed, err := linter.ParseLintOptions(value); err == nil {
			config = parsed
		}
	}
	config.ReturnAsError = false
	config.Warn = l.hear
	l.rules = linter.New(config)
	return l
}

// run finds everything.
func (l *lint) run() {
	read, problems := l.inspect(l.kind, l.rules)
	for _, p := range problems {
		f := p.finding()
		if f.Rule == RuleSyntax.ID && strings.EqualFold(strings.TrimSpace(f.Source), "FROM") {
			f.Suggestion = RuleFromBaseImage.suggestion
		}
		l.findings = append(l.findings, f)
	}
	if len(read.stages) == 0 {
		return
	}
	l.declared = map[string]bool{}
	stage := read.stages[0]
	l.buildkitRules(read)
	l.rebasable(stage)
	l.instructions(stage, newScope(l, read))
}

// instructions judges the instructions one after the other, each with what is
// known of the variables there.
func (l *lint) instructions(stage instructions.Stage, s *scope) {
	var user userRules
	var ids buildIDRules
	var packages packageRules
	paths := pathRules{}
	l.checkFromArgs(stage, s)
	for _, command := range stage.Commands {
		if warning := l.discouraged(command); warning != nil {
			l.warn(RuleInstructionDiscouraged, warning.Line, command.Comments(), warning.Problem, "")
		}
		script := scriptOf(command)
		l.checkArgs(command, s, script)
		ids.see(l, command, s, script)
		user.see(l, command, s)
		paths.see(l, command, s, script)
		packages.see(l, command, script)
	}
	user.end(l)
	ids.end(l)
}

// rebasable looks for the label by which a run image says that its base can be
// exchanged.
func (l *lint) rebasable(stage instructions.Stage) {
	if l.kind != KindRun || len(stage.Commands) == 0 {
		return
	}
	for _, command := range stage.Commands {
		label, ok := command.(*instructions.LabelCommand)
		if ok && slices.ContainsFunc(label.Labels, func(kv instructions.KeyValuePair) bool {
			return strings.Trim(kv.Key, `"'`) == labelRebasable
		}) {
			return
		}
	}
	l.warn(RuleRebasable, line(stage.Location), stage.Comments,
		"no instruction sets the label "+labelRebasable+": the extended run image will count as not rebasable", "")
}

const labelRebasable = "io.buildpacks.rebasable"

// warn adds a warning, unless a comment takes it back. A suggestion that is empty
// is the rule's own.
func (l *lint) warn(rule Rule, at int, comments []string, message, suggestion string) {
	if l.skips(rule, comments) {
		return
	}
	if suggestion == "" {
		suggestion = rule.suggestion
	}
	f := l.problem(rule, at, message).finding()
	f.Severity, f.Suggestion = rule.Severity, suggestion
	l.findings = append(l.findings, f)
}

func (l *lint) skips(rule Rule, comments []string) bool {
	rules := l.rules.WithMergedConfigFromComments(comments)
	_, byID := rules.SkippedRules[rule.ID]
	_, byName := rules.SkippedRules[rule.buildkit]
	return rules.SkipAll || byID || rule.buildkit != "" && byName
}

// lineWith is the first line of an instruction that has one of the words, or its
// first line.
func (l *lint) lineWith(command instructions.Command, words ...string) int {
	for _, r := range command.Location() {
		n := r.Start.Line
		if n < 1 || n > len(l.lines) {
			break
		}
		for _, w := range words {
			if strings.Contains(l.lines[n-1], w) {
				return n
			}
		}
	}
	return line(command.Location())
}
