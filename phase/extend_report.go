package phase

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/platform"
)

// ExtendReport is what came of an extension, for programs. It is an interface: fields
// are only added. Its JSON is described in docs/extender-report.md.
type ExtendReport struct {
	// Result is "success" or "failure".
	Result string `json:"result"`
	// ExitCode is that of the program.
	ExitCode platform.Code `json:"exitCode"`
	// Error is why it failed.
	Error *ReportError `json:"error,omitempty"`
	// Engine is what made the layers, if any was needed.
	Engine *ReportEngine `json:"engine,omitempty"`
	Images []ReportImage `json:"images"`
	// Warnings are all that there were, in order.
	Warnings []ReportWarning `json:"warnings"`
}

// ReportError is a failure.
type ReportError struct {
	// Message is what the program says of it.
	Message string `json:"message"`
	// Extension, File and Line are where it happened, if that is known.
	Extension string `json:"extension,omitempty"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	// Command is how the command of a RUN ended, if that was it.
	Command *ReportCommand `json:"command,omitempty"`
}

// ReportCommand is a command that failed.
type ReportCommand struct {
	ExitCode int `json:"exitCode"`
	// Output is the end of what it printed.
	Output string `json:"output"`
}

// ReportEngine is an engine.
type ReportEngine struct {
	Description string `json:"description"`
	// Isolation says what keeps a RUN apart from the machine.
	Isolation string `json:"isolation"`
}

// ReportImage is an image that was to be extended.
type ReportImage struct {
	Kind dockerfile.Kind `json:"kind"`
	// Result is "success", "failure" if the error is about this image, or "incomplete".
	Result string     `json:"result"`
	Base   ReportBase `json:"base"`
	// Dockerfiles are those that were applied, in order.
	Dockerfiles []ReportDockerfile `json:"dockerfiles"`
	// Manifest is the digest of the extended image's manifest.
	Manifest    string `json:"manifest,omitempty"`
	AddedLayers int    `json:"addedLayers"`
	// AddedBytes is the size of the added layers as they are stored.
	AddedBytes int64 `json:"addedBytes"`
	// Extended is the directory that holds the extended image.
	Extended string `json:"extended,omitempty"`
	// Outputs are the destinations that -output names.
	Outputs []string `json:"outputs"`
}

// ReportBase is an image that was extended.
type ReportBase struct {
	// Reference is the base as it was given.
	Reference string `json:"reference"`
	// Name is a reference with the digest that it was resolved to.
	Name     string `json:"name,omitempty"`
	Digest   string `json:"digest,omitempty"`
	Platform string `json:"platform,omitempty"`
}

// ReportDockerfile is what became of a Dockerfile.
type ReportDockerfile struct {
	Extension string `json:"extension"`
	Path      string `json:"path"`
	// Context is the directory that ADD and COPY read.
	Context string       `json:"context"`
	Args    []ReportArg  `json:"args"`
	Steps   []ReportStep `json:"steps"`
}

// ReportArg is a build argument.
type ReportArg struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ReportStep is what became of an instruction.
type ReportStep struct {
	Line        int    `json:"line"`
	Instruction string `json:"instruction"`
	// Triggered tells that the image before asks for it (ONBUILD).
	Triggered bool               `json:"triggered,omitempty"`
	Result    dockerfile.Outcome `json:"result"`
	// Seconds is how long it took, if it was carried out.
	Seconds float64      `json:"seconds,omitempty"`
	Layer   *ReportLayer `json:"layer,omitempty"`
}

// ReportLayer is an added layer.
type ReportLayer struct {
	Digest string `json:"digest"`
	DiffID string `json:"diffID"`
	// Size is that of the layer as it is stored, in bytes.
	Size int64 `json:"size"`
}

// ReportWarning is a warning; the linter's have a place.
type ReportWarning struct {
	Message   string `json:"message"`
	Extension string `json:"extension,omitempty"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	// Rule is BuildKit's name of the rule that is broken.
	Rule string `json:"rule,omitempty"`
}

// Warnings passes warnings on to a log and keeps them for a report. It may be used from
// several goroutines.
type Warnings struct {
	Log *platform.Log

	mu  sync.Mutex
	all []ReportWarning
}

// Warnf takes a warning.
func (w *Warnings) Warnf(format string, args ...any) {
	w.Log.Warnf(format, args...)
	w.keep(ReportWarning{Message: fmt.Sprintf(format, args...)})
}

