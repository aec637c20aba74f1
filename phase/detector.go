package phase

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/platform"
)

// Detector resolves an order into one group and a build plan (buildpack.md,
// "Phase #1: Detection"; platform.md, "detector").
type Detector struct {
	Log *platform.Log
	// Order and System are files to read. System may be empty.
	Order, System string
	Store         buildmodule.Store
	// ExtensionsAllowed is asked when the order has image extensions; its error
	// ends the phase. Nil where the Platform API knows no extensions: they are
	// left out with a warning.
	ExtensionsAllowed func() error
	Modules           ModuleInputs
	User              platform.BuildUser
	// Analyzed is a file to read; empty where the Platform API has none.
	Analyzed string
	// Target stands in for the one in the analyzed file.
	Target *platform.Target
	// DryRun writes nothing but the report.
	DryRun bool
	// Report is a file to write the outcome to as JSON; empty for none.
	Report string
	// MatchTargets makes modules take part only where they match the run image.
	MatchTargets bool
	// Group and Plan are files to write.
	Group, Plan string
	// Generate runs the extensions of the group before anything is written; nil
	// leaves that to the generator, or to nobody.
	Generate *Generation
	// Layers is the directory that the phases share.
	Layers string
	// Generated is the directory that holds nothing when no extension takes
	// part; empty where the Platform API has none.
	Generated string
}

// Run detects, and writes group.toml and plan.toml if a group passes; if none
// does, the error carries platform.CodeFailedDetect or
// platform.CodeFailedDetectWithErrors and the files stay as they are.
func (d Detector) Run(ctx context.Context) error {
	if d.Generate != nil && !d.DryRun {
		d.Modules.protectApp(d.Log)
		defer d.Modules.readOnly.Close()
	}
	analyzed, err := d.prepare()
	if err != nil {
		return err
	}
	catalog, order, system, err := d.load()
	if err != nil {
		return err
	}
	sel, err := d.detect(ctx, catalog, order, system)
	if err != nil || d.DryRun {
		return err
	}
	changes, err := d.stage(ctx, sel, analyzed)
	defer discardAll(changes)
	if err != nil {
		return err
	}
	return platform.CommitAll(changes...)
}

// stage prepares all that is to be written, so that a file that cannot be
// written leaves the others as they were. The group comes last: who finds it
// finds the rest.
func (d Detector) stage(ctx context.Context, sel selection, analyzed []byte) (changes []platform.Staged, err error) {
	plan, err := platform.EncodeTOML(sel.plan)
	if err != nil {
		return nil, err
	}
	group := sel.group()
	if d.Generate != nil && len(group.GroupExtensions) > 0 {
		generation := *d.Generate
		generation.Modules = d.Modules
		generation.Layers = d.Layers
		changes, err = generation.run(ctx, sel.extensions(), plan, analyzed)
	} else {
		changes, err = d.stageWithout(plan, len(group.GroupExtensions) == 0)
	}
	if err != nil {
		return changes, err
	}
	data, err := platform.EncodeTOML(group)
	if err != nil {
		return changes, err
	}
	last, err := platform.StageFile("group", d.Group, data)
	if err != nil {
		return changes, err
	}
	return append(changes, last), nil
}

// stageWithout prepares what is to be written when nothing is generated here;
// if no extension takes part at all, nothing is left of an earlier generation.
func (d Detector) stageWithout(plan []byte, none bool) ([]platform.Staged, error) {
	changes := rewritten{"plan", d.Plan, d.Layers}.forget()
	if none && d.Generated != "" {
		undo, err := rewritten{"analyzed", d.Analyzed, d.Layers}.stageUndo()
		if err != nil {
			return nil, err
		}
		changes = append(append(changes, undo...), platform.Removal(d.Generated))
	}
	file, err := platform.StageFile("plan", d.Plan, plan)
	if err != nil {
		return changes, err
	}
	return append(changes, file), nil
}

// prepare becomes the build user and finds out the target. It returns what the
// analyzed file said before any generation.
func (d *Detector) prepare() ([]byte, error) {
	var owned []string
	if !d.DryRun {
		owned = []string{d.Layers, d.Generated}
	}
	if err := d.Modules.prepare(d.User, owned...); err != nil {
		return nil, err
	}
	if d.Target != nil {
		d.Modules.target = *d.Target
	}
	switch {
	case d.Analyzed == "":
		if d.Target == nil {
			d.Modules.target = targetOf(platform.Analyzed{})
		}
		return nil, nil
	case d.Target != nil && d.DryRun:
		return nil, nil
	case d.Target != nil:
		data, _, err := rewritten{"analyzed", d.Analyzed, d.Layers}.readBefore()
		return data, err
	}
	return d.Modules.readTarget(d.Log, rewritten{"analyzed", d.Analyzed, d.Layers})
}

