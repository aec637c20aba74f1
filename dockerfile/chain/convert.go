package chain

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerui"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/base"
)

// rebasableLabel says whether another run image can take the place of the one
// that was extended.
const rebasableLabel = "io.buildpacks.rebasable"

// inputBase and inputContext name the states that a Dockerfile is given.
const (
	inputBase    = "base"
	inputContext = dockerui.DefaultLocalNameContext
)

// plan is the outcome of a conversion: the graph, and everything about the
// extended image that does not depend on what a command does.
type plan struct {
	state llb.State
	image dockerspec.DockerOCIImage
	// layers are the instructions that add a layer, in order.
	layers []layer
	// converted are the Dockerfiles, in order.
	converted []converted
	// contexts are the local directories in use, by the name they have in the
	// graph; stores the images that go through the session.
	contexts map[string]string
	stores   map[string]*base.Image
	// userStep is the last Dockerfile with a USER, if any.
	userStep *step
	userLine int
	// userTrigger begins what is said of it if the image before triggers it.
	userTrigger string
	// runStep is the first Dockerfile with a RUN, if any.
	runStep *step
	runLine int
	// rebasable: every Dockerfile says so itself.
	rebasable bool
	// provisional: a number of a user or group is not known yet.
	provisional bool
	// placeholders are numbers that stand for unknown ones in a provisional plan.
	placeholders []string
	// checksUser: it is a run image, and must not end as root.
	checksUser bool
}

// layer is an instruction that adds a layer.
type layer struct {
	step        *step
	instruction string
}

// converted is what one Dockerfile came to.
type converted struct {
	step *step
	// given are all args that it was given. unknown says what those are that are not
	// known yet, and have a placeholder there; args are the others that the outcome
	// depends on.
	given, unknown map[string]string
	args           []dockerfile.Arg
	// triggers are the commands that the image before asks for.
	triggers     []instructions.Command
	instructions []instruction
}

// instruction is one instruction of a Dockerfile, or of the image that it extends.
type instruction struct {
	text string
	line int
	// own: it is not one that the image triggers.
	own bool
	// layer is the number of its layer in the plan; none if it is negative.
	layer int
}

// trigger begins what is said of an instruction that the image triggers: what it is, since
// the line is that of FROM.
func (i instruction) trigger() string { return fmt.Sprintf("ONBUILD %s of the image before: ", i.text) }

// needsEngine tells whether there is something to solve.
func (p *plan) needsEngine() bool { return len(p.layers) > 0 || p.provisional || p.namedUser() }

