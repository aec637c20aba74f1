package chain

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile"
)

// baseContext is the name of the base in a Dockerfile, if it has no reference that could
// be pulled.
const baseContext = "base-image"

// printer writes one Dockerfile for a whole chain: a stage for each of the chain's.
type printer struct {
	*run
	body bytes.Buffer
	// escape is the escape character of the language.
	escape rune
	// main is the directory that is the context; others are named contexts.
	main string
	// wanted are args that whoever builds has to give, since they cannot be written.
	wanted []wantedArg
	// seen are the args of the stages so far.
	seen map[string]bool
	// leaked are those that a stage sees although nobody has given them to it.
	leaked []string
}

// wantedArg is an arg with its value, or with words about a value that is not known.
type wantedArg struct{ name, value, unknown string }

// printDockerfile writes a Dockerfile that comes to the same as the chain, but for what
// the language cannot say: an ARG of one stage is seen by those that follow.
func (r *run) printDockerfile(w io.Writer) error {
	p := &printer{run: r, seen: map[string]bool{}}
	if err := p.choose(); err != nil {
		return err
	}
	if err := p.triggeredArgs(); err != nil {
		return err
	}
	from := r.base.Name
	if !r.base.InRegistry() {
		from = baseContext
	}
	if !platforms.Only(platforms.DefaultSpec()).Match(r.base.Platform()) {
		from = "--platform=" + platforms.Format(r.base.Platform()) + " " + from
	}
	for n, c := range r.plan.converted {
		fmt.Fprintf(&p.body, "\n# extension %s: %s\n", oneLine(c.step.Extension), oneLine(c.step.Path))
		name := fmt.Sprintf("extension-%d", n+1)
		fmt.Fprintf(&p.body, "FROM %s AS %s\n", from, name)
		from = name
		if err := p.stage(n, c); err != nil {
			return err
		}
	}
	if len(r.plan.converted) == 0 {
		fmt.Fprintf(&p.body, "\nFROM %s\n", from)
	} else if r.app.Kind == dockerfile.KindRun {
		fmt.Fprintf(&p.body, "LABEL %s=%q\n", rebasableLabel, strconv.FormatBool(r.plan.rebasable))
	}
	if _, err := io.WriteString(w, p.head()); err != nil {
		return err
	}
	_, err := w.Write(p.body.Bytes())
	return err
}

// choose finds the escape character and the main context that suit all stages.
func (p *printer) choose() error {
	p.escape = parser.DefaultEscapeToken
	var bound *step
	for n, c := range p.plan.converted {
		parsed, err := parser.Parse(bytes.NewReader(c.step.Content))
		if err != nil {
			return c.step.locate(err)
		}
		if n > 0 && parsed.EscapeToken != p.escape {
			return c.step.problem(0, fmt.Sprintf("its escape character %q is not that of the Dockerfiles before, and one Dockerfile has one: print another form", parsed.EscapeToken), nil)
		}
		p.escape = parsed.EscapeToken
		line, what, ok := bindsContext(c)
		if !ok {
			continue
		}
		if bound != nil && bound.Context != c.step.Context {
			return c.step.problem(line, fmt.Sprintf(
				"%s reads another context than that of extension %s, and in one Dockerfile it can read only one: print another form", what, bound.Extension), nil)
		}
		bound = c.step
	}
	if bound != nil {
		p.main = bound.Context
		return nil
	}
	for _, c := range p.plan.converted {
		if _, used := contextPaths(c.step.commands); used {
			p.main = c.step.Context
			return nil
		}
	}
	return nil
}

// bindsContext tells whether a Dockerfile's context must be the main one: ADD can read no
// other, and what the image before triggers cannot be rewritten.
func bindsContext(c converted) (line int, what string, ok bool) {
	if _, used := contextPaths(c.triggers); used {
		return c.step.fromLine, "what the image before triggers", true
	}
	for _, command := range c.step.commands {
		if add, ok := command.(*instructions.AddCommand); ok {
			if _, used := contextPaths([]instructions.Command{add}); used {
				return firstLine(add.Location()), "ADD", true
			}
		}
	}
	return 0, "", false
}

