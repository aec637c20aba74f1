package platform

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DetectorInputs are the inputs of the detector (platform.md, "detector").
type DetectorInputs struct {
	API         API
	Log         *Log
	Analyzed    string
	App         string
	BuildConfig string
	Buildpacks  string
	Extensions  string
	Generated   string
	Group       string
	Layers      string
	Order       string
	Plan        string
	Platform    string
	Run         string
	System      string
	// UID and GID are the build user's, nil when the platform gave none.
	UID, GID *int
	// ExecEnv is the execution environment; empty below Platform API 0.15.
	ExecEnv string
	// Experimental decides about image extensions while they are experimental.
	Experimental ExperimentalMode
	// DryRun detects and writes nothing.
	DryRun bool
	// Target stands in for the analyzed file; nil when that is to be read.
	Target *Target
	// Report is a file for the results; empty for none.
	Report string
	// SkipGenerate leaves generation to the generator.
	SkipGenerate bool
	// Environ is the environment that modules inherit from.
	Environ func(string) string
}

// ExperimentalMode is how a program meets an experimental feature
// (platform.md, "Experimental Features").
type ExperimentalMode string

// The values of CNB_EXPERIMENTAL_MODE.
const (
	ExperimentalError  ExperimentalMode = "error"
	ExperimentalWarn   ExperimentalMode = "warn"
	ExperimentalSilent ExperimentalMode = "silent"
)

var execEnvVariable = [2]string{"CNB_EXEC_ENV", "execution environment of the app, like production or test (default: production; from Platform API 0.15)"}

var experimentalVariable = [2]string{"CNB_EXPERIMENTAL_MODE", "image extensions below Platform API 0.13: error, warn or silent (default: error)"}

var detectorProgram = program{
	name:      "detector",
	purpose:   "find the buildpacks and image extensions that take part in a build, and their build plan",
	oldestAPI: 7,
	inputs: []input{
		inAnalyzed, inApp, inBuildConfig, inBuildpacks, inExtensions, inGenerated, inGroup, inLayers,
		{"order", "CNB_ORDER_PATH", "<layers>/order.toml if present, else /cnb/order.toml", "`FILE` with the groups to try", 0, path},
		inPlan, inPlatform, inRun,
		{"system", "CNB_SYSTEM_PATH", "/cnb/system.toml", "`FILE` with the buildpacks that every group gets", 15, path},
		inUID, inGID,
		{"dry-run", "CNB_DRY_RUN", "", "detect and show the result, but write nothing (except for -report)", 0, boolean},
		{"target", "CNB_TARGET", "", "`OS/ARCH[/VARIANT][:DISTRO@VERSION]` to detect for, instead of what <analyzed> says", 0, text},
		{"report", "CNB_REPORT", "", "`FILE` or descriptor (/dev/fd/3) that gets all results as JSON", 0, path},
		{"skip-generate", "CNB_SKIP_GENERATE", "", "leave running the extensions' bin/generate to the generator", 10, boolean},
		inLogLevel, inNoColor,
	},
	variables: [][2]string{execEnvVariable, experimentalVariable},
	examples: []string{
		"detector                                   # in a builder container, all by default",
		"detector -app . -order order.toml -layers /tmp/layers -log-level debug",
		"detector -dry-run -target linux/amd64:debian@12 -app . -order order.toml",
	},
	codes: []Code{CodeOK, CodeFailed, CodeUsage, CodePlatformAPI, CodeBuildpackAPI, CodeFailedDetect,
		CodeFailedDetectWithErrors, CodeDetect, CodeGenerate, CodeGenerated, CodeInterrupted, CodeTerminated},
}

// RunDetector resolves the detector's inputs from the world, calls action with
// them, reports its error and returns the exit code.
func RunDetector(ctx context.Context, world World, action func(context.Context, DetectorInputs) error) Code {
	return detectorProgram.run(ctx, world, func(ctx context.Context, c common) error {
		v := c.values
		in := DetectorInputs{
			API:          v.api,
			Log:          c.log,
			Analyzed:     v.path("analyzed"),
			App:          v.path("app"),
			BuildConfig:  v.path("build-config"),
			Buildpacks:   v.path("buildpacks"),
			Extensions:   v.path("extensions"),
			Generated:    v.path("generated"),
			Group:        v.path("group"),
			Layers:       v.path("layers"),
			Order:        orderPath(v),
			Plan:         v.path("plan"),
			Platform:     v.path("platform"),
			Run:          v.path("run"),
			System:       v.path("system"),
			UID:          v.id("uid"),
			GID:          v.id("gid"),
			ExecEnv:      execEnv(v, c.env),
			Experimental: experimental(v, c.env),
			DryRun:       v.bool("dry-run"),
			Target:       target(v),
			Report:       v.path("report"),
			SkipGenerate: v.bool("skip-generate"),
			Environ:      c.env,
		}
		if v.err != nil {
			return v.err
		}
		return action(ctx, in)
	})
}

// orderPath is the one default that depends on what is there.
func orderPath(v *values) string {
	if v.given("order") {
		return v.path("order")
	}
	own := filepath.Join(v.path("layers"), "order.toml")
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return "/cnb/order.toml"
}

func target(v *values) *Target {
	if v.text("target") == "" {
		return nil
	}
	t, err := ParseTarget(v.text("target"))
	if err != nil {
		v.fail(fmt.Errorf("%s: %w", v.source["target"], err))
	}
	return &t
}

func execEnv(v *values, env func(string) string) string {
	if !v.api.ExecEnv {
		return ""
	}
	name := env("CNB_EXEC_ENV")
	if name == "" {
		return "production"
	}
	if strings.Contains(name, "/") {
		v.fail(fmt.Errorf("CNB_EXEC_ENV: %q must not contain a slash", name))
	}
	return name
}

func experimental(v *values, env func(string) string) ExperimentalMode {
	switch mode := ExperimentalMode(env("CNB_EXPERIMENTAL_MODE")); mode {
	case "":
		return ExperimentalError
	case ExperimentalError, ExperimentalWarn, ExperimentalSilent:
		return mode
	default:
		v.fail(fmt.Errorf("CNB_EXPERIMENTAL_MODE: %q is not one of error, warn, silent", mode))
		return ExperimentalError
	}
}

// Allow decides about an experimental feature: an error that carries
// CodeFailed, a warning, or nothing.
func (m ExperimentalMode) Allow(log *Log, feature string) error {
	switch m {
	case ExperimentalSilent:
		return nil
	case ExperimentalWarn:
		log.Warnf("%s: experimental there", feature)
		return nil
	}
	return WithCode(CodeFailed, fmt.Errorf("%s: experimental there; set CNB_EXPERIMENTAL_MODE=warn or silent to use it, or CNB_PLATFORM_API=0.13 or newer", feature))
}

// AllowExtensions decides whether image extensions may be used: where they are
// still experimental, the mode does.
func (a API) AllowExtensions(mode ExperimentalMode, log *Log) error {
	if !a.ExtensionsExperimental {
		return nil
	}
	return mode.Allow(log, "image extensions with Platform API "+a.Version)
}