// convert turns the Dockerfiles into one graph, each on the state and the
// configuration of the one before.
func (r *run) convert(ctx context.Context, env environment) (*plan, error) {
	p := &plan{
		contexts:   map[string]string{},
		stores:     map[string]*base.Image{},
		rebasable:  true,
		checksUser: r.checksUser(),
	}
	if err := json.Unmarshal(r.base.RawConfig, &p.image); err != nil {
		return nil, fmt.Errorf("parse configuration of base image %q: %w", r.app.Base, err)
	}
	p.state = p.source(r.base, env, r.who("base"))
	for _, s := range r.steps {
		if err := r.convertStep(ctx, env, p, s); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// convertStep appends one Dockerfile to the plan.
func (r *run) convertStep(ctx context.Context, env environment, p *plan, s *step) error {
	commands, err := s.all(p.image.Config.OnBuild)
	if err != nil {
		return err
	}
	if err := s.refuse(commands); err != nil {
		return err
	}
	triggers := p.forgetRebasable(r.app.Kind)
	args, err := r.args(ctx, env, p, s, commands)
	if err != nil {
		return err
	}
	opts, inputs, err := r.inputs(ctx, env, p, s, commands, args)
	if err != nil {
		return err
	}
	ui, err := dockerui.NewClient(&stepClient{Client: env.gateway, env: env, opts: opts, inputs: inputs})
	if err != nil {
		return fmt.Errorf("prepare %s of extension %s: %w", s.Path, s.Extension, err)
	}
	linter, err := s.linter(ui, env.warn)
	if err != nil {
		return err
	}
	platform := r.base.Platform()
	before := len(p.image.History)
	res, err := dockerfile2llb.Dockerfile2LLB(ctx, s.Content, dockerfile2llb.ConvertOpt{
		Config:         ui.Config,
		Client:         ui,
		SourceMap:      llb.NewSourceMap(nil, s.label, "Dockerfile", s.Content),
		TargetPlatform: &platform,
		MetaResolver:   &resolver{run: r},
		LLBCaps:        &env.caps,
		Warn:           linter.warn,
	})
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("convert %s of extension %s: %w", s.Path, s.Extension, err)
		}
		return s.blame(commands, err)
	}
	if linter.failed != nil {
		return linter.failed
	}
	if res.BaseImage == nil || !reflect.DeepEqual(res.BaseImage.RootFS, p.image.RootFS) {
		return s.problem(s.fromLine, "FROM does not lead to the base image; write FROM ${base_image}", nil)
	}
	p.record(s, args, commands, withoutReset(res.Image.History[before:], triggers))
	p.image = *res.Image
	p.state = fresh(res.State)
	p.rebasable = p.rebasable && p.image.Config.Labels[rebasableLabel] == "true"
	return nil
}

// resetRebasable is what the image so far triggers last in a run.Dockerfile.
const resetRebasable = "LABEL " + rebasableLabel + "="

// forgetRebasable sees to it that what the image so far says does not count for what a
// run.Dockerfile says itself: neither its label nor what it triggers. It tells how many
// triggers come before the one that it adds; negative if it adds none.
func (p *plan) forgetRebasable(kind dockerfile.Kind) int {
	if kind != dockerfile.KindRun {
		return -1
	}
	delete(p.image.Config.Labels, rebasableLabel)
	n := len(p.image.Config.OnBuild)
	if n == 0 {
		return -1
	}
	p.image.Config.OnBuild = append(slices.Clip(p.image.Config.OnBuild), resetRebasable)
	return n
}

// withoutReset is a history without what came of resetRebasable.
func withoutReset(entries []history, at int) []history {
	if at < 0 || at >= len(entries) {
		return entries
	}
	return slices.Delete(slices.Clone(entries), at, at+1)
}

// fresh keeps what a state built and forgets its environment: an ARG of one
// Dockerfile must not be seen by the next. What lasts is in the configuration.
func fresh(st llb.State) llb.State {
	out := st.Output()
	if out == nil {
		return llb.Scratch()
	}
	return llb.NewState(out)
}

// inputs are the options and states for one Dockerfile: its args, the image so
// far under the name that FROM has for it, its context.
func (r *run) inputs(ctx context.Context, env environment, p *plan, s *step, commands []instructions.Command, args map[string]string) (map[string]string, map[string]llb.State, error) {
	opts := map[string]string{}
	for name, value := range args {
		opts["build-arg:"+name] = value
	}
	config, err := json.Marshal(p.image)
	if err != nil {
		return nil, nil, err
	}
	metadata, err := json.Marshal(map[string][]byte{exptypes.ExporterImageConfigKey: config})
	if err != nil {
		return nil, nil, err
	}
	from := r.base.Name
	if s.from != "" {
		from = s.from
	}
	key, err := contextKey(from)
	if err != nil {
		return nil, nil, s.problem(s.fromLine, fmt.Sprintf("FROM %s is no name of an image: %v", from, err), err)
	}
	opts[key] = "input:" + inputBase
	opts["input-metadata:"+inputBase] = string(metadata)
	inputs := map[string]llb.State{inputBase: p.state}
	if inputs[inputContext], err = r.localContext(env, p, s, commands); err != nil {
		return nil, nil, err
	}
	return opts, inputs, r.insecureSources(ctx, env, p, s, commands, opts, inputs)
}

