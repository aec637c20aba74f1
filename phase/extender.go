package phase

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/platform"
)

// Applier applies Dockerfiles to base images, side by side. Either all results become
// visible or none.
type Applier interface {
	// Apply returns one Applied for each application, in order, also with an error:
	// then they tell how far it came.
	Apply(ctx context.Context, apps ...dockerfile.Application) ([]dockerfile.Applied, error)
}

// Extender applies the Dockerfiles that a group's extensions generated to the
// build image, the run image or both (image_extension.md, "Phase: Extension").
type Extender struct {
	Log     *platform.Log
	Applier Applier
	// Kinds are the images to extend.
	Kinds  []dockerfile.Kind
	Layout platform.GeneratedLayout
	// Group and Analyzed are files to read.
	Group, Analyzed string
	// Generated is the directory with the Dockerfiles.
	Generated string
	// App is the build context of Dockerfiles that have none of their own.
	App string
	// Extended is the directory to write, as <kind>/sha256:<hex>.
	Extended string
	// Bases stand in for the references in analyzed.toml where they are not empty.
	Bases map[dockerfile.Kind]string
	// Outputs are destinations of the whole image, by kind.
	Outputs map[dockerfile.Kind][]string
	// Root is the root directory of a container of the build image, which is made one of
	// the extended build image. Empty: there is none, and the build image needs Outputs.
	Root string
	// RootSkip are paths in Root that are left as they are.
	RootSkip []string
	// Check, if there is one, tells of what follows what would make it fail, before
	// anything is done. Its error carries a code.
	Check func() error
	// Report is the file or descriptor that gets the ExtendReport, also of a run that
	// fails. Empty: none is written.
	Report string
	// Warnings has the warnings for the report. Nil: there are none.
	Warnings *Warnings
	// Redact takes secrets out of what goes into the report. Nil: there are none.
	Redact func(text string) string
}

// Run extends the images, and returns what became of each kind. When it fails, what an
// earlier run extended stays, and of several images none is replaced; but Root is then
// good for nothing. The error carries platform.CodeExtend, or the code of what was
// missing.
func (e Extender) Run(ctx context.Context) (map[dockerfile.Kind]dockerfile.Applied, error) {
	apps, err := e.applications()
	var applied []dockerfile.Applied
	if err == nil {
		applied, err = e.apply(ctx, apps)
	}
	if err = e.report(ctx, platform.WithCode(platform.CodeExtend, err), apps, applied); err != nil {
		return nil, err
	}
	byKind := map[dockerfile.Kind]dockerfile.Applied{}
	for n, app := range apps {
		byKind[app.Kind] = applied[n]
	}
	return byKind, nil
}

func (e Extender) apply(ctx context.Context, apps []dockerfile.Application) ([]dockerfile.Applied, error) {
	for _, app := range apps {
		e.Log.Infof("Extending the %s image %s with %d Dockerfiles", app.Kind, app.Base, len(app.Steps))
	}
	applied, err := e.Applier.Apply(ctx, apps...)
	if err != nil {
		return applied, err
	}
	for n, app := range apps {
		e.Log.Infof("Extended the %s image with %d layers: %s", app.Kind, applied[n].Layers, filepath.Join(app.Extended, applied[n].Manifest))
		for _, output := range app.Outputs {
			e.Log.Infof("The whole %s image is in %s", app.Kind, output)
		}
	}
	return applied, nil
}

// Printer says what applying Dockerfiles would do.
type Printer interface {
	Print(ctx context.Context, w io.Writer, form dockerfile.Form, apps ...dockerfile.Application) error
}

// Print writes to w what Run would do, in one of the forms, and does nothing of it. Its
// error carries the code that Run's would.
func (e Extender) Print(ctx context.Context, p Printer, w io.Writer, form dockerfile.Form) error {
	apps, err := e.read()
	if err == nil {
		err = p.Print(ctx, w, form, apps...)
	}
	return platform.WithCode(platform.CodeExtend, err)
}

// applications finds out what is to be applied to what, and whether it has somewhere
// to go.
func (e Extender) applications() ([]dockerfile.Application, error) {
	if e.Check != nil {
		if err := e.Check(); err != nil {
			return nil, err
		}
	}
	for _, kind := range e.Kinds {
		if err := e.checkDestination(kind); err != nil {
			return nil, err
		}
	}
	return e.read()
}