// stage writes what follows FROM, as it is but for args and contexts.
func (p *printer) stage(n int, c converted) error {
	lines := strings.Split(strings.TrimSuffix(string(c.step.Content), "\n"), "\n")
	next := p.afterFrom(c.step)
	globals, err := p.globals(c)
	if err != nil {
		return err
	}
	declared := map[string]bool{}
	for _, command := range c.step.commands {
		first, last := extent(command.Location())
		raw := strings.Join(lines[first-1:last], "\n")
		var text string
		switch command := command.(type) {
		case *instructions.ArgCommand:
			text = p.arg(n, c, command, globals, declared)
		case *instructions.CopyCommand:
			text, err = p.fromContext(c, raw, command.From == "" && len(command.SourcePaths) > 0, len(command.SourceContents) > 0, first)
		case *instructions.RunCommand:
			text = p.mounts(c, raw, command)
		default:
			text = raw
		}
		if err != nil {
			return err
		}
		for _, line := range lines[next-1 : first-1] { // comments and empty lines
			fmt.Fprintln(&p.body, line)
		}
		fmt.Fprintln(&p.body, text)
		next = last + 1
	}
	for name := range p.seen {
		if !declared[name] {
			p.leak(name)
		}
	}
	for name := range declared {
		p.seen[name] = true
	}
	return nil
}

func (p *printer) leak(name string) {
	if !slices.Contains(p.leaked, name) {
		p.leaked = append(p.leaked, name)
	}
}

// extent are the first and the last line of an instruction.
func extent(at []parser.Range) (first, last int) {
	return at[0].Start.Line, at[len(at)-1].End.Line
}

// afterFrom is the line after FROM.
func (p *printer) afterFrom(s *step) int {
	_, last := extent(s.fromAt)
	return last + 1
}

// globals are the values of the args before FROM, which an ARG without a value takes.
func (p *printer) globals(c converted) (map[string]string, error) {
	lex := shell.NewLex(p.escape)
	values, seen := map[string]string{}, p.platformArgs(c)
	for _, command := range c.step.globals {
		for _, arg := range command.Args {
			if given, ok := c.given[arg.Key]; ok {
				values[arg.Key], seen[arg.Key] = given, given
			} else if arg.Value != nil {
				value, _, err := lex.ProcessWord(*arg.Value, shell.EnvsFromSlice(assignments(seen)))
				if err != nil {
					return nil, c.step.problem(firstLine(command.Location()), err.Error(), err)
				}
				values[arg.Key], seen[arg.Key] = value, value
			}
		}
	}
	return values, nil
}

// platformArgs are the args that BuildKit has before all others, for the value of one that
// mentions them. (One that is only declared is left to whoever builds.)
func (p *printer) platformArgs(c converted) map[string]string {
	args := map[string]string{"TARGETSTAGE": "default"}
	for prefix, platform := range map[string]ocispecs.Platform{"BUILD": platforms.DefaultSpec(), "TARGET": p.base.Platform()} {
		args[prefix+"OS"], args[prefix+"OSVERSION"] = platform.OS, platform.OSVersion
		args[prefix+"ARCH"], args[prefix+"VARIANT"] = platform.Architecture, platform.Variant
		args[prefix+"PLATFORM"] = platforms.Format(platform)
	}
	args["TARGETPLATFORM"] = platforms.FormatAll(p.base.Platform())
	for name := range args {
		if given, ok := c.given[name]; ok {
			args[name] = given
		}
	}
	return args
}

func assignments(values map[string]string) []string {
	var all []string
	for k, v := range values {
		all = append(all, k+"="+v)
	}
	return all
}

