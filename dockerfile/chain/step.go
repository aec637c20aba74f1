package chain

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/graft-cnb/graft/dockerfile"
)

// step is one Dockerfile, parsed.
type step struct {
	dockerfile.Step
	// label names the Dockerfile in the build graph; no two steps share one.
	label string
	// from is the image that FROM names, if it is not the base_image arg.
	from     string
	fromLine int
	fromAt   []parser.Range
	globals  []instructions.ArgCommand
	commands []instructions.Command
}

// parse reads and checks every Dockerfile.
func (r *run) parse() ([]*step, error) {
	if r.app.Kind != dockerfile.KindBuild && r.app.Kind != dockerfile.KindRun {
		return nil, fmt.Errorf("there is no kind %q of image to extend: it is %s or %s", r.app.Kind, dockerfile.KindBuild, dockerfile.KindRun)
	}
	labels := map[string]bool{}
	var steps []*step
	for n, s := range r.app.Steps {
		st := &step{Step: s, label: s.Path}
		if at := bytes.IndexByte(s.Content, 0); at >= 0 {
			// BuildKit's parser reads on, and complains to stderr.
			return nil, st.problem(1+bytes.Count(s.Content[:at], []byte("\n")), "there is a NUL byte, which neither a command nor a variable can have", nil)
		}
		file, err := dockerfile.Parse(r.app.Kind, s)
		if err != nil {
			return nil, err
		}
		st.from = file.Image
		if labels[st.label] {
			st.label = fmt.Sprintf("%s#%d", s.Path, n+1)
		}
		labels[st.label] = true
		if err := st.instructions(); err != nil {
			return nil, err
		}
		if st.from != "" && n > 0 {
			return nil, st.problem(st.fromLine, fmt.Sprintf(
				"FROM names %s, but only the first Dockerfile that is applied may name an image; write FROM ${base_image}", st.from), nil)
		}
		if strings.EqualFold(st.from, "scratch") {
			return nil, st.problem(st.fromLine, "FROM scratch cannot be extended; write FROM ${base_image}, or name an image", nil)
		}
		if ref, _, at, ok := parser.DetectSyntax(s.Content); ok {
			r.log(r.Warn, "extension %s: %s:%d: the line \"syntax=%s\" is not followed: the Dockerfile is read by the BuildKit that is built in",
				s.Extension, s.Path, firstLine(at), ref)
		}
		steps = append(steps, st)
	}
	return steps, nil
}

// instructions takes the Dockerfile apart; dockerfile.Parse has accepted it.
func (s *step) instructions() error {
	parsed, err := parser.Parse(bytes.NewReader(s.Content))
	if err != nil {
		return s.locate(err)
	}
	stages, globals, err := instructions.Parse(parsed.AST, dockerfile.Silent())
	if err != nil {
		return s.locate(err)
	}
	s.globals, s.commands = globals, stages[0].Commands
	s.fromLine, s.fromAt = firstLine(stages[0].Location), stages[0].Location
	return nil
}

// all are the commands that applying the Dockerfile to an image comes to: what
// the image triggers (ONBUILD), then its own.
func (s *step) all(triggers []string) ([]instructions.Command, error) {
	var out []instructions.Command
	for _, t := range triggers {
		parsed, err := parser.Parse(strings.NewReader(t))
		if err != nil {
			return nil, s.problem(s.fromLine, fmt.Sprintf("ONBUILD %s of the image before: %v", t, err), err)
		}
		for _, node := range parsed.AST.Children {
			if len(node.PrevComment) > 0 { // the converter does not bear all of them
				return nil, s.problem(s.fromLine, fmt.Sprintf("ONBUILD %s of the image before has a comment", t), nil)
			}
			c, err := instructions.ParseCommand(node)
			if err != nil {
				return nil, s.problem(s.fromLine, fmt.Sprintf("ONBUILD %s of the image before: %v", t, err), err)
			}
			out = append(out, c)
		}
	}
	return append(out, s.commands...), nil
}

