package phase

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/platform"
)

// osRelease tells the distribution of the image that the program runs in.
const osRelease = "/etc/os-release"

// ModuleInputs is what modules get from every phase that runs them.
type ModuleInputs struct {
	App         string
	PlatformDir string
	Env         platform.EnvSources
	// ExecEnv is the execution environment; empty where the Platform API has
	// none.
	ExecEnv string

	env    platform.ModuleEnv
	target platform.Target
	// readOnly is where bin/generate runs; nil if that could not be made.
	readOnly *buildmodule.ReadOnlyApp
}

func (in ModuleInputs) forModule() buildmodule.Inputs {
	return buildmodule.Inputs{
		App: in.App, PlatformDir: in.PlatformDir, Env: in.env, Target: in.target, ExecEnv: in.ExecEnv,
		ReadOnlyApp: in.readOnly,
	}
}

// protectApp makes a place in which the app is read-only, for bin/generate. Only root
// can, so it comes before the process becomes the build user; where it cannot be made
// there are other ways. Whoever calls it closes it.
func (in *ModuleInputs) protectApp(log *platform.Log) {
	var err error
	if in.readOnly, err = buildmodule.NewReadOnlyApp(in.App); err != nil {
		log.Debugf("%s cannot be made for the app: %v", buildmodule.ByBind, err)
	}
}

// prepare makes the process run as the build user, before anything is read that
// a module wrote, and looks at what every module needs.
func (in *ModuleInputs) prepare(user platform.BuildUser, owned ...string) error {
	account, err := user.Become(owned...)
	if err != nil {
		return err
	}
	if info, err := os.Stat(in.App); err != nil {
		return platform.WithCode(platform.CodeFailed, fmt.Errorf("application directory: %w", err))
	} else if !info.IsDir() {
		return platform.WithCode(platform.CodeFailed, fmt.Errorf("application directory: %s is not a directory", in.App))
	}
	in.env, err = in.Env.Read(account)
	return err
}

// targetOf is what the build is for, by an analyzed file. What the file leaves open is
// known from where the program runs (buildpack.md, "Targets").
func targetOf(analyzed platform.Analyzed) platform.Target {
	return analyzed.Target().OnThisMachine().WithDistroFrom(osRelease)
}

// readTarget finds out in analyzed.toml what the build is for, and returns what
// the file said before any generation. One that is not there is a warning.
func (in *ModuleInputs) readTarget(log *platform.Log, file rewritten) ([]byte, error) {
	_, statErr := os.Stat(file.path)
	data, _, err := file.readBefore()
	if err != nil {
		return nil, err
	}
	analyzed, err := platform.ParseAnalyzed(file.path, data)
	if err != nil {
		return nil, err
	}
	in.target = targetOf(analyzed)
	if errors.Is(statErr, fs.ErrNotExist) {
		log.Warnf("there is no analyzed file %s: the build is taken to be for %s, like this machine",
			file.path, buildmodule.DescribeTarget(in.target))
	}
	return data, nil
}
