package dockerfile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/graft-cnb/graft/platform"
)

// ExtendConfig is extend-config.toml: the build args that an extension gives to
// its Dockerfiles (image_extension.md, "extend-config.toml").
type ExtendConfig struct {
	Build ArgList `toml:"build"`
	Run   ArgList `toml:"run"`
}

// ArgList are the args for one kind of image.
type ArgList struct {
	Args []Arg `toml:"args"`
}

// For is the list for Dockerfiles of that kind.
func (c ExtendConfig) For(kind Kind) []Arg {
	if kind == KindBuild {
		return c.Build.Args
	}
	return c.Run.Args
}

var reserved = map[string]bool{ArgBaseImage: true, ArgBuildID: true, ArgUserID: true, ArgGroupID: true}

// ParseExtendConfig reads extend-config.toml. Every arg needs a name, and the
// names of the args that every Dockerfile is given are reserved. Every error is
// an *Error.
func ParseExtendConfig(extension, path string, data []byte) (ExtendConfig, error) {
	config, problems := inspectConfig(extension, path, data)
	if len(problems) > 0 {
		return ExtendConfig{}, problems[0]
	}
	return config, nil
}

// inspectConfig reads extend-config.toml and finds all that makes it
// unacceptable.
func inspectConfig(extension, path string, data []byte) (config ExtendConfig, problems []*Error) {
	if _, err := platform.DecodeTOML("extend-config", path, data, &config); err != nil {
		e := &Error{Extension: extension, Path: path, Problem: err.Error(), Rule: RuleConfigSyntax.ID, Suggestion: RuleConfigSyntax.suggestion, Err: err}
		var file *platform.FileError
		if errors.As(err, &file) {
			e.Line, e.Problem = file.Line, file.Err.Error()
			e.Source = sourceLine(strings.Split(string(data), "\n"), file.Line)
		}
		return ExtendConfig{}, []*Error{e}
	}
	for _, kind := range []Kind{KindBuild, KindRun} {
		for i, arg := range config.For(kind) {
			var rule Rule
			problem := ""
			switch {
			case arg.Name == "":
				rule, problem = RuleArgName, fmt.Sprintf("[[%s.args]] number %d has no name", kind, i+1)
			case reserved[arg.Name]:
				rule, problem = RuleArgReserved, fmt.Sprintf("[[%s.args]] number %d: the name %s is reserved, every Dockerfile is given it", kind, i+1, arg.Name)
			default:
				continue
			}
			problems = append(problems, &Error{Extension: extension, Path: path, Problem: problem, Rule: rule.ID, Suggestion: rule.suggestion})
		}
	}
	return config, problems
}