// read finds out in files what is to be applied to what.
func (e Extender) read() ([]dockerfile.Application, error) {
	group, err := platform.ReadGroup(e.Group)
	if err != nil {
		return nil, platform.WithCode(platform.CodeFailed, err)
	}
	id := uuid.NewString()
	var apps []dockerfile.Application
	for _, kind := range e.Kinds {
		app, err := e.application(kind, group)
		if err != nil {
			return nil, err
		}
		app.BuildID = id
		apps = append(apps, app)
	}
	return apps, nil
}

// application finds out what is to be applied to one image.
func (e Extender) application(kind dockerfile.Kind, group platform.Group) (dockerfile.Application, error) {
	base, err := e.base(kind)
	if err != nil {
		return dockerfile.Application{}, err
	}
	app := dockerfile.Application{
		Kind:     kind,
		Base:     base,
		Extended: filepath.Join(e.Extended, string(kind)),
		Outputs:  e.Outputs[kind],
	}
	if kind == dockerfile.KindBuild {
		app.Root, app.RootSkip = e.Root, e.RootSkip
	}
	for _, extension := range group.GroupExtensions {
		step, found, err := e.step(kind, extension.ID)
		if err != nil {
			return dockerfile.Application{}, err
		}
		if found {
			app.Steps = append(app.Steps, step)
		}
	}
	return app, nil
}

// checkDestination refuses to extend a build image for nobody: in a platform's container
// the builder goes on with it.
func (e Extender) checkDestination(kind dockerfile.Kind) error {
	if kind != dockerfile.KindBuild || e.Root != "" || len(e.Outputs[kind]) > 0 {
		return nil
	}
	return errors.New("extending the build image in place would change this machine, which is no container of a platform: say where the extended image goes with -output oci:DIR or -output registry:REFERENCE")
}

// base is the image to extend.
func (e Extender) base(kind dockerfile.Kind) (string, error) {
	if e.Bases[kind] != "" {
		return e.Bases[kind], nil
	}
	analyzed, err := e.analyzed()
	if err != nil {
		return "", platform.WithCode(platform.CodeFailed, err)
	}
	reference, key := analyzed.RunReference(), "run-image.reference"
	if kind == dockerfile.KindBuild {
		reference, key = analyzed.BuildReference(), "build-image.reference"
	}
	if reference == "" {
		return "", fmt.Errorf("no base image: neither -base is given nor %s in the analyzed file %s", key, e.Analyzed)
	}
	return reference, nil
}

// step reads what an extension generated for this kind of image, if anything.
func (e Extender) step(kind dockerfile.Kind, extension string) (step dockerfile.Step, found bool, err error) {
	id := buildmodule.EscapeID(extension)
	path := filepath.Join(e.Generated, e.Layout.Dockerfile(string(kind), id))
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return dockerfile.Step{}, false, nil
	}
	if err != nil {
		return dockerfile.Step{}, false, fmt.Errorf("extension %s: reading its Dockerfile: %w", extension, err)
	}
	step = dockerfile.Step{Extension: extension, Path: path, Content: content}
	if step.Context, err = e.context(kind, id); err != nil {
		return dockerfile.Step{}, false, fmt.Errorf("extension %s: %w", extension, err)
	}
	configPath := filepath.Join(e.Generated, e.Layout.Config(string(kind), id))
	config, err := os.ReadFile(configPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return dockerfile.Step{}, false, fmt.Errorf("extension %s: reading its args: %w", extension, err)
	}
	if err == nil {
		parsed, err := dockerfile.ParseExtendConfig(extension, configPath, config)
		if err != nil {
			return dockerfile.Step{}, false, err
		}
		step.Args = parsed.For(kind)
	}
	return step, true, nil
}

// context is the directory that ADD and COPY of an extension's Dockerfile read
// (image_extension.md, "Context Folders"). One that is no directory is refused: the
// application instead would be what nobody meant.
func (e Extender) context(kind dockerfile.Kind, id string) (string, error) {
	if !e.Layout.HasContexts() {
		return e.App, nil
	}
	for _, name := range []string{"context." + string(kind), "context"} {
		dir := filepath.Join(e.Generated, e.Layout.Context(name, id))
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", fmt.Errorf("its context: %w", err)
		case !info.IsDir():
			return "", fmt.Errorf("its context %s is no directory; make it one, or leave it out to copy from the application", dir)
		default:
			return dir, nil
		}
	}
	return e.App, nil
}