// arg writes an ARG with the values that it gets.
func (p *printer) arg(n int, c converted, command *instructions.ArgCommand, globals map[string]string, declared map[string]bool) string {
	var before, words []string
	for _, arg := range command.Args {
		declared[arg.Key] = true
		value, known := c.given[arg.Key]
		if !known && arg.Value == nil {
			value, known = globals[arg.Key]
		}
		_, unknown := c.unknown[arg.Key]
		switch {
		case unknown || known && strings.ContainsAny(value, "\n\r\x00"):
			outer := fmt.Sprintf("extension_%d_%s", n+1, arg.Key)
			p.wanted = append(p.wanted, wantedArg{outer, value, c.unknown[arg.Key]})
			before = append(before, outer)
			words = append(words, fmt.Sprintf("%s=${%s}", arg.Key, outer))
		case known:
			words = append(words, arg.Key+"="+p.quote(value))
		case arg.Value != nil:
			words = append(words, arg.Key+"="+*arg.Value)
		case p.seen[arg.Key]:
			words = append(words, arg.Key+"=") // not the value of a stage before
			p.leak(arg.Key)
		default:
			words = append(words, arg.Key)
		}
	}
	text := "ARG " + strings.Join(words, " ")
	if len(before) > 0 {
		text = "ARG " + strings.Join(before, " ") + "\n" + text
	}
	return text
}

// quote writes a value such that nothing in it is expanded.
func (p *printer) quote(value string) string {
	escape := string(p.escape)
	return `"` + strings.NewReplacer(escape, escape+escape, `"`, escape+`"`, "$", escape+"$").Replace(value) + `"`
}

// triggeredArgs are given from outside, since what the image before triggers is not in
// the text. All stages see them then.
func (p *printer) triggeredArgs() error {
	for _, c := range p.plan.converted {
		for name := range argNames(c.triggers) {
			value, given := c.given[name]
			if !given {
				continue
			}
			for _, other := range p.plan.converted {
				if theirs, ok := other.given[name]; (!ok || theirs != value) && (argNames(other.triggers)[name] || argNames(other.step.commands)[name]) {
					return other.step.problem(other.step.fromLine, fmt.Sprintf(
						"ARG %s is not what it is for a trigger in extension %s, and in one Dockerfile it can be given only once: print another form", name, c.step.Extension), nil)
				}
			}
			arg := wantedArg{name, value, c.unknown[name]}
			if !slices.Contains(p.wanted, arg) {
				p.wanted = append(p.wanted, arg)
			}
		}
	}
	slices.SortFunc(p.wanted, func(a, b wantedArg) int { return strings.Compare(a.name, b.name) })
	return nil
}

func argNames(commands []instructions.Command) map[string]bool {
	names := map[string]bool{}
	for _, command := range commands {
		if arg, ok := command.(*instructions.ArgCommand); ok {
			for _, a := range arg.Args {
				names[a.Key] = true
			}
		}
	}
	return names
}

// contextOf is the name of the context of a Dockerfile; empty for the main one.
func (p *printer) contextOf(c converted) string {
	if c.step.Context == p.main {
		return ""
	}
	return p.contextName(c.step.Context)
}

// fromContext lets a COPY read the context that is meant.
func (p *printer) fromContext(c converted, raw string, reads, inline bool, line int) (string, error) {
	name := p.contextOf(c)
	if !reads || name == "" {
		return raw, nil
	}
	if inline {
		return "", c.step.problem(line, "COPY has files of a context and here-documents at once, and in one Dockerfile it cannot have both from a second context: print another form", nil)
	}
	at := strings.Index(strings.ToLower(raw), "copy") + len("copy")
	return raw[:at] + " --from=" + name + raw[at:], nil
}

// mounts lets the bind mounts of a RUN show the context that is meant. That is written at
// the beginning of the flag: where it ends, with quotes and lines that go on, is for
// BuildKit to know.
func (p *printer) mounts(c converted, raw string, command *instructions.RunCommand) string {
	const flag = "--mount="
	name := p.contextOf(c)
	all := mounts(command)
	if name == "" {
		return raw
	}
	var out strings.Builder
	for line := range strings.Lines(raw) {
		for !strings.HasPrefix(strings.TrimSpace(line), "#") { // a comment between lines that go on
			before, after, ok := strings.Cut(line, flag)
			if !ok || len(all) == 0 {
				break
			}
			out.WriteString(before + flag)
			if all[0].Type == instructions.MountTypeBind && all[0].From == "" {
				out.WriteString("from=" + name + ",")
			}
			line, all = after, all[1:]
		}
		out.WriteString(line)
	}
	return out.String()
}
