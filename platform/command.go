package platform

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// World is what a program gets from the system that starts it. The zero value
// is the process's own.
type World struct {
	Args     []string
	Env      func(string) string
	Out, Err io.Writer
}

func (w World) orProcess() World {
	if w.Args == nil {
		w.Args = os.Args
	}
	if w.Env == nil {
		w.Env = os.Getenv
	}
	if w.Out == nil {
		w.Out = os.Stdout
	}
	if w.Err == nil {
		w.Err = os.Stderr
	}
	return w
}

// Version is what -version prints. The build sets it.
var Version = "dev"

// program describes one of the three on the command line.
type program struct {
	name, purpose string
	oldestAPI     int
	inputs        []input
	variables     [][2]string
	examples      []string
	codes         []Code
}

// common is what every program has of its inputs.
type common struct {
	values *values
	env    func(string) string
	log    *Log
}

// run parses the command line, resolves the inputs, and calls action; then it
// says what went wrong, if anything, and returns the exit code.
func (p program) run(ctx context.Context, world World, action func(context.Context, common) error) Code {
	world = world.orProcess()
	log := &Log{Out: world.Out, Err: world.Err, Level: LevelInfo}
	app := p.app(world)
	app.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return p.usageError(world, fmt.Errorf("unexpected argument %q: %s takes flags only", c.Args().First(), p.name))
		}
		api, err := p.api(world, log)
		if err != nil {
			return err
		}
		v := resolve(api, p.inputs, contextFlags{c}, world.Env)
		p.configureLog(log, v, world)
		if v.err != nil {
			return v.err
		}
		return action(ctx, common{values: v, env: world.Env, log: log})
	}
	err := app.RunContext(ctx, append([]string{p.name}, world.Args[1:]...))
	if err != nil {
		for _, line := range strings.Split(strings.TrimRight(err.Error(), "\n"), "\n") {
			log.Errorf("%s", line)
		}
	}
	return ExitCode(ctx, err)
}

func (p program) app(world World) *cli.App {
	app := &cli.App{
		Name:                      p.name,
		Usage:                     p.purpose,
		Version:                   Version,
		Writer:                    world.Out,
		ErrWriter:                 world.Err,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return p.usageError(world, err) },
	}
	// Making the text takes longer than most of a program's start.
	if slices.ContainsFunc(world.Args, func(arg string) bool { return slices.Contains(helpFlags, arg) }) {
		app.CustomAppHelpTemplate = p.help()
	}
	for _, in := range p.inputs {
		switch in.kind {
		case boolean:
			app.Flags = append(app.Flags, &cli.BoolFlag{Name: in.flag})
		case list, lines:
			app.Flags = append(app.Flags, &cli.StringSliceFlag{Name: in.flag})
		default:
			app.Flags = append(app.Flags, &cli.StringFlag{Name: in.flag})
		}
	}
	return app
}

// helpFlags are all spellings of a call for help.
var helpFlags = []string{"-help", "--help", "-h", "--h"}

// usageError is a bad command line; but a platform whose API is not supported
// hears of that first, since it may well use flags of a later version.
func (p program) usageError(world World, err error) error {
	if _, apiErr := p.api(world, &Log{}); apiErr != nil {
		return apiErr
	}
	return WithCode(CodeUsage, fmt.Errorf("%w (see %s -help)", err, p.name))
}

func (p program) api(world World, log *Log) (API, error) {
	version := world.Env("CNB_PLATFORM_API")
	if version == "" {
		log.Warnf("CNB_PLATFORM_API is not set; using the newest Platform API, %s", NewestPlatformAPI)
		version = NewestPlatformAPI
	}
	return ParseAPI(version, p.oldestAPI)
}

func (p program) configureLog(log *Log, v *values, world World) {
	level, err := ParseLevel(v.text("log-level"))
	if err != nil {
		v.fail(fmt.Errorf("%s: %w", v.source["log-level"], err))
	}
	log.Level = level
	if v.bool("no-color") || world.Env("NO_COLOR") != "" {
		return
	}
	if f, ok := world.Err.(*os.File); ok {
		log.Color = term.IsTerminal(int(f.Fd()))
	}
}

// contextFlags reads what the command line set.
type contextFlags struct{ *cli.Context }

func (c contextFlags) isSet(flag string) bool { return c.IsSet(flag) }

func (c contextFlags) value(in input) (string, []string) {
	switch in.kind {
	case boolean:
		return fmt.Sprint(c.Bool(in.flag)), nil
	case list, lines:
		return "", c.StringSlice(in.flag)
	}
	return c.String(in.flag), nil
}

// help is the whole text of -help: flags with their variables and defaults,
// variables without a flag, examples, exit codes.
func (p program) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nUsage: %s [flags]\n\nFlags (flag, then variable, then default):\n", p.name, p.purpose, p.name)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, in := range p.inputs {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", in.shape(), in.variable, in.explained())
	}
	fmt.Fprintf(table, "  -help, -h\t\tthis text\n  -version, -v\t\tthe version\n")
	table.Flush()
	fmt.Fprintf(&b, "\nVariables without a flag:\n")
	for _, v := range append([][2]string{{"CNB_PLATFORM_API", fmt.Sprintf("version of the Platform API, 0.%d to %s (default: %s, with a warning)", p.oldestAPI, NewestPlatformAPI, NewestPlatformAPI)}}, p.variables...) {
		fmt.Fprintf(table, "  %s\t%s\n", v[0], v[1])
	}
	table.Flush()
	fmt.Fprintf(&b, "\nExamples:\n")
	for _, e := range p.examples {
		fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(e, "\n", "\n  "))
	}
	fmt.Fprintf(&b, "\nExit codes:\n")
	for _, c := range p.codes {
		fmt.Fprintf(table, "  %d\t%s\n", c, meanings[c])
	}
	table.Flush()
	return b.String()
}

// shape is the flag with the kind of value it takes.
func (in input) shape() string {
	if word := in.placeholder(); word != "" {
		return "-" + in.flag + " " + word
	}
	return "-" + in.flag
}

func (in input) placeholder() string {
	_, rest, ok := strings.Cut(in.usage, "`")
	if !ok {
		return ""
	}
	word, _, _ := strings.Cut(rest, "`")
	return word
}

func (in input) explained() string {
	s := strings.ReplaceAll(in.usage, "`", "")
	var notes []string
	if in.def != "" {
		notes = append(notes, "default: "+in.def)
	}
	if in.since > 0 {
		notes = append(notes, fmt.Sprintf("from Platform API 0.%d", in.since))
	}
	if len(notes) > 0 {
		s += " (" + strings.Join(notes, "; ") + ")"
	}
	return s
}
