package phase

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/platform"
)

// Generator lets the extensions of a detected group generate their Dockerfiles
// (image_extension.md, "Phase: Generation").
type Generator struct {
	Log   *platform.Log
	Store buildmodule.Store
	// Group is the file to read.
	Group string
	// ExtensionsAllowed is asked when the group has extensions; its error ends
	// the phase.
	ExtensionsAllowed func() error
	User              platform.BuildUser
	// Layers is the directory that the phases share.
	Layers     string
	Generation Generation
}

// Run generates. Everything is written once all extensions have generated what
// is acceptable; if one has not, what was there before stays. The error carries
// platform.CodeGenerate, platform.CodeGenerated or the code of what was missing.
func (g Generator) Run(ctx context.Context) error {
	generation := g.Generation
	generation.Layers = g.Layers
	generation.Modules.protectApp(g.Log)
	defer generation.Modules.readOnly.Close()
	if err := generation.Modules.prepare(g.User, g.Layers, generation.Generated); err != nil {
		return err
	}
	group, err := platform.ReadGroup(g.Group)
	if err != nil {
		return err
	}
	if len(group.GroupExtensions) == 0 {
		g.Log.Infof("no extension takes part: there is nothing to generate")
		return generation.clear()
	}
	if err := g.ExtensionsAllowed(); err != nil {
		return err
	}
	var extensions []*buildmodule.Module
	for _, m := range group.GroupExtensions {
		extension, err := g.Store.Lookup(buildmodule.Extension, m.ID, m.Version)
		if err != nil {
			return err
		}
		extensions = append(extensions, extension)
	}
	analyzed, err := generation.Modules.readTarget(g.Log, generation.analyzed())
	if err != nil {
		return err
	}
	if _, err := os.Stat(generation.Plan); errors.Is(err, fs.ErrNotExist) {
		return &platform.FileError{What: "plan", Path: generation.Plan, Err: fs.ErrNotExist}
	}
	plan, _, err := generation.plan().readBefore()
	if err != nil {
		return err
	}
	changes, err := generation.run(ctx, extensions, plan, analyzed)
	defer discardAll(changes)
	if err != nil {
		return err
	}
	if err := platform.CommitAll(changes...); err != nil {
		return err
	}
	g.Log.Infof("%d extensions have generated into %s", len(extensions), generation.Generated)
	return nil
}

// clear leaves nothing of an earlier generation.
func (g Generation) clear() error {
	changes, err := g.analyzed().stageUndo()
	defer discardAll(changes)
	if err == nil {
		err = platform.CommitAll(append(changes, platform.Removal(g.Generated))...)
	}
	return err
}
