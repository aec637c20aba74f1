package dockerfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// checkFromArgs judges the variables that FROM uses, and enters the stage.
func (l *lint) checkFromArgs(stage instructions.Stage, s *scope) {
	s.refs = nil
	s.expand(stage.BaseName)
	slices.Sort(s.refs)
	for _, name := range s.refs {
		l.notGiven(name, line(stage.Location), stage.Comments, s, "before FROM")
	}
	s.enterStage()
}

// checkArgs expands an instruction, judges the variables that it uses, and
// follows what it does to them.
func (l *lint) checkArgs(command instructions.Command, s *scope, script *script) {
	s.refs, s.doubtful = nil, false
	l.expand(command, s)
	refs := s.refs
	if script != nil {
		refs = append(refs, script.uses(s)...)
	}
	slices.Sort(refs)
	for _, name := range slices.Compact(refs) {
		if setByImages(name) || l.told[name] {
			continue
		}
		l.notGiven(name, l.lineWith(command, "$"+name, "${"+name), command.Comments(), s, "after FROM, before this line")
	}
	if workdir, ok := command.(*instructions.WorkdirCommand); ok {
		l.relativeWorkdir(workdir, s.workdir)
	}
	s.follow(command)
}

// expand expands an instruction in place.
func (l *lint) expand(command instructions.Command, s *scope) {
	expander := func(word string) (string, error) { return s.expand(word), nil }
	switch c := command.(type) {
	case *instructions.ArgCommand:
		for _, arg := range c.Args {
			l.declared[arg.Key] = true
			s.declare(arg, line(c.Location()))
		}
		return
	case *instructions.EnvCommand:
		for i, kv := range c.Env {
			outer := s.refs
			s.refs = nil
			c.Env[i].Value = s.expand(kv.Value)
			// A variable that is used in its own value is one of the base image.
			s.refs = append(outer, slices.DeleteFunc(s.refs, func(name string) bool { return name == kv.Key })...)
		}
		return
	}
	if c, ok := command.(instructions.SupportsSingleWordExpansionRaw); ok {
		err := c.ExpandRaw(func(text string) (string, error) {
			s.expandText(text)
			return text, nil
		})
		s.doubtful = s.doubtful || err != nil
	}
	if c, ok := command.(instructions.SupportsSingleWordExpansion); ok {
		if err := c.Expand(expander); err != nil {
			s.doubtful = true
		}
	}
}

// uses are the args that a RUN's shell text uses without a value: those that are
// declared and empty, and those that would have one if they were declared. Any
// other name can be a variable of the shell or of the image.
func (t *script) uses(s *scope) []string {
	var names []string
	for name := range t.refs {
		_, has := s.vars[name]
		_, empty := s.empty[name]
		_, given := s.given[name]
		_, global := s.globals[name]
		if !has && !t.assigned[name] && (empty || given || global) {
			names = append(names, name)
		}
	}
	return names
}

// setByImages tells whether a name is one that base images usually set.
func setByImages(name string) bool {
	switch name {
	case "PATH", "HOME", "HOSTNAME", "USER", "LANG", "TERM", "PWD":
		return true
	}
	return strings.HasPrefix(name, "CNB_") || strings.HasPrefix(name, "LC_")
}

// notGiven says why a variable has no value, and what to write, and where.
func (l *lint) notGiven(name string, at int, comments []string, s *scope, where string) {
	declared, isEmpty := s.empty[name]
	_, isGiven := s.given[name]
	_, isGlobal := s.globals[name]
	message, suggestion := "", ""
	switch {
	case isEmpty && !l.argsKnown:
		return
	case isEmpty:
		message = fmt.Sprintf("$%s is empty: the ARG in line %d has no default, and extend-config.toml gives no value", name, declared)
		suggestion = fmt.Sprintf("write `ARG %s=DEFAULT`, or add [[%s.args]] with name = %q to extend-config.toml", name, l.kind, name)
	case isGlobal:
		message = fmt.Sprintf("$%s is empty: an ARG before FROM counts for FROM alone", name)
		suggestion = fmt.Sprintf("repeat `ARG %s` %s", name, where)
	case isGiven:
		message = fmt.Sprintf("$%s is empty: no ARG before this line declares it", name)
		suggestion = fmt.Sprintf("write `ARG %s` %s", name, where)
	case !l.argsKnown:
		return
	default:
		message = fmt.Sprintf("$%s is empty unless the base image sets it: no ARG or ENV before this line does", name)
		suggestion = literal
		if isName(name) {
			suggestion = fmt.Sprintf("write `ARG %s=DEFAULT` %s, or ${%s:-DEFAULT} here; %s", name, where, name, literal)
		}
	}
	l.told[name] = true
	l.warn(RuleArgNotGiven, at, comments, message, suggestion)
}

// literal tells how to write a dollar sign that is no variable.
const literal = "text that is to keep its $ belongs in single quotes, or in a here-document with a quoted end word (<<'EOF')"

// undeclared finds the args in extend-config.toml that no Dockerfile of the kind
// declares.
func undeclared(g Generated, kind Kind, args []Arg, declared map[string]bool) []Finding {
	var findings []Finding
	for i, arg := range args {
		if arg.Name == "" || reserved[arg.Name] || declared[arg.Name] {
			continue
		}
		message := fmt.Sprintf("the arg %s is given to the %s.Dockerfile, which does not declare it", arg.Name, kind)
		suggestion := fmt.Sprintf("write `ARG %s` in the %s.Dockerfile, or leave the arg out", arg.Name, kind)
		if _, has := g.Dockerfiles[kind]; !has {
			message = fmt.Sprintf("the arg %s is for a %s.Dockerfile, and there is none", arg.Name, kind)
			suggestion = fmt.Sprintf("leave the arg out, or generate a %s.Dockerfile", kind)
		}
		f := NewFinding(RuleArgNotDeclared, g.Extension, g.Config.Path, message)
		f.Suggestion = suggestion
		f.Line, f.Source = argLine(string(g.Config.Content), kind, i, len(args))
		findings = append(findings, f)
	}
	return findings
}

// argLine is the line of the header of the nth of so many args. The TOML library
// does not tell; where the headers are written in another way it is 0.
func argLine(text string, kind Kind, nth, of int) (int, string) {
	var headers []int
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		l, _, _ = strings.Cut(l, "#")
		if strings.Join(strings.Fields(l), "") == fmt.Sprintf("[[%s.args]]", kind) {
			headers = append(headers, i)
		}
	}
	if len(headers) != of {
		return 0, ""
	}
	return headers[nth] + 1, strings.TrimRight(lines[headers[nth]], "\r")
}
