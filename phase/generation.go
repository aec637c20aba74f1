package phase

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/platform"
)

// Generation runs the extensions of a group and collects what they generate
// (image_extension.md, "Phase: Generation"). The detector and the generator
// share it, so that both give the same files.
type Generation struct {
	Log     *platform.Log
	Modules ModuleInputs
	Layout  platform.GeneratedLayout
	// KeepSameRunImage leaves the run image's reference and target as they are
	// when an extension names the run image already in use.
	KeepSameRunImage bool
	// ExtendRun tells whether the platform can extend run images at all.
	ExtendRun bool
	// Generated is the directory to write.
	Generated string
	// Plan and Analyzed are the files to rewrite.
	Plan, Analyzed string
	// Layers is the directory that the phases share, for what these files said before
	// where it cannot be kept beside them.
	Layers string
	// RunFile is run.toml; empty where the Platform API has none.
	RunFile string
}

func (g Generation) plan() rewritten     { return rewritten{"plan", g.Plan, g.Layers} }
func (g Generation) analyzed() rewritten { return rewritten{"analyzed", g.Analyzed, g.Layers} }

// run runs the extensions in order for the given plan and analyzed files, and
// returns the changes to make; nothing is changed before they are committed. They
// must be discarded, also after an error.
func (g Generation) run(ctx context.Context, extensions []*buildmodule.Module, planData, analyzedData []byte) ([]platform.Staged, error) {
	if err := distinct(extensions); err != nil {
		return nil, err
	}
	plan, err := platform.ParsePlan(g.Plan, planData)
	if err != nil {
		return nil, platform.WithCode(platform.CodeFailed, err)
	}
	analyzed, err := platform.ParseAnalyzed(g.Analyzed, analyzedData)
	if err != nil {
		return nil, platform.WithCode(platform.CodeFailed, err)
	}
	work, err := os.MkdirTemp("", "graft-output-")
	if err != nil {
		return nil, platform.WithCode(platform.CodeGenerated, fmt.Errorf("preparing the extensions' output: %w", err))
	}
	defer removeAll(work)
	var outputs []*output
	for i, extension := range extensions {
		dir := filepath.Join(work, strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, platform.WithCode(platform.CodeGenerated, err)
		}
		out, err := g.generate(ctx, extension, plan, dir)
		if err != nil {
			return nil, err
		}
		if out != nil {
			defer out.root.Close()
			outputs = append(outputs, out)
		}
	}
	if err := g.chooseRunImage(outputs, &analyzed); err != nil {
		return nil, err
	}
	analyzed.SetBuildExtend(anyOf(outputs, func(o *output) bool { return o.build != nil }))
	changes, err := g.stage(outputs, planData, analyzedData, analyzed)
	return changes, platform.WithCode(platform.CodeFailed, err)
}

// distinct finds extensions whose ids are the same once they are file names.
func distinct(extensions []*buildmodule.Module) error {
	names := map[string]*buildmodule.Module{}
	for _, extension := range extensions {
		name := buildmodule.EscapeID(extension.ID)
		if other, taken := names[name]; taken {
			return platform.WithCode(platform.CodeGenerated, fmt.Errorf(
				"extensions %s and %s cannot take part together: both generate into %s", other, extension, name))
		}
		names[name] = extension
	}
	return nil
}

// stage prepares all that is to be written.
func (g Generation) stage(outputs []*output, planBefore, analyzedBefore []byte, analyzed platform.Analyzed) (changes []platform.Staged, err error) {
	analyzedAfter, err := analyzed.Bytes()
	if err != nil {
		return nil, err
	}
	planAfter, err := platform.WithoutExtensions(planBefore)
	if err != nil {
		return nil, err
	}
	dir, err := platform.StageDir(g.Generated)
	if err != nil {
		return nil, err
	}
	changes = []platform.Staged{dir}
	for _, out := range outputs {
		if err := g.stageOutput(dir.Path, out); err != nil {
			return changes, platform.WithCode(platform.CodeGenerated, err)
		}
	}
	planFiles, err := g.plan().stage(g.Log, planBefore, planAfter)
	if err != nil {
		return changes, err
	}
	changes = append(changes, planFiles...)
	analyzedFiles, err := g.analyzed().stage(g.Log, analyzedBefore, analyzedAfter)
	return append(changes, analyzedFiles...), err
}

