// Command generator runs the image extensions of a detected group and collects
// the Dockerfiles that they generate (image_extension.md, "Phase: Generation").
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
	code := platform.RunGenerator(ctx, platform.World{}, generate)
	stop()
	os.Exit(int(code))
}

func generate(ctx context.Context, in platform.GeneratorInputs) error {
	if in.Check {
		return check(ctx, in)
	}
	env := platform.EnvSources{Environ: in.Environ, PlatformDir: in.Platform}
	if in.API.BuildConfig {
		env.BuildConfigDir = in.BuildConfig
	}
	return phase.Generator{
		Log:               in.Log,
		Store:             buildmodule.Store{Extensions: in.Extensions},
		Group:             in.Group,
		ExtensionsAllowed: func() error { return in.API.AllowExtensions(in.Experimental, in.Log) },
		User:              platform.BuildUser{UID: in.UID, GID: in.GID},
		Layers:            in.Layers,
		Generation: phase.Generation{
			Log: in.Log,
			Modules: phase.ModuleInputs{
				App:         in.App,
				PlatformDir: in.Platform,
				Env:         env,
				ExecEnv:     in.ExecEnv,
			},
			Layout:           in.API.Generated(),
			KeepSameRunImage: in.API.KeepSameRunImage,
			ExtendRun:        in.API.ExtendRun,
			Generated:        in.Generated,
			Plan:             in.Plan,
			Analyzed:         in.Analyzed,
			RunFile:          in.Run,
		},
	}.Run(ctx)
}

// check judges what was generated.
func check(ctx context.Context, in platform.GeneratorInputs) error {
	return phase.Checker{
		Log:       in.Log,
		Layout:    in.API.Generated(),
		Generated: in.Generated,
		Group:     in.Group,
		Dir:       in.CheckDir,
		Analyzed:  in.Analyzed,
		Report:    in.Report,
	}.Run(ctx)
}
