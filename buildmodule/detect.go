package buildmodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/platform"
)

// Status is how a module answered the question whether it takes part.
type Status int

// The answers.
const (
	// Passed: exit status 0.
	Passed Status = iota
	// Failed: exit status 100, the module is not for this app.
	Failed
	// Errored: any other exit status, a program that cannot be run, or a build
	// plan that is not acceptable.
	Errored
)

// String is the answer as people read it.
func (s Status) String() string { return [...]string{"pass", "fail", "error"}[s] }

// Inputs are what every module of a phase gets (buildpack.md, "Detection";
// image_extension.md, "Generation").
type Inputs struct {
	App         string
	PlatformDir string
	Env         platform.ModuleEnv
	Target      platform.Target
	// ExecEnv is the execution environment; empty where the Platform API has
	// none.
	ExecEnv string
	// ReadOnlyApp is where bin/generate runs, if somebody who was root has made that.
	ReadOnlyApp *ReadOnlyApp
	// Debug is told how things are done, a line each; nil for nobody.
	Debug func(format string, args ...any)
	// Output receives what the module prints, while it runs; nil throws it away.
	Output io.Writer
}

func (in Inputs) say(format string, args ...any) {
	if in.Debug != nil {
		in.Debug(format, args...)
	}
}

// Detection is what running a module's bin/detect gave.
type Detection struct {
	Status Status
	// ExitCode is that of bin/detect, or -1 if it did not get that far.
	ExitCode int
	// Err says why the status is Errored, if the exit code alone does not.
	Err error
	// Plan is the module's build plan if it passed.
	Plan BuildPlan
	// Output is the end of what bin/detect printed, both streams together.
	Output   []byte
	Duration time.Duration
}

// keptOutput is how many bytes of a module's output are kept for messages.
const keptOutput = 64 << 10

// Detect asks the module whether it takes part (buildpack.md, "Phase #1:
// Detection"). An extension without bin/detect passes, with detect/plan.toml as
// its plan. It is an error if the context ends or if there is no place for the
// plan; all else is the module's answer.
func (m *Module) Detect(ctx context.Context, in Inputs) (Detection, error) {
	if m.Kind == Extension && !m.has("bin/detect") {
		return m.passedWith(filepath.Join(m.Dir, "detect", "plan.toml")), nil
	}
	start := time.Now()
	d, err := m.runDetect(ctx, in)
	d.Duration = time.Since(start)
	if ctx.Err() != nil {
		return d, context.Cause(ctx)
	}
	return d, err
}

func (m *Module) passedWith(plan string) Detection {
	p, err := readPlan(m.Kind, plan)
	if err != nil {
		return Detection{Status: Errored, ExitCode: 0, Err: err}
	}
	return Detection{Status: Passed, Plan: p}
}

func (m *Module) runDetect(ctx context.Context, in Inputs) (Detection, error) {
	plan, err := newPlanFile()
	if err != nil {
		return Detection{}, fmt.Errorf("making a file for a build plan: %w", err)
	}
	defer removePlanFile(plan)
	vars := m.env(in)
	if m.API.PathVariables {
		vars["CNB_PLATFORM_DIR"] = in.PlatformDir
		vars["CNB_BUILD_PLAN_PATH"] = plan
	}
	kept := &tail{limit: keptOutput}
	out := kept.with(in.Output)
	code, err := process{
		path: filepath.Join(m.Dir, "bin", "detect"),
		args: []string{in.PlatformDir, plan},
		dir:  in.App,
		env:  platform.EnvList(vars),
		out:  out,
		err:  out,
	}.run(ctx)
	d := Detection{Status: Errored, ExitCode: code, Err: explainStart(err)}
	switch {
	case err != nil:
	case code == 0:
		d = m.passedWith(plan)
	case code == 100:
		d.Status = Failed
	}
	d.Output = kept.bytes()
	return d, nil
}

// newPlanFile makes an empty file for a build plan, in a directory of its own:
// what a module leaves beside it goes with it.
func newPlanFile() (string, error) {
	dir, err := os.MkdirTemp(planDir(), "graft-detect-")
	if err != nil {
		return "", err
	}
	plan := filepath.Join(dir, "plan.toml")
	return plan, os.WriteFile(plan, nil, 0o644)
}

// removePlanFile removes a build plan with its directory. Looking for what else
// there is takes longer than removing what must be, so that comes second.
func removePlanFile(plan string) {
	if os.Remove(plan) != nil || os.Remove(filepath.Dir(plan)) != nil {
		os.RemoveAll(filepath.Dir(plan))
	}
}

// planDir is where build plans are written: in memory if that is possible and
// nobody has asked for another place. There are many of these files, they are
// tiny, and they live for milliseconds, which is what disks are slowest at.
var planDir = sync.OnceValue(func() string {
	const memory = "/dev/shm"
	var fs unix.Statfs_t
	if os.Getenv("TMPDIR") != "" || unix.Statfs(memory, &fs) != nil || fs.Type != unix.TMPFS_MAGIC || unix.Access(memory, unix.W_OK|unix.X_OK) != nil {
		return os.TempDir()
	}
	return memory
})

// with also writes to w, if there is one.
func (t *tail) with(w io.Writer) io.Writer {
	if w == nil {
		return t
	}
	return io.MultiWriter(t, w)
}

// env is the environment of the module's programs: what the platform defines,
// and what the module's Buildpack API adds.
func (m *Module) env(in Inputs) map[string]string {
	vars := in.Env.For(m.ClearEnv)
	if m.Kind == Extension {
		vars["CNB_EXTENSION_DIR"] = m.Dir
	} else {
		vars["CNB_BUILDPACK_DIR"] = m.Dir
	}
	if m.API.TargetVariables {
		maps.Copy(vars, in.Target.Variables())
	}
	if m.API.ExecEnv && in.ExecEnv != "" {
		vars["CNB_EXEC_ENV"] = in.ExecEnv
	}
	return vars
}

// explainStart adds what to try to the errors of programs that cannot be run.
func explainStart(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w (is the file executable, and may the build user reach it?)", err)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w (is the file there, and the interpreter in its first line?)", err)
	}
	return err
}
