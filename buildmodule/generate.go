package buildmodule

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/graft-cnb/graft/platform"
)

// Entry is a dependency that an extension is to provide, as its plan lists it
// (buildpack.md, "Buildpack Plan").
type Entry struct {
	Name     string         `toml:"name"`
	Metadata map[string]any `toml:"metadata,omitempty"`
}

// GenerateError is a bin/generate that failed.
type GenerateError struct {
	Extension string
	// ExitCode is that of bin/generate, or -1 if it did not get that far.
	ExitCode int
	Err      error
}

func (e *GenerateError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("extension %s: bin/generate: %v", e.Extension, e.Err)
	}
	return fmt.Sprintf("extension %s: bin/generate ended with exit status %d", e.Extension, e.ExitCode)
}

func (e *GenerateError) Unwrap() error { return e.Err }

// Generate lets an extension generate its Dockerfiles for the entries of its
// plan, and returns the directory with its output: the given one, which must
// exist, be empty and lie outside of the app, or for an extension without
// bin/generate its own generate/ directory (image_extension.md, "Generation").
// What is in there is unchecked. The app is read-only to bin/generate, by the best
// means that there are here; in.Debug is told which. A bin/generate that fails is
// a *GenerateError. What it prints to stdout and stderr goes to in.Output and
// errOutput.
func (m *Module) Generate(ctx context.Context, in Inputs, errOutput io.Writer, entries []Entry, output string) (string, error) {
	if !m.has("bin/generate") {
		return filepath.Join(m.Dir, "generate"), nil
	}
	fail := func(code int, err error) (string, error) {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", &GenerateError{Extension: m.String(), ExitCode: code, Err: explainStart(err)}
	}
	if err := outside(in.App, output); err != nil {
		return fail(-1, err)
	}
	dir, err := os.MkdirTemp("", "graft-generate-")
	if err != nil {
		return fail(-1, err)
	}
	defer os.RemoveAll(dir)
	plan := filepath.Join(dir, "plan.toml")
	err = platform.WriteTOML("plan", plan, struct {
		Entries []Entry `toml:"entries"`
	}{entries})
	if err != nil {
		return fail(-1, err)
	}
	vars := m.env(in)
	vars["CNB_OUTPUT_DIR"] = output
	vars["CNB_PLATFORM_DIR"] = in.PlatformDir
	vars["CNB_BP_PLAN_PATH"] = plan
	code, err := confined{
		process: process{
			path:  filepath.Join(m.Dir, "bin", "generate"),
			args:  []string{output, in.PlatformDir, plan},
			dir:   in.App,
			env:   platform.EnvList(vars),
			out:   in.Output,
			err:   errOutput,
			alone: true,
		},
		app:      in.App,
		readOnly: in.ReadOnlyApp,
		writable: []string{output, os.TempDir(), "/tmp", "/var/tmp", vars["HOME"]},
		say:      in.say,
	}.run(ctx)
	if err != nil || code != 0 {
		return fail(code, err)
	}
	return output, nil
}

// outside makes sure that the output does not lie in the app, where it could not
// be written.
func outside(app, output string) error {
	realApp, err := filepath.EvalSymlinks(app)
	if err != nil {
		return fmt.Errorf("finding the app: %w", err)
	}
	realOutput, err := filepath.EvalSymlinks(output)
	if err != nil {
		return fmt.Errorf("finding the output directory: %w", err)
	}
	if contains(realApp, realOutput) {
		return fmt.Errorf("its output directory %s lies in the app, which is read-only: let TMPDIR name a directory outside of %s", output, app)
	}
	return nil
}
