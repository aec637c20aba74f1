package dockerfile

import (
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// unknown is the value of an arg that is known only when the image is extended.
// No file can hold it.
func unknown(name string) string { return "\x00" + name + "\x00" }

// bounded is a value that variables may hold: one that is too long counts as
// unknown.
func bounded(name, value string) string {
	if len(value) > longestValue {
		return unknown(name)
	}
	return value
}

// scope is what is known of the variables at one point of a Dockerfile.
type scope struct {
	lex  *shell.Lex
	vars variables
	// given are the args that the Dockerfile is given.
	given map[string]string
	// globals are the values of the ARGs before FROM.
	globals map[string]string
	// defaults are the defaults of the ARGs before FROM.
	defaults map[string]string
	// platform are the args that the engine gives without being asked.
	platform map[string]string
	// env are the names that an ENV has set: an ARG no longer counts.
	env map[string]bool
	// empty are the args that are declared and that nobody gives a value, with
	// the lines of their ARG.
	empty map[string]int
	// workdir is the last absolute WORKDIR, if any.
	workdir string

	// refs are the variables that the last expansion used without a value and
	// without saying what happens then, in their order.
	refs []string
	// doubtful tells that the last expansion used a variable that nobody knows,
	// since the base image may have set it.
	doubtful bool
}

func newScope(l *lint, read inspection) *scope {
	s := &scope{
		lex:  shell.NewLex(read.parsed.EscapeToken),
		vars: variables{}, given: map[string]string{}, globals: map[string]string{}, defaults: map[string]string{},
		platform: platformArgs(l.step.Target), env: map[string]bool{}, empty: map[string]int{},
	}
	for _, a := range l.step.Args {
		s.given[a.Name] = bounded(a.Name, a.Value)
	}
	for _, name := range []string{ArgBaseImage, ArgBuildID, ArgUserID, ArgGroupID} {
		s.given[name] = unknown(name)
	}
	for name, value := range s.platform {
		s.vars[name] = value
	}
	for _, global := range read.globals {
		for _, arg := range global.Args {
			l.declared[arg.Key] = true
			s.declare(arg, line(global.Location()))
			if arg.Value != nil {
				s.defaults[arg.Key] = s.expand(*arg.Value)
			}
			if value, ok := s.vars[arg.Key]; ok {
				s.globals[arg.Key] = value
			}
		}
	}
	return s
}

// enterStage begins what follows FROM: args declared before it have no value
// there until they are declared again.
func (s *scope) enterStage() {
	s.vars, s.empty = variables{}, map[string]int{}
}

// declare is an ARG.
func (s *scope) declare(arg instructions.KeyValuePairOptional, at int) {
	name := arg.Key
	if s.env[name] {
		return
	}
	delete(s.empty, name)
	var fallback *string
	if arg.Value != nil {
		value := bounded(name, s.expand(*arg.Value))
		fallback = &value
	} else if value, ok := s.globals[name]; ok {
		fallback = &value
	}
	given, isGiven := s.given[name]
	builtin, isBuiltin := s.platform[name]
	switch {
	case name == ArgGroupID:
		// The one arg of the four that may be left out.
		s.vars[name] = ""
		if fallback != nil && *fallback != given {
			s.vars[name] = *fallback
		}
	case isGiven:
		s.vars[name] = given
	case isBuiltin:
		s.vars[name] = builtin
	case fallback != nil:
		s.vars[name] = *fallback
	case optionalArgs[name]:
		s.vars[name] = unknown(name)
	default:
		delete(s.vars, name)
		s.empty[name] = at
	}
}

// optionalArgs are args that an engine gives if its user sets them.
var optionalArgs = map[string]bool{
	"HTTP_PROXY": true, "http_proxy": true, "HTTPS_PROXY": true, "https_proxy": true, "FTP_PROXY": true, "ftp_proxy": true,
	"NO_PROXY": true, "no_proxy": true, "ALL_PROXY": true, "all_proxy": true, "SOURCE_DATE_EPOCH": true, "TARGETSTAGE": true,
}

// follow takes in what an instruction does to the variables. The instruction
// must have been expanded.
func (s *scope) follow(command instructions.Command) {
	switch c := command.(type) {
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			s.vars[kv.Key], s.env[kv.Key] = bounded(kv.Key, kv.Value), true
			delete(s.empty, kv.Key)
		}
	case *instructions.WorkdirCommand:
		switch {
		case strings.HasPrefix(c.Path, "/"):
			s.workdir = c.Path
		case s.workdir != "" && len(s.workdir) < longestValue:
			s.workdir += "/" + c.Path
		}
	}
}

// expand expands a word, and notes which variables were used without a value. A
// word that cannot be expanded is empty, and doubtful.
func (s *scope) expand(word string) string {
	if !s.note(word, func(word string) (shell.ProcessWordResult, error) { return expandBounded(s.lex, word, s.vars) }) {
		return ""
	}
	result, err := expandBounded(s.lex, word, s.vars)
	if err != nil || len(result.Result) > max(longestValue, len(word)) {
		s.doubtful = true
		return ""
	}
	return result.Result
}

// expandText notes which variables are used without a value in a text, such as
// a heredoc, in which quotes are nothing special. It leaves the text as it is.
func (s *scope) expandText(text string) {
	s.lex.SkipProcessQuotes = true
	s.note(text, func(text string) (shell.ProcessWordResult, error) {
		return s.lex.ProcessWordWithMatches(text, valueless{s.vars})
	})
	s.lex.SkipProcessQuotes = false
}

// mostRefs bounds how many variables without a value are told of in one word.
const mostRefs = 64

// note notes which variables are used without a value in what is expanded, and
// tells whether it could be.
func (s *scope) note(word string, expand func(string) (shell.ProcessWordResult, error)) bool {
	// What has no value is left as it is written, so it shows whether it says
	// what happens without one, as in ${name:-default}.
	s.lex.SkipUnsetEnv = true
	kept, err := expand(word)
	s.lex.SkipUnsetEnv = false
	if err != nil {
		s.doubtful = true
		return false
	}
	names := slices.Sorted(maps.Keys(kept.Unmatched))
	for i, name := range names {
		if _, empty := s.empty[name]; !empty {
			s.doubtful = true
		}
		if i < mostRefs && refersTo(kept.Result, name) {
			s.refs = append(s.refs, name)
		}
	}
	return true
}

// refersTo tells whether a text uses a variable and nothing instead.
func refersTo(text, name string) bool {
	if strings.Contains(text, "${"+name+"}") {
		return true
	}
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "$"+name)
		if !found {
			return false
		}
		if after == "" || !isNamePart(after[0]) {
			return true
		}
		rest = after
	}
}

func isNamePart(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