// Find takes a finding of BuildKit's linter.
func (w *Warnings) Find(f dockerfile.Finding) {
	w.Log.Warnf("extension %s: %s:%d: %s (%s)", f.Extension, f.File, f.Line, f.Message, f.Rule)
	w.keep(ReportWarning{Message: f.Message, Extension: f.Extension, File: f.File, Line: f.Line, Rule: f.Rule})
}

func (w *Warnings) keep(one ReportWarning) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, one)
}

// report writes what came of a run where it was asked for. A failure to write is the
// run's failure, unless that has one already.
func (e Extender) report(ctx context.Context, err error, apps []dockerfile.Application, applied []dockerfile.Applied) error {
	if e.Report == "" {
		return err
	}
	writeErr := writeJSON("report", e.Report, e.newReport(ctx, err, apps, applied))
	switch {
	case writeErr == nil:
		return err
	case err == nil:
		return platform.WithCode(platform.CodeFailed, writeErr)
	}
	e.Log.Errorf("%v", writeErr)
	return err
}

func (e Extender) newReport(ctx context.Context, err error, apps []dockerfile.Application, applied []dockerfile.Applied) ExtendReport {
	report := ExtendReport{Result: "success", ExitCode: platform.ExitCode(ctx, err), Images: []ReportImage{}, Warnings: []ReportWarning{}}
	if err != nil {
		report.Result, report.Error = "failure", e.reportError(err)
	}
	for n, app := range apps {
		if n >= len(applied) {
			break
		}
		image := e.reportImage(app, applied[n])
		switch {
		case err == nil:
			image.Result = "success"
			image.Extended = filepath.Join(app.Extended, applied[n].Manifest)
		case applied[n].Failed:
			image.Result = "failure"
		default:
			image.Result = "incomplete"
		}
		report.Images = append(report.Images, image)
		if about := applied[n].Engine; about != (dockerfile.AppliedEngine{}) {
			report.Engine = &ReportEngine{about.Description, about.Isolation}
		}
	}
	if e.Warnings != nil {
		e.Warnings.mu.Lock()
		defer e.Warnings.mu.Unlock()
		for _, w := range e.Warnings.all {
			w.Message = e.redact(w.Message)
			report.Warnings = append(report.Warnings, w)
		}
	}
	return report
}

func (e Extender) reportError(err error) *ReportError {
	out := &ReportError{Message: e.redact(err.Error())}
	var located *dockerfile.Error
	if errors.As(err, &located) {
		out.Extension, out.File, out.Line = located.Extension, located.Path, located.Line
	}
	var run *dockerfile.RunError
	if errors.As(err, &run) {
		out.Command = &ReportCommand{run.ExitCode, e.redact(run.Output)}
	}
	return out
}

func (e Extender) reportImage(app dockerfile.Application, applied dockerfile.Applied) ReportImage {
	image := ReportImage{
		Kind: app.Kind,
		Base: ReportBase{
			Reference: app.Base, Name: applied.Base.Name, Digest: applied.Base.Digest, Platform: applied.Base.Platform,
		},
		Dockerfiles: []ReportDockerfile{},
		Manifest:    applied.Manifest,
		AddedLayers: applied.Layers,
		AddedBytes:  applied.Bytes,
		Outputs:     append([]string{}, app.Outputs...),
	}
	for n, step := range app.Steps {
		one := ReportDockerfile{
			Extension: step.Extension, Path: step.Path, Context: step.Context,
			Args: []ReportArg{}, Steps: []ReportStep{},
		}
		if n < len(applied.Steps) {
			for _, arg := range applied.Steps[n].Args {
				one.Args = append(one.Args, ReportArg{arg.Name, e.redact(arg.Value)})
			}
			for _, in := range applied.Steps[n].Instructions {
				one.Steps = append(one.Steps, e.reportStep(in))
			}
		}
		image.Dockerfiles = append(image.Dockerfiles, one)
	}
	return image
}

func (e Extender) reportStep(in dockerfile.AppliedInstruction) ReportStep {
	step := ReportStep{
		Line: in.Line, Instruction: e.redact(in.Text), Triggered: in.Triggered, Result: in.Outcome, Seconds: in.Seconds,
	}
	if in.Layer != nil {
		step.Layer = &ReportLayer{in.Layer.Digest, in.Layer.DiffID, in.Layer.Bytes}
	}
	return step
}

// redact takes secrets out of a text.
func (e Extender) redact(text string) string {
	if e.Redact == nil {
		return text
	}
	return e.Redact(text)
}
