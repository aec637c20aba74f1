package platform

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// input is one thing that a platform can tell a program: by flag, else by
// variable, else by default (platform.md, "Inputs" of each phase).
type input struct {
	flag     string
	variable string
	// def is the default as -help shows it; "<layers>/" at its start stands for
	// the final value of -layers.
	def   string
	usage string
	// since is the minor Platform API version that the flag came with.
	since int
	kind  inputKind
}

type inputKind int

const (
	text inputKind = iota
	path
	boolean
	list
	// lines is a list whose items may have commas in them; a variable has one on
	// each line.
	lines
)

// from is the same input for a program that has it since another version.
func (in input) from(since int) input {
	in.since = since
	return in
}

// Inputs that several programs share.
var (
	inAnalyzed    = input{"analyzed", "CNB_ANALYZED_PATH", "<layers>/analyzed.toml", "`FILE` with what is known of the base images", 10, path}
	inApp         = input{"app", "CNB_APP_DIR", "/workspace", "`DIR` with the application's source", 0, path}
	inBuildConfig = input{"build-config", "CNB_BUILD_CONFIG_DIR", "/cnb/build-config", "`DIR` with the operator's environment (env/)", 11, path}
	inBuildpacks  = input{"buildpacks", "CNB_BUILDPACKS_DIR", "/cnb/buildpacks", "`DIR` with the buildpacks, as <id>/<version>", 0, path}
	inExtensions  = input{"extensions", "CNB_EXTENSIONS_DIR", "/cnb/extensions", "`DIR` with the image extensions, as <id>/<version>", 10, path}
	inGenerated   = input{"generated", "CNB_GENERATED_DIR", "<layers>/generated", "`DIR` for generated Dockerfiles", 10, path}
	inGroup       = input{"group", "CNB_GROUP_PATH", "<layers>/group.toml", "`FILE` with the detected group", 0, path}
	inPlan        = input{"plan", "CNB_PLAN_PATH", "<layers>/plan.toml", "`FILE` with the resolved build plan", 0, path}
	inLayers      = input{"layers", "CNB_LAYERS_DIR", "/layers", "`DIR` that the phases share", 0, path}
	inRun         = input{"run", "CNB_RUN_PATH", "/cnb/run.toml", "`FILE` with the known run images", 12, path}
	inPlatform    = input{"platform", "CNB_PLATFORM_DIR", "/platform", "`DIR` with what the user gives to modules (env/)", 0, path}
	inUID         = input{"uid", "CNB_USER_ID", "", "user `ID` of the build image's user", 0, text}
	inGID         = input{"gid", "CNB_GROUP_ID", "", "group `ID` of the build image's user", 0, text}
	inLogLevel    = input{"log-level", "CNB_LOG_LEVEL", "info", "how much to say: debug, info, warn or error (`LEVEL`)", 0, text}
	inNoColor     = input{"no-color", "CNB_NO_COLOR", "", "no colors; they are also off when NO_COLOR is set or the stream is no terminal", 0, boolean}
)

// values are the inputs of one program after resolution.
type values struct {
	api    API
	layers string
	raw    map[string]string
	many   map[string][]string
	source map[string]string
	err    error
}

// resolve settles every input: flag, else variable, else default. An empty
// variable counts as unset, as platforms pass empty ones for "no opinion".
func resolve(api API, inputs []input, flags flagValues, env func(string) string) *values {
	v := &values{api: api, raw: map[string]string{}, many: map[string][]string{}, source: map[string]string{}}
	for _, in := range inputs {
		switch {
		case flags.isSet(in.flag):
			if api.minor < in.since {
				v.fail(fmt.Errorf("-%s: needs Platform API 0.%d or newer, and CNB_PLATFORM_API is %s", in.flag, in.since, api.Version))
				continue
			}
			v.source[in.flag] = "-" + in.flag
			v.raw[in.flag], v.many[in.flag] = flags.value(in)
		case api.minor >= in.since && in.variable != "" && env(in.variable) != "":
			v.source[in.flag] = in.variable
			v.raw[in.flag] = env(in.variable)
			v.many[in.flag] = in.split(env(in.variable))
		default:
			v.raw[in.flag] = in.def
		}
	}
	v.layers = v.path("layers")
	return v
}

// flagValues is what the command line said.
type flagValues interface {
	isSet(flag string) bool
	value(in input) (string, []string)
}

// split takes the value of a variable apart that stands for several flags.
func (in input) split(s string) []string {
	if in.kind == lines {
		return splitAt(s, "\n")
	}
	return splitList(s)
}

func splitList(s string) []string { return splitAt(s, ",") }

func splitAt(s, separator string) []string {
	var out []string
	for _, part := range strings.Split(s, separator) {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// fail keeps the first error; it ends the program with CodeUsage.
func (v *values) fail(err error) {
	if v.err == nil {
		v.err = WithCode(CodeUsage, err)
	}
}

// given tells whether a flag or variable set the input.
func (v *values) given(flag string) bool { return v.source[flag] != "" }

func (v *values) text(flag string) string { return v.raw[flag] }

// path is the input as an absolute path; an input that is not there at all, as
// below the version that brought it, stays empty.
func (v *values) path(flag string) string {
	raw, known := v.raw[flag]
	if raw == "" && v.given(flag) {
		v.fail(fmt.Errorf("%s: it is empty, where a path should be", v.source[flag]))
	}
	if !known || raw == "" {
		return ""
	}
	if rest, ok := strings.CutPrefix(raw, "<layers>/"); ok && !v.given(flag) {
		return filepath.Join(v.layers, rest)
	}
	abs, err := filepath.Abs(raw)
	if err != nil {
		v.fail(fmt.Errorf("%s: cannot make %q an absolute path: %w", v.source[flag], raw, err))
	}
	return abs
}

func (v *values) bool(flag string) bool {
	raw := v.raw[flag]
	if raw == "" {
		return false
	}
	b, err := strconv.ParseBool(raw)
	if err != nil {
		v.fail(fmt.Errorf("%s: %q is neither true nor false", v.source[flag], raw))
	}
	return b
}

// id is a user or group id, or nil when nobody gave one.
func (v *values) id(flag string) *int {
	raw := v.raw[flag]
	if raw == "" && !v.given(flag) {
		return nil
	}
	n, err := strconv.ParseUint(raw, 10, 31)
	if err != nil {
		v.fail(fmt.Errorf("%s: %q is no numeric id", v.source[flag], raw))
		return nil
	}
	id := int(n)
	return &id
}

func (v *values) duration(flag string) time.Duration {
	d, err := time.ParseDuration(v.raw[flag])
	if err == nil && d < 0 {
		err = fmt.Errorf("is negative")
	}
	if err != nil {
		v.fail(fmt.Errorf("%s: %q is no duration such as 336h or 30m", v.source[flag], v.raw[flag]))
	}
	return d
}

// size is a number of bytes above zero, or 0 when nobody gave one.
func (v *values) size(flag string) int64 {
	if !v.given(flag) {
		return 0
	}
	n, err := units.RAMInBytes(v.raw[flag])
	if err != nil || n <= 0 {
		v.fail(fmt.Errorf("%s: %q is no size above zero such as 500MB or 20GB", v.source[flag], v.raw[flag]))
	}
	return n
}

// oneOf is a text input that must be one of a few words.
func (v *values) oneOf(flag string, words ...string) string {
	for _, w := range words {
		if v.raw[flag] == w {
			return w
		}
	}
	v.fail(fmt.Errorf("%s: %q is not one of %s", v.source[flag], v.raw[flag], strings.Join(words, ", ")))
	return ""
}