// generate runs one extension and checks its output. It returns nil for an
// extension that generates nothing for which there is a place.
func (g Generation) generate(ctx context.Context, extension *buildmodule.Module, plan platform.Plan, dir string) (*output, error) {
	stdout := g.Log.Lines(platform.LevelInfo, extension.ID)
	defer stdout.Close()
	stderr := g.Log.Lines(platform.LevelWarn, extension.ID)
	defer stderr.Close()
	in := g.Modules.forModule()
	in.Output = stdout
	in.Debug = func(format string, args ...any) {
		g.Log.Debugf("extension %s: %s", extension.ID, fmt.Sprintf(format, args...))
	}
	given := dir
	dir, err := extension.Generate(ctx, in, stderr, entriesFor(extension, plan), given)
	if err != nil {
		return nil, platform.WithCode(platform.CodeGenerate, err)
	}
	if info, err := os.Lstat(given); err != nil || !info.IsDir() {
		return nil, platform.WithCode(platform.CodeGenerated, explainOutput(extension.ID, "output directory", errors.New(
			"bin/generate has put something else in its place")))
	}
	out, err := g.readOutput(extension, dir, dir == given)
	if err != nil {
		return nil, platform.WithCode(platform.CodeGenerated, err)
	}
	return out, nil
}

// entriesFor is the plan of one extension: what is required of every name that
// it provides.
func entriesFor(extension *buildmodule.Module, plan platform.Plan) []buildmodule.Entry {
	entries := []buildmodule.Entry{}
	for _, entry := range plan.Entries {
		if !providedBy(entry, func(p platform.Provider) bool { return p.ID == extension.ID }) {
			continue
		}
		for _, r := range entry.Requires {
			entries = append(entries, buildmodule.Entry{Name: r.Name, Metadata: r.Metadata})
		}
	}
	return entries
}

func providedBy(entry platform.PlanEntry, is func(platform.Provider) bool) bool {
	for _, p := range entry.Providers {
		if p.Extension && is(p) {
			return true
		}
	}
	return false
}

// chooseRunImage finds the last run.Dockerfile that names an image other than
// the base: it decides, and those before it no longer count (platform.md,
// "detector", on selecting the run image).
func (g Generation) chooseRunImage(outputs []*output, analyzed *platform.Analyzed) error {
	last := -1
	for i, out := range outputs {
		if out.run != nil && !out.run.Base {
			last = i
		}
	}
	extend := false
	for i, out := range outputs {
		if out.run == nil {
			continue
		}
		if i < last {
			out.ignored = true
			continue
		}
		extend = extend || out.run.Instructions > 0
	}
	if extend && !g.ExtendRun {
		g.Log.Warnf("run.Dockerfiles have instructions, but this Platform API can only switch the run image, not extend it")
	}
	known, found, err := platform.ReadRunFile(g.RunFile)
	if err != nil {
		return platform.WithCode(platform.CodeFailed, err)
	}
	if !found && g.RunFile != "" {
		g.Log.Warnf("there is no run file %s, so nobody can tell whether a run image that an extension chooses is known", g.RunFile)
	}
	if last >= 0 {
		g.switchRunImage(outputs[last].run.Image, known, analyzed)
	}
	analyzed.SetRunExtend(extend)
	return nil
}

func (g Generation) switchRunImage(image string, known platform.RunFile, analyzed *platform.Analyzed) {
	listed := false
	for _, i := range known.Images {
		for _, candidate := range append(i.Mirrors, i.Image) {
			listed = listed || sameImage(candidate, image)
		}
	}
	if !listed && g.RunFile != "" {
		g.Log.Warnf("run image %s, chosen by an extension, is not listed in the run file %s", image, g.RunFile)
	}
	if g.KeepSameRunImage && sameImage(analyzed.RunImage(), image) {
		return
	}
	analyzed.SwitchRunImage(image)
}

// sameImage compares names by what they stand for, so that the default registry
// and tag make no difference.
func sameImage(a, b string) bool {
	if a == b {
		return true
	}
	refA, errA := name.ParseReference(a, name.WeakValidation)
	refB, errB := name.ParseReference(b, name.WeakValidation)
	return errA == nil && errB == nil && refA.Name() == refB.Name()
}

func anyOf(outputs []*output, is func(*output) bool) bool {
	for _, out := range outputs {
		if is(out) {
			return true
		}
	}
	return false
}

// explainOutput turns what went wrong with a file of an extension's output into
// an error that names both.
func explainOutput(extension, path string, err error) error {
	var known *dockerfile.Error
	if errors.As(err, &known) {
		return err
	}
	return &dockerfile.Error{Extension: extension, Path: path, Problem: err.Error(), Err: err}
}
