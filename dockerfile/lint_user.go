package dockerfile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// userRules judges the users that a Dockerfile sets.
type userRules struct {
	// last is the last USER, expanded; nil if there is none.
	last *instructions.UserCommand
	// doubtful tells that its value depends on the base image.
	doubtful bool
}

func (r *userRules) see(l *lint, command instructions.Command, s *scope) {
	user, ok := command.(*instructions.UserCommand)
	if !ok {
		return
	}
	r.last, r.doubtful = user, s.doubtful
	if name, group, found := strings.Cut(user.User, ":"); found && group == "" && !s.doubtful {
		l.warn(RuleUserGroupEmpty, line(user.Location()), user.Comments(), fmt.Sprintf(
			"the group can be empty, since an image may have a user without one: %q is no user that a container can be started as", shown(name)+":"), "")
	}
}

// shown is a value as messages show it.
func shown(value string) string {
	for _, name := range []string{ArgBaseImage, ArgBuildID, ArgUserID, ArgGroupID} {
		value = strings.ReplaceAll(value, unknown(name), "<"+name+">")
	}
	return value
}

// end judges the user that the image is left with (image_extension.md,
// "Dockerfile Requirements", on user_id and group_id).
func (r *userRules) end(l *lint) {
	if r.last == nil || r.doubtful {
		return
	}
	name, _, _ := strings.Cut(r.last.User, ":")
	number, err := strconv.Atoi(name)
	if name != "root" && (err != nil || number != 0) {
		return
	}
	message := "the build image is left with the user root, and not with its own"
	if l.kind == KindRun {
		message = "the run image is left with the user root: unless a later extension sets another, extending it fails"
	}
	l.warn(RuleUserRoot, line(r.last.Location()), r.last.Comments(), message, "")
}

// buildIDRules judges where and how build_id is declared.
type buildIDRules struct {
	// arg is the first ARG build_id after FROM.
	arg *instructions.ArgCommand
	// expensive is the first command behind it that fetches something, in a RUN
	// that does not itself ask for build_id.
	expensive string
	line      int
}

func (r *buildIDRules) see(l *lint, command instructions.Command, s *scope, script *script) {
	switch c := command.(type) {
	case *instructions.ArgCommand:
		for _, arg := range c.Args {
			if arg.Key != ArgBuildID {
				continue
			}
			if r.arg == nil {
				r.arg = c
			}
			if fallback := s.buildIDDefault(arg); fallback != "0" {
				l.warn(RuleBuildIDDefault, l.lineWith(c, ArgBuildID), c.Comments(),
					"build_id has no default of 0, so the Dockerfile is not portable", "")
			}
		}
	case *instructions.RunCommand:
		if r.arg == nil || r.expensive != "" || strings.Contains(script.text, ArgBuildID) {
			return
		}
		if r.expensive = script.expensive(); r.expensive != "" {
			r.line = l.lineWith(c, r.expensive)
		}
	}
}

// buildIDDefault is the default of build_id, which may stand before FROM.
func (s *scope) buildIDDefault(arg instructions.KeyValuePairOptional) string {
	if arg.Value != nil {
		return s.expand(*arg.Value)
	}
	return s.defaults[arg.Key]
}

// end tells of an ARG build_id that stands too early.
func (r *buildIDRules) end(l *lint) {
	if r.expensive == "" {
		return
	}
	l.warn(RuleBuildIDEarly, l.lineWith(r.arg, ArgBuildID), r.arg.Comments(),
		fmt.Sprintf("build_id is new in every build, so everything below is built each time, `%s` in line %d too", r.expensive, r.line),
		fmt.Sprintf("move `ARG build_id=0` below line %d, right before what has to run in every build", r.line))
}