// args are the build arguments of one Dockerfile (image_extension.md, "Phase:
// Extension"). A user by name costs a look into the image, so it is looked up
// only for a Dockerfile that asks.
func (r *run) args(ctx context.Context, env environment, p *plan, s *step, commands []instructions.Command) (map[string]string, error) {
	args := map[string]string{"SOURCE_DATE_EPOCH": strconv.FormatInt(r.epoch.Unix(), 10)}
	// BuildKit gives these to a RUN apart from its environment.
	maps.Copy(args, r.Proxy)
	for _, a := range s.Args {
		args[a.Name] = a.Value
	}
	args[dockerfile.ArgBaseImage] = r.base.Name
	args[dockerfile.ArgBuildID] = r.app.BuildID
	if s.declares(commands, dockerfile.ArgUserID, dockerfile.ArgGroupID) {
		uid, gid, err := p.ids(ctx, env)
		if err != nil {
			return nil, s.problem(s.fromLine, fmt.Sprintf("find the numbers for user_id and group_id: %v", err), err)
		}
		args[dockerfile.ArgUserID], args[dockerfile.ArgGroupID] = uid, gid
	}
	return args, nil
}

// contextKey is the option by which the Dockerfile frontend finds the image that
// stands behind a name in FROM.
func contextKey(name string) (string, error) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", err
	}
	familiar := reference.FamiliarString(reference.TagNameOnly(ref))
	return "context:" + strings.TrimSuffix(familiar, ":latest"), nil
}

// record notes what the Dockerfile came to, and which instructions added a layer. The
// history has one entry for each command but ONBUILD, in order.
func (p *plan) record(s *step, args map[string]string, commands []instructions.Command, entries []history) {
	done := converted{step: s, given: args, unknown: map[string]string{}, triggers: commands[:len(commands)-len(s.commands)]}
	p.tell(&done)
	for n, c := range commands {
		if _, ok := c.(*instructions.OnbuildCommand); ok {
			continue
		}
		in := instruction{text: c.Name(), line: s.fromLine, own: n >= len(commands)-len(s.commands), layer: -1}
		if st, ok := c.(fmt.Stringer); ok {
			in.text = st.String()
		}
		if in.own {
			in.line = firstLine(c.Location())
		}
		done.instructions = append(done.instructions, in)
		p.noteRun(s, c, in.line)
		if _, ok := c.(*instructions.UserCommand); ok {
			p.userStep, p.userLine, p.userTrigger = s, in.line, ""
			if !in.own {
				p.userTrigger = in.trigger()
			}
		}
	}
	for n, e := range entries {
		if e.EmptyLayer {
			continue
		}
		text := e.CreatedBy
		if len(done.instructions) == len(entries) {
			text = done.instructions[n].text
			done.instructions[n].layer = len(p.layers)
		}
		p.layers = append(p.layers, layer{step: s, instruction: text})
	}
	p.converted = append(p.converted, done)
}

// tell finds out which args are known, and what the others are.
func (p *plan) tell(c *converted) {
	name, group, _ := strings.Cut(p.image.Config.User, ":")
	c.args = nil
	for _, arg := range []struct{ name, unknown string }{
		{dockerfile.ArgBaseImage, ""},
		{dockerfile.ArgUserID, fmt.Sprintf("the number of user %q in the image so far", name)},
		{dockerfile.ArgGroupID, fmt.Sprintf("the number of group %q in the image so far", group)},
	} {
		value, ok := c.given[arg.name]
		switch {
		case !ok:
		case slices.Contains(p.placeholders, value):
			c.unknown[arg.name] = arg.unknown
		default:
			c.args = append(c.args, dockerfile.Arg{Name: arg.name, Value: value})
		}
	}
	c.args = append(c.args, c.step.Args...)
}
