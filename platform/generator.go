package platform

import (
	"context"
	"errors"
)

// GeneratorInputs are the inputs of the generator
// (image_extension.md, "Phase: Generation").
type GeneratorInputs struct {
	API          API
	Log          *Log
	Analyzed     string
	App          string
	BuildConfig  string
	Extensions   string
	Generated    string
	Group        string
	Layers       string
	Plan         string
	Platform     string
	Run          string
	UID, GID     *int
	ExecEnv      string
	Experimental ExperimentalMode
	// Check judges what was generated, and generates nothing.
	Check bool
	// CheckDir is the output of one extension, to be judged in the place of
	// <generated>; empty for all that was generated.
	CheckDir string
	// Report is a file for the findings of a check; empty for none.
	Report  string
	Environ func(string) string
}

var generatorProgram = program{
	name:      "generator",
	purpose:   "run the detected image extensions and collect the Dockerfiles that they generate",
	oldestAPI: 10,
	inputs: []input{
		inAnalyzed, inApp, inBuildConfig, inExtensions, inGenerated, inGroup, inLayers,
		inPlan, inPlatform, inRun.from(0), inUID, inGID,
		{"check", "CNB_CHECK", "", "judge what was generated, as any user, and run and write nothing (except for -report)", 0, boolean},
		{"check-dir", "CNB_CHECK_DIR", "", "`DIR` with what one extension generated, to be judged in the same way instead of <generated>", 0, path},
		{"report", "CNB_REPORT", "", "with -check: `FILE` or descriptor (/dev/fd/3) that gets all findings as JSON", 0, path},
		inLogLevel, inNoColor,
	},
	variables: [][2]string{execEnvVariable, experimentalVariable},
	examples: []string{
		"generator                                  # after detector -skip-generate, all by default",
		"generator -app . -layers /tmp/layers -extensions ./extensions",
		"CNB_PLATFORM_API=0.12 CNB_EXPERIMENTAL_MODE=warn generator -log-level debug",
		"generator -check -generated /tmp/layers/generated -report findings.json",
		"generator -check-dir my-extension/generate # the output of one extension",
	},
	codes: []Code{CodeOK, CodeFailed, CodeUsage, CodePlatformAPI, CodeBuildpackAPI, CodeGenerate, CodeGenerated,
		CodeInterrupted, CodeTerminated},
}

// RunGenerator resolves the generator's inputs from the world, calls action
// with them, reports its error and returns the exit code.
func RunGenerator(ctx context.Context, world World, action func(context.Context, GeneratorInputs) error) Code {
	return generatorProgram.run(ctx, world, func(ctx context.Context, c common) error {
		v := c.values
		in := GeneratorInputs{
			API:          v.api,
			Log:          c.log,
			Analyzed:     v.path("analyzed"),
			App:          v.path("app"),
			BuildConfig:  v.path("build-config"),
			Extensions:   v.path("extensions"),
			Generated:    v.path("generated"),
			Group:        v.path("group"),
			Layers:       v.path("layers"),
			Plan:         v.path("plan"),
			Platform:     v.path("platform"),
			Run:          v.path("run"),
			UID:          v.id("uid"),
			GID:          v.id("gid"),
			ExecEnv:      execEnv(v, c.env),
			Experimental: experimental(v, c.env),
			CheckDir:     v.path("check-dir"),
			Report:       v.path("report"),
			Environ:      c.env,
		}
		in.Check = v.bool("check") || in.CheckDir != ""
		if !in.Check && v.source["report"] == "-report" {
			v.fail(errors.New("-report: goes with -check or -check-dir alone"))
		}
		if v.err != nil {
			return v.err
		}
		return action(ctx, in)
	})
}
