package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// File is a generated Dockerfile that the spec's requirements hold for.
type File struct {
	// Base tells that FROM is the base_image arg.
	Base bool
	// Image is the image that FROM names instead, with the global args
	// expanded; empty if Base.
	Image string
	// Instructions is the number of instructions after FROM.
	Instructions int
	// Warnings are worth a line to the extension's author.
	Warnings []*Error
}

// The names of the args that every Dockerfile is given
// (image_extension.md, "Phase: Extension").
const (
	ArgBaseImage = "base_image"
	ArgBuildID   = "build_id"
	ArgUserID    = "user_id"
	ArgGroupID   = "group_id"
)

// allowed are the instructions that a generated Dockerfile may use after FROM
// (image_extension.md, "Dockerfile Requirements").
var allowed = map[string]bool{
	"add": true, "arg": true, "copy": true, "env": true, "label": true,
	"run": true, "shell": true, "user": true, "workdir": true,
}

// Parse reads a generated Dockerfile and checks it against the requirements for
// its kind (image_extension.md, "Dockerfile Requirements"). The args are those
// of the extension, which FROM may use. Every error is an *Error.
func Parse(kind Kind, step Step) (*File, error) {
	read, problems := newChecker(step).inspect(kind, nil)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	return read.file, nil
}

// inspection is a Dockerfile that has been read, as far as it could be.
type inspection struct {
	parsed  *parser.Result
	globals []instructions.ArgCommand
	stages  []instructions.Stage
	// file is what became of it; it is good only if there are no problems.
	file *File
}

// inspect reads a Dockerfile and finds all that makes it unacceptable, the
// gravest first. The inspection has stages if the whole of it can be parsed. The
// linter, which can be nil, hears what BuildKit's parser would rather not see.
func (c checker) inspect(kind Kind, lint *linter.Linter) (read inspection, problems []*Error) {
	var err error
	if read.parsed, err = parser.Parse(bytes.NewReader(c.step.Content)); err != nil {
		return read, []*Error{c.parseError(err)}
	}
	if lint == nil {
		lint = Silent()
	}
	read.stages, read.globals, err = instructions.Parse(read.parsed.AST, lint)
	if err != nil {
		read.stages = nil
		return read, c.parseErrors(read.parsed.AST, err)
	}
	if kind == KindBuild {
		if problem := c.checkPreamble(read.parsed.AST); problem != nil {
			problems = append(problems, problem)
		}
	}
	if len(read.stages) == 0 {
		return read, append(problems, c.problem(RuleFromMissing, 0, fmt.Sprintf(
			"there is no FROM: write `ARG %s` and `FROM ${%s}` first", ArgBaseImage, ArgBaseImage)))
	}
	for _, stage := range read.stages[1:] {
		problems = append(problems, c.problem(RuleFromSeveral, line(stage.Location),
			"a second FROM: a generated Dockerfile extends one image and has one FROM"))
	}
	from := read.stages[0]
	read.file = &File{Instructions: len(from.Commands)}
	for _, command := range from.Commands {
		if warning := c.discouraged(command); warning != nil {
			read.file.Warnings = append(read.file.Warnings, warning)
		}
	}
	problem := c.checkFrom(kind, from, read)
	if problem == nil || len(problems) > 0 && refersTo(from.BaseName, ArgBaseImage) {
		// FROM is as it should be if only the ARG before it were there.
		return read, problems
	}
	return read, append(problems, problem)
}

// checkFrom finds out which image FROM names, and whether it may.
func (c checker) checkFrom(kind Kind, from instructions.Stage, read inspection) *Error {
	at := line(from.Location)
	image, base, err := expandFrom(from.BaseName, read.globals, c.step, read.parsed.EscapeToken)
	read.file.Image, read.file.Base = image, base
	switch {
	case err != nil:
		return c.problem(RuleFromImage, at, fmt.Sprintf("FROM cannot be expanded: %v", err))
	case kind == KindBuild && !base:
		return c.problem(RuleFromBaseImage, at, fmt.Sprintf(
			"FROM must be ${%s} in a build.Dockerfile (did a shell expand it while the file was generated?)", ArgBaseImage))
	case base:
		return nil
	}
	if problem := judgeImage(from.BaseName, image); problem != "" {
		return c.problem(RuleFromImage, at, problem)
	}
	return nil
}

// judgeImage says what is wrong with the name of a run image, if anything.
func judgeImage(written, image string) string {
	if image == "" {
		return fmt.Sprintf("FROM names no image: no ARG before it gives %s a value", written)
	}
	if image == "scratch" {
		return "FROM scratch is no image that a registry has: name a run image, or ${" + ArgBaseImage + "}"
	}
	if _, err := name.ParseReference(image, name.WeakValidation); err != nil {
		return fmt.Sprintf("FROM names %q, which cannot be an image: %v", image, err)
	}
	return ""
}

// Silent is a linter of BuildKit's that tells nobody anything. Its parser cannot do with
// none: a comment like `# check=skip=all` before an instruction is for the linter, and
// ends the program if that is nil.
func Silent() *linter.Linter { return linter.New(&linter.Config{}) }

