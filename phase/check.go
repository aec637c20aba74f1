package phase

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/platform"
)

// Checker judges what extensions have generated. It runs nothing and changes
// nothing, so that anyone can use it on files from anywhere.
type Checker struct {
	Log    *platform.Log
	Layout platform.GeneratedLayout
	// Generated is the directory to judge, in the layout.
	Generated string
	// Group is the file that says which extensions count, and in which order; if
	// it is not there, all that <generated> has do.
	Group string
	// Dir is the output of one extension, to be judged in the place of Generated.
	Dir string
	// Analyzed says what the images are for; it need not be there.
	Analyzed string
	// Report is a file for the findings; empty for none.
	Report string
}

// place is a directory that holds what one extension generated, or what it
// generated for one kind of image.
type place struct {
	extension string
	// dir is relative to the directory that is judged.
	dir string
	// dockerfiles are the names that a Dockerfile of each kind has there.
	dockerfiles map[dockerfile.Kind]string
	// whole tells that the directory is all of an output: there can be build
	// contexts, and files with a wrong name.
	whole bool
}

// Run judges, tells of every finding, and writes the report. If there is an
// error among the findings, its own error carries platform.CodeGenerated.
func (c Checker) Run(ctx context.Context) error {
	dir := c.Generated
	if c.Dir != "" {
		dir = c.Dir
	}
	target, err := c.target()
	if err != nil {
		return err
	}
	report, err := c.judge(ctx, dir, target)
	if err != nil {
		return platform.WithCode(platform.CodeFailed, err)
	}
	for _, f := range report.Findings {
		if f.Severity == dockerfile.SeverityError {
			c.Log.Errorf("%v", f)
		} else {
			c.Log.Warnf("%v", f)
		}
	}
	c.Log.Infof("%s in %s of %s", report.counted(), counted(report.dockerfiles, "Dockerfile"), dir)
	if c.Report != "" {
		if err := report.write(c.Report); err != nil {
			return platform.WithCode(platform.CodeFailed, err)
		}
	}
	if report.Result != "pass" {
		return platform.WithCode(platform.CodeGenerated, fmt.Errorf("what was generated in %s is not acceptable: %s", dir, report.counted()))
	}
	return nil
}

// judge finds everything, in the order of the extensions.
func (c Checker) judge(ctx context.Context, dir, target string) (*CheckReport, error) {
	report := &CheckReport{Result: "pass", Findings: []dockerfile.Finding{}}
	ids, grouped, err := c.extensions()
	if err != nil {
		return nil, err
	}
	if grouped && len(ids) == 0 {
		c.Log.Infof("no extension takes part: there is nothing to check")
		return report, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("checking what was generated: %w: generate first, or name another directory with -generated or -check-dir", err)
	}
	defer root.Close()
	places := []place{c.onlyPlace()}
	if c.Dir == "" {
		if !grouped {
			if ids, err = c.found(root); err != nil {
				return nil, fmt.Errorf("checking what was generated: %w", err)
			}
		}
		places = c.places(ids)
	}
	for _, p := range places {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		report.add(p.judge(root, target))
	}
	if report.dockerfiles == 0 {
		c.Log.Warnf("there is no Dockerfile in %s where this Platform API has them: is it the right directory, and CNB_PLATFORM_API the right version?", dir)
	}
	return report, nil
}

// target is the platform that the images are for.
func (c Checker) target() (string, error) {
	data, err := os.ReadFile(c.Analyzed)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", &platform.FileError{What: "analyzed", Path: c.Analyzed, Err: err}
	}
	analyzed, err := platform.ParseAnalyzed(c.Analyzed, data)
	return targetOf(analyzed).Platform(), err
}

// extensions are the ids in the group file. Without that file, or if it does not
// count, there is no group.
func (c Checker) extensions() (ids []string, grouped bool, err error) {
	if c.Dir != "" {
		return nil, false, nil
	}
	group, err := platform.ReadGroup(c.Group)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	for _, m := range group.GroupExtensions {
		ids = append(ids, m.ID)
	}
	return ids, true, err
}

var kinds = []dockerfile.Kind{dockerfile.KindBuild, dockerfile.KindRun}

// found are the directories of extensions in <generated>, sorted. What an
// interrupted run may have left has a name with a dot before it.
func (c Checker) found(root *os.Root) ([]string, error) {
	var ids []string
	for _, kind := range kinds {
		dir := filepath.Dir(filepath.Dir(c.Layout.Dockerfile(string(kind), "id")))
		entries, err := fs.ReadDir(root.FS(), dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			if !entry.Type().IsRegular() && !strings.HasPrefix(entry.Name(), ".") {
				ids = append(ids, entry.Name())
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// places are where the extensions' files lie in the layout.
func (c Checker) places(extensions []string) []place {
	var places []place
	for _, id := range extensions {
		at := map[string]place{}
		for _, kind := range kinds {
			path := c.Layout.Dockerfile(string(kind), buildmodule.EscapeID(id))
			dir := filepath.Dir(path)
			if _, known := at[dir]; !known {
				at[dir] = place{extension: id, dir: dir, dockerfiles: map[dockerfile.Kind]string{}, whole: c.Layout.HasContexts()}
			}
			at[dir].dockerfiles[kind] = filepath.Base(path)
		}
		for _, dir := range slices.Sorted(maps.Keys(at)) {
			places = append(places, at[dir])
		}
	}
	return places
}

// onlyPlace is the output of one extension. Its id is that of the extension that
// the directory belongs to, if it is the generate/ directory of one, else the
// directory's name.
func (c Checker) onlyPlace() place {
	p := place{extension: filepath.Base(c.Dir), dir: ".", dockerfiles: map[dockerfile.Kind]string{}, whole: true}
	for _, kind := range kinds {
		p.dockerfiles[kind] = dockerfileName(kind)
	}
	var descriptor struct {
		Extension struct {
			ID string `toml:"id"`
		} `toml:"extension"`
	}
	_, err := platform.ReadTOML("descriptor", filepath.Join(filepath.Dir(c.Dir), "extension.toml"), &descriptor)
	if err == nil && descriptor.Extension.ID != "" {
		p.extension = descriptor.Extension.ID
	}
	return p
}
