package chain

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/graft-cnb/graft/dockerfile"
)

// lineOf is the line that an error of BuildKit's parser or converter is about;
// 0 when it names none.
func lineOf(err error) int {
	var located *parser.LocationError
	if !errors.As(err, &located) || len(located.Locations) == 0 {
		return 0
	}
	return firstLine(located.Locations[0])
}

// explain says where in which Dockerfile a solve failed, and what the command
// had to say, as far as the engine tells.
func (r *run) explain(ctx context.Context, err error, out *record) error {
	if ctx.Err() != nil {
		return fmt.Errorf("apply Dockerfiles to base image %q: %w", r.app.Base, context.Cause(ctx))
	}
	if failed := out.pull.failure(err); failed != nil {
		return fmt.Errorf("pull base image %q into the engine: %w", r.app.Base, failed)
	}
	s, line := r.locateSolve(err)
	trigger := ""
	var vertex *errdefs.VertexError
	if errors.As(err, &vertex) && r.plan != nil {
		at, of := out.whose(r.plan.converted, digest.Digest(vertex.Digest))
		trigger = of
		if s == nil {
			s, line = at.step, at.n
		}
	}
	if s == nil {
		var known *dockerfile.Error
		if errors.As(err, &known) {
			return err
		}
		if failed := explainByProgress(err, out); failed != nil {
			return failed
		}
		return fmt.Errorf("apply Dockerfiles to base image %q: %w", r.app.Base, &engineError{cause(err), err})
	}
	var exit *gwpb.ExitError
	if !errors.As(err, &exit) {
		return s.problem(line, trigger+cause(err)+missingSecret(err), err)
	}
	problem := fmt.Sprintf("the command failed with exit code %d", exit.ExitCode)
	if exit.ExitCode == gwpb.UnknownExitStatus {
		problem = "the command could not be run: " + cause(err)
	}
	run := &dockerfile.RunError{Dockerfile: s.problem(line, trigger+problem, err), ExitCode: int(exit.ExitCode)}
	if vertex != nil {
		run.Output = out.tail(vertex.Digest)
	}
	return run
}

// exitCode is how an engine writes that of a command.
var exitCode = regexp.MustCompile(`exit code: (\d+)$`)

// explainByProgress is explain for an engine whose errors hold no more than text, such as
// that of an old Docker; nil if its progress does not tell either.
func explainByProgress(err error, out *record) error {
	at, vertex, text := out.failure()
	if at.step == nil {
		return nil
	}
	found := exitCode.FindStringSubmatch(text)
	if found == nil {
		return at.step.problem(at.n, text+missingSecret(err), err)
	}
	code, convErr := strconv.Atoi(found[1])
	if convErr != nil {
		return nil
	}
	return &dockerfile.RunError{
		Dockerfile: at.step.problem(at.n, fmt.Sprintf("the command failed with exit code %d", code), err),
		ExitCode:   code,
		Output:     out.tail(vertex.String()),
	}
}

// missingSecret says what to do about a secret or an agent that a RUN requires and
// that was not given; about anything else it says nothing.
func missingSecret(err error) string {
	switch msg := err.Error(); {
	case strings.Contains(msg, "secret ") && strings.Contains(msg, "not found"):
		return "; give it with -secret id=ID,src=FILE or -secret id=ID,env=VARIABLE"
	case strings.Contains(msg, "no SSH key "):
		return "; give it with -ssh default, -ssh ID=SOCKET or -ssh ID=KEYFILE"
	}
	return ""
}

// locateSolve finds the Dockerfile and the line that an engine's error is about.
func (r *run) locateSolve(err error) (*step, int) {
	for _, src := range errdefs.Sources(err) {
		if src.Info == nil {
			continue
		}
		for _, s := range r.steps {
			if s.label != src.Info.Filename {
				continue
			}
			line := 0
			if len(src.Ranges) > 0 {
				line = int(src.Ranges[0].Start.Line)
			}
			return s, line
		}
	}
	return nil, 0
}

// rpcError is what each connection that a message has passed puts before it.
var rpcError = regexp.MustCompile(`rpc error: code = \w+ desc = `)

// cause is an engine's message without what its layers put before it.
func cause(err error) string {
	msg := rpcError.ReplaceAllString(err.Error(), "")
	for _, prefix := range []string{"failed to run Build function: ", "failed to solve: "} {
		msg = strings.TrimPrefix(msg, prefix)
	}
	if strings.Contains(msg, http.ErrSchemeMismatch.Error()) && !strings.Contains(msg, "-insecure-registry") {
		msg += " (if the registry is meant to be without TLS, name it with -insecure-registry)"
	}
	return msg
}

// engineError is an engine's error in other words.
type engineError struct {
	text string
	err  error
}

func (e *engineError) Error() string { return e.text }

func (e *engineError) Unwrap() error { return e.err }