// checker makes errors about one Dockerfile.
type checker struct {
	step Step
	// lines are the lines of the Dockerfile.
	lines []string
}

func newChecker(step Step) checker {
	return checker{step: step, lines: strings.Split(string(step.Content), "\n")}
}

func (c checker) problem(rule Rule, line int, text string) *Error {
	return &Error{
		Extension: c.step.Extension, Path: c.step.Path, Line: line,
		Source: sourceLine(c.lines, line), Problem: text,
		Rule: rule.ID, Suggestion: rule.suggestion,
	}
}

// parseErrors are the errors of all instructions that cannot be parsed. The
// parser stops at the first, whose error is given.
func (c checker) parseErrors(ast *parser.Node, first error) []*Error {
	problems := []*Error{c.parseError(first)}
	for _, node := range ast.Children {
		if node.StartLine <= problems[0].Line {
			continue
		}
		if _, err := instructions.ParseInstructionWithLinter(node, Silent()); err != nil {
			problems = append(problems, c.parseError(err))
		}
	}
	return problems
}

// parseError takes the line out of an error of BuildKit's parser.
func (c checker) parseError(err error) *Error {
	at := 0
	var located *parser.LocationError
	if errors.As(err, &located) && len(located.Locations) > 0 {
		at = line(located.Locations[0])
	}
	e := c.problem(RuleSyntax, at, err.Error())
	e.Err = err
	return e
}

func line(location []parser.Range) int {
	if len(location) == 0 {
		return 0
	}
	return location[0].Start.Line
}

// checkPreamble demands that a build.Dockerfile begins with ARG base_image.
func (c checker) checkPreamble(ast *parser.Node) *Error {
	want := fmt.Sprintf("a build.Dockerfile must begin with `ARG %s`", ArgBaseImage)
	if len(ast.Children) == 0 {
		return c.problem(RuleBuildPreamble, 0, want)
	}
	first := ast.Children[0]
	command, err := instructions.ParseInstructionWithLinter(first, Silent())
	arg, ok := command.(*instructions.ArgCommand)
	if err != nil || !ok || len(arg.Args) == 0 || arg.Args[0].Key != ArgBaseImage {
		return c.problem(RuleBuildPreamble, first.StartLine, want)
	}
	return nil
}

// discouraged tells of an instruction that should not be used; nil if it may be.
func (c checker) discouraged(command instructions.Command) *Error {
	if allowed[strings.ToLower(command.Name())] {
		return nil
	}
	return c.problem(RuleInstructionDiscouraged, line(command.Location()), fmt.Sprintf(
		"%s should not be used in a generated Dockerfile", strings.ToUpper(command.Name())))
}

// expandFrom finds out which image FROM names. Whether that is the base image
// shows when the arg is expanded to a name that no image can have, so every
// spelling of the arg that the language has is understood.
func expandFrom(name string, globals []instructions.ArgCommand, step Step, escape rune) (image string, base bool, err error) {
	const mark = "\x00base\x00"
	lex := shell.NewLex(escape)
	scope := variables(platformArgs(step.Target))
	given := map[string]string{ArgBaseImage: mark}
	for _, a := range step.Args {
		if a.Name != ArgBaseImage {
			given[a.Name] = a.Value
		}
	}
	for _, global := range globals {
		for _, arg := range global.Args {
			value, ok := given[arg.Key]
			if !ok {
				if arg.Value == nil {
					continue
				}
				result, err := expandBounded(lex, *arg.Value, scope)
				if err != nil {
					return "", false, fmt.Errorf("ARG %s: %w", arg.Key, err)
				}
				value = result.Result
			}
			if len(value) > longestValue {
				return "", false, fmt.Errorf("ARG %s: %w", arg.Key, errTooLong)
			}
			scope[arg.Key] = value
		}
	}
	result, err := expandBounded(lex, name, scope)
	if image = result.Result; err != nil || image == mark {
		return "", err == nil, err
	}
	if strings.Contains(image, mark) {
		return "", false, fmt.Errorf("%s is only a part of the name", ArgBaseImage)
	}
	return image, false, nil
}

// platformArgs are the global args that exist without an ARG.
func platformArgs(target string) map[string]string {
	own := "linux/" + runtime.GOARCH
	if target == "" {
		target = own
	}
	args := map[string]string{}
	for prefix, platform := range map[string]string{"TARGET": target, "BUILD": own} {
		parts := append(strings.Split(platform, "/"), "", "")
		args[prefix+"PLATFORM"] = platform
		args[prefix+"OS"], args[prefix+"ARCH"], args[prefix+"VARIANT"] = parts[0], parts[1], parts[2]
	}
	return args
}

// variables is a scope as the lexer wants it.
type variables map[string]string

func (v variables) Get(name string) (string, bool) {
	value, ok := v[name]
	return value, ok
}

func (v variables) Keys() []string {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	return keys
}