// load reads order and system and everything that they can reach.
func (d Detector) load() (*catalog, platform.OrderFile, platform.System, error) {
	fail := func(err error) (*catalog, platform.OrderFile, platform.System, error) {
		return nil, platform.OrderFile{}, platform.System{}, err
	}
	order, err := platform.ReadOrder(d.Order)
	if err != nil {
		return fail(err)
	}
	if len(order.Order) == 0 {
		d.Log.Warnf("the order file %s has no [[order]]: there is no group to try", d.Order)
	}
	var system platform.System
	if d.System != "" {
		if system, err = platform.ReadSystem(d.System); err != nil {
			return fail(err)
		}
	}
	if len(order.OrderExtensions) > 0 {
		if d.ExtensionsAllowed == nil {
			d.Log.Warnf("%s has image extensions, which this Platform API does not know: they are left out", d.Order)
			order.OrderExtensions = nil
		} else if err := d.ExtensionsAllowed(); err != nil {
			return fail(err)
		}
	}
	c := newCatalog(d.Store, d.Modules.ExecEnv, d.Log)
	around := platform.Order{{Group: system.Pre}, {Group: system.Post}}
	for _, part := range []platform.Order{order.Order, around} {
		if err := c.load(buildmodule.Buildpack, part); err != nil {
			return fail(err)
		}
	}
	if err := c.load(buildmodule.Extension, order.OrderExtensions); err != nil {
		return fail(err)
	}
	return c, order, system, nil
}

// detect tries group after group, tells what came of them, and writes the
// report.
func (d Detector) detect(ctx context.Context, c *catalog, order platform.OrderFile, system platform.System) (selection, error) {
	runs := newRuns(d)
	var attempts []attempt
	var sel selection
	for members := range c.groups(order, system) {
		a, err := runs.try(ctx, members)
		if err != nil {
			return selection{}, platform.WithCode(platform.CodeDetect, err)
		}
		attempts = append(attempts, a)
		if a.resolved {
			sel = a.selection
			break
		}
	}
	err := verdict(attempts)
	d.tell(attempts, sel, err)
	if d.Report == "" {
		return sel, err
	}
	writeErr := newReport(runs, attempts, err).write(d.Report)
	if writeErr != nil && err != nil {
		d.Log.Warnf("%v", writeErr)
		return sel, err
	}
	return sel, errors.Join(err, writeErr)
}

// verdict is the error of a detection in which no group passed.
func verdict(attempts []attempt) error {
	code, and := platform.CodeFailedDetect, ""
	for _, a := range attempts {
		if a.resolved {
			return nil
		}
		if a.errored() {
			code, and = platform.CodeFailedDetectWithErrors, ", and at least one module errored"
		}
	}
	return platform.WithCode(code, fmt.Errorf("no group passes detection (%d tried)%s", len(attempts), and))
}

// tell shows the group that passed, or every group that was tried if none did.
func (d Detector) tell(attempts []attempt, sel selection, err error) {
	for i, a := range attempts {
		switch {
		case a.resolved:
			d.Log.Infof("Group %d passes, with %d of its %d modules:", i+1, len(sel.members), len(a.modules))
		case err == nil && !d.DryRun && !d.Log.Enabled(platform.LevelDebug):
			continue
		default:
			d.Log.Infof("Group %d does not pass: %s", i+1, strings.Join(a.reasons, "; "))
		}
		for _, line := range a.table() {
			d.Log.Infof("%s", line)
		}
	}
	if d.DryRun {
		for _, entry := range sel.plan.Entries {
			d.Log.Infof("Plan: %s is provided by %s", entry.Requires[0].Name, providerNames(entry))
		}
	}
}

func providerNames(entry platform.PlanEntry) string {
	var names []string
	for _, p := range entry.Providers {
		names = append(names, p.ID+"@"+p.Version)
	}
	return strings.Join(names, " and ")
}

func (s selection) group() platform.Group {
	group := platform.Group{Group: []platform.GroupModule{}}
	for _, m := range s.members {
		entry := platform.GroupModule{
			ID: m.module.ID, Version: m.module.Version, API: m.module.API.Version, Homepage: m.module.Homepage,
		}
		if m.module.Kind == buildmodule.Extension {
			group.GroupExtensions = append(group.GroupExtensions, entry)
		} else {
			group.Group = append(group.Group, entry)
		}
	}
	return group
}

func (s selection) extensions() []*buildmodule.Module {
	var out []*buildmodule.Module
	for _, m := range s.members {
		if m.module.Kind == buildmodule.Extension {
			out = append(out, m.module)
		}
	}
	return out
}