// refuse names the first command that asks for a privilege: none is ever
// granted.
func (s *step) refuse(commands []instructions.Command) error {
	for n, c := range commands {
		run, ok := c.(*instructions.RunCommand)
		if !ok {
			continue
		}
		switch {
		case instructions.GetSecurity(run) == instructions.SecurityInsecure:
			return s.trouble(commands, n, "RUN --security=insecure is not allowed in an extension; no privileges are ever given", nil)
		case instructions.GetNetwork(run) == instructions.NetworkHost:
			return s.trouble(commands, n, "RUN --network=host is not allowed in an extension; leave the flag out", nil)
		case len(instructions.GetDevices(run)) > 0:
			return s.trouble(commands, n, "RUN --device is not allowed in an extension; no devices are ever given", nil)
		}
	}
	return nil
}

// declares tells whether an ARG makes one of the args visible.
func (s *step) declares(commands []instructions.Command, names ...string) bool {
	wanted := map[string]bool{}
	for _, n := range names {
		wanted[n] = true
	}
	has := func(args []instructions.KeyValuePairOptional) bool {
		for _, a := range args {
			if wanted[a.Key] {
				return true
			}
		}
		return false
	}
	for _, g := range s.globals {
		if has(g.Args) {
			return true
		}
	}
	for _, c := range commands {
		if arg, ok := c.(*instructions.ArgCommand); ok && has(arg.Args) {
			return true
		}
	}
	return false
}

// problem is an error about a line of the Dockerfile.
func (s *step) problem(line int, text string, err error) *dockerfile.Error {
	return &dockerfile.Error{Extension: s.Extension, Path: s.Path, Line: line, Source: s.source(line), Problem: text, Err: err}
}

// source is a line of the Dockerfile; empty if there is none with that number.
func (s *step) source(line int) string {
	if lines := strings.Split(string(s.Content), "\n"); line > 0 && line <= len(lines) {
		return lines[line-1]
	}
	return ""
}

// trouble is an error about one of the commands that the Dockerfile comes to: its own are
// the last.
func (s *step) trouble(commands []instructions.Command, n int, text string, err error) *dockerfile.Error {
	if n >= len(commands)-len(s.commands) {
		return s.problem(firstLine(commands[n].Location()), text, err)
	}
	in := instruction{text: commands[n].Name()}
	if st, ok := commands[n].(fmt.Stringer); ok {
		in.text = st.String()
	}
	return s.problem(s.fromLine, in.trigger()+text, err)
}

// blame makes an error of the conversion one about the command that it is about, where
// BuildKit gives no line: an image or a stage that is not there, and what the image before
// triggers.
func (s *step) blame(commands []instructions.Command, err error) error {
	var image *sourceError
	isImage := errors.As(err, &image)
	for n, c := range commands {
		for _, name := range sourceImages(c) {
			switch {
			case isImage && sameImage(name, image.ref):
				return s.trouble(commands, n, fmt.Sprintf("it copies from %s, which is neither a stage nor an image that can be read: %v", name, image), err)
			case strings.HasSuffix(err.Error(), "invalid stage index "+name):
				return s.trouble(commands, n, fmt.Sprintf("it copies from stage %s, and a generated Dockerfile has one stage", name), err)
			}
		}
	}
	line := lineOf(err)
	triggers := len(commands) - len(s.commands)
	if line != s.fromLine || triggers == 0 {
		return s.locate(err)
	}
	if triggers == 1 {
		return s.trouble(commands, 0, err.Error(), err)
	}
	return s.problem(line, fmt.Sprintf("one of the %d ONBUILD instructions of the image before: %v", triggers, err), err)
}

// sameImage tells whether a name as it is written stands for a reference.
func sameImage(name, ref string) bool {
	if name == ref {
		return true
	}
	parsed, err := reference.ParseNormalizedNamed(name)
	return err == nil && reference.TagNameOnly(parsed).String() == ref
}

// locate makes an error of BuildKit's converter one about a line.
func (s *step) locate(err error) error {
	return s.problem(lineOf(err), err.Error(), err)
}

func firstLine(at []parser.Range) int {
	if len(at) == 0 {
		return 0
	}
	return at[0].Start.Line
}
