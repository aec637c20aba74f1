package platform

import (
	"context"
	"errors"
)

// Code is the status a program exits with (platform.md, the tables "Exit Code"
// of each phase).
type Code int

// The exit codes of the three programs.
const (
	CodeOK Code = 0
	// CodeFailed is any failure that has no code of its own.
	CodeFailed Code = 1
	// CodeUsage is a flag or variable that cannot be understood.
	CodeUsage Code = 3
	// CodePlatformAPI is a Platform API version that is not supported.
	CodePlatformAPI Code = 11
	// CodeBuildpackAPI is a module whose Buildpack API is not supported.
	CodeBuildpackAPI Code = 12
	// CodeFailedDetect means that no group passed and no module errored.
	CodeFailedDetect Code = 20
	// CodeFailedDetectWithErrors means that no group passed and a module errored.
	CodeFailedDetectWithErrors Code = 21
	// CodeDetect is a failure of detection itself.
	CodeDetect Code = 22
	// CodeGenerate means that an extension's bin/generate failed.
	CodeGenerate Code = 91
	// CodeGenerated means that what an extension generated is not acceptable.
	CodeGenerated Code = 92
	// CodeExtend is any failure to extend an image.
	CodeExtend Code = 102
	// CodeEngine means that there is no BuildKit engine to extend with.
	CodeEngine Code = 103
	// CodeInterrupted and CodeTerminated are the shell's codes for a program
	// that SIGINT or SIGTERM ended.
	CodeInterrupted Code = 130
	CodeTerminated  Code = 143
)

var meanings = map[Code]string{
	CodeOK:                     "success",
	CodeFailed:                 "any other failure: a malformed order, group, plan, analyzed or run file, a missing module",
	CodeUsage:                  "a flag or variable that cannot be understood",
	CodePlatformAPI:            "the Platform API version is not supported",
	CodeBuildpackAPI:           "a module's Buildpack API version is not supported",
	CodeFailedDetect:           "no group passed detection, and no module errored",
	CodeFailedDetectWithErrors: "no group passed detection, and at least one module errored",
	CodeDetect:                 "detection itself failed",
	CodeGenerate:               "an extension's bin/generate failed",
	CodeGenerated:              "what an extension generated is not acceptable",
	CodeExtend:                 "the image could not be extended",
	CodeEngine:                 "no BuildKit engine can run here, or the given one cannot be reached",
	CodeInterrupted:            "interrupted (SIGINT)",
	CodeTerminated:             "terminated (SIGTERM)",
}

// coded is an error that knows the status its program exits with.
type coded struct {
	code Code
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// WithCode gives err the status that its program exits with. A code that err
// already has stays, since whoever was nearest to the failure knows it best.
func WithCode(code Code, err error) error {
	var has *coded
	if err == nil || errors.As(err, &has) {
		return err
	}
	return &coded{code: code, err: err}
}

// ExitCode is the one place that turns the outcome of a program into its
// status. A program that a signal ended answers with the signal's code,
// whatever error the cancellation caused on its way.
func ExitCode(ctx context.Context, err error) Code {
	if err == nil {
		return CodeOK
	}
	var signalled *SignalError
	if errors.As(context.Cause(ctx), &signalled) {
		return signalled.code()
	}
	var has *coded
	if errors.As(err, &has) {
		return has.code
	}
	return CodeFailed
}
