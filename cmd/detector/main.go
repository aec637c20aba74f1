// Command detector finds the buildpacks and image extensions that take part in
// a build, and their build plan (platform.md, "detector").
package main

import (
	"context"
	"os"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/phase"
	"github.com/graft-cnb/graft/platform"
)

func main() {
	buildmodule.Init()
	ctx, stop := platform.SignalContext(context.Background())
	code := platform.RunDetector(ctx, platform.World{}, detect)
	stop()
	os.Exit(int(code))
}

func detect(ctx context.Context, in platform.DetectorInputs) error {
	detector := phase.Detector{
		Log:    in.Log,
		Order:  in.Order,
		Store:  buildmodule.Store{Buildpacks: in.Buildpacks, Extensions: in.Extensions},
		User:   platform.BuildUser{UID: in.UID, GID: in.GID},
		Layers: in.Layers,
		Modules: phase.ModuleInputs{
			App:         in.App,
			PlatformDir: in.Platform,
			Env:         platform.EnvSources{Environ: in.Environ, PlatformDir: in.Platform},
			ExecEnv:     in.ExecEnv,
		},
		Target:       in.Target,
		DryRun:       in.DryRun,
		Report:       in.Report,
		MatchTargets: in.API.Targets,
		Group:        in.Group,
		Plan:         in.Plan,
	}
	if in.API.BuildConfig {
		detector.Modules.Env.BuildConfigDir = in.BuildConfig
	}
	if in.API.SystemBuildpacks {
		detector.System = in.System
	}
	if in.API.Extensions {
		detector.Analyzed = in.Analyzed
		detector.Generated = in.Generated
		detector.ExtensionsAllowed = func() error { return in.API.AllowExtensions(in.Experimental, in.Log) }
		if !in.SkipGenerate {
			detector.Generate = &phase.Generation{
				Log:              in.Log,
				Layout:           in.API.Generated(),
				KeepSameRunImage: in.API.KeepSameRunImage,
				ExtendRun:        in.API.ExtendRun,
				Generated:        in.Generated,
				Plan:             in.Plan,
				Analyzed:         in.Analyzed,
			}
			if in.API.RunFile {
				detector.Generate.RunFile = in.Run
			}
		}
	}
	return detector.Run(ctx)
}
