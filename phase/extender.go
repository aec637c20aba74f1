package phase

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/platform"
)

// Applier applies Dockerfiles to a base image.
type Applier interface {
	Apply(ctx context.Context, app dockerfile.Application) (dockerfile.Applied, error)
}

// Extender applies the Dockerfiles that a group's extensions generated to the
// build image or the run image (image_extension.md, "Phase: Extension").
type Extender struct {
	Log     *platform.Log
	Applier Applier
	Kind    dockerfile.Kind
	Layout  platform.GeneratedLayout
	// Group and Analyzed are files to read.
	Group, Analyzed string
	// Generated is the directory with the Dockerfiles.
	Generated string
	// App is the build context of Dockerfiles that have none of their own.
	App string
	// Extended is the directory to write, as <kind>/sha256:<hex>.
	Extended string
	// Base stands in for the reference in analyzed.toml when it is not empty.
	Base string
	// Outputs are destinations of the whole image.
	Outputs []string
	// InContainer tells whether this is a platform's container.
	InContainer bool
}

// Run extends the image. When it fails, what an earlier run extended stays. Its
// error carries platform.CodeExtend, or the code of what was missing.
func (e Extender) Run(ctx context.Context) error {
	app, err := e.application()
	if err == nil {
		e.Log.Infof("Extending the %s image %s with %d Dockerfiles", e.Kind, app.Base, len(app.Steps))
		var applied dockerfile.Applied
		if applied, err = e.Applier.Apply(ctx, app); err == nil {
			e.Log.Infof("Extended the %s image with %d layers: %s", e.Kind, applied.Layers, filepath.Join(app.Extended, applied.Manifest))
			for _, output := range e.Outputs {
				e.Log.Infof("The whole image is in %s", output)
			}
		}
	}
	return platform.WithCode(platform.CodeExtend, err)
}

// application finds out what is to be applied to what.
func (e Extender) application() (dockerfile.Application, error) {
	if err := e.checkDestination(); err != nil {
		return dockerfile.Application{}, err
	}
	group, err := platform.ReadGroup(e.Group)
	if err != nil {
		return dockerfile.Application{}, platform.WithCode(platform.CodeFailed, err)
	}
	base, err := e.base()
	if err != nil {
		return dockerfile.Application{}, err
	}
	app := dockerfile.Application{
		Kind:     e.Kind,
		Base:     base,
		BuildID:  uuid.NewString(),
		Extended: filepath.Join(e.Extended, string(e.Kind)),
		Outputs:  e.Outputs,
	}
	for _, extension := range group.GroupExtensions {
		step, found, err := e.step(extension.ID)
		if err != nil {
			return dockerfile.Application{}, err
		}
		if found {
			app.Steps = append(app.Steps, step)
		}
	}
	return app, nil
}

// checkDestination refuses to extend a build image for nobody: the builder,
// which would go on with it, is not handed over to.
func (e Extender) checkDestination() error {
	if e.Kind != dockerfile.KindBuild || len(e.Outputs) > 0 {
		return nil
	}
	if e.InContainer {
		return errors.New("extending the build image in place and handing over to the builder is not supported: say where the extended image goes with -output oci:DIR or -output registry:REFERENCE")
	}
	return errors.New("extending the build image in place would change this machine: say where the extended image goes with -output oci:DIR or -output registry:REFERENCE")
}

// base is the image to extend.
func (e Extender) base() (string, error) {
	if e.Base != "" {
		return e.Base, nil
	}
	data, err := os.ReadFile(e.Analyzed)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", platform.WithCode(platform.CodeFailed, &platform.FileError{What: "analyzed", Path: e.Analyzed, Err: err})
	}
	analyzed, err := platform.ParseAnalyzed(e.Analyzed, data)
	if err != nil {
		return "", platform.WithCode(platform.CodeFailed, err)
	}
	reference, key := analyzed.RunReference(), "run-image.reference"
	if e.Kind == dockerfile.KindBuild {
		reference, key = analyzed.BuildReference(), "build-image.reference"
	}
	if reference == "" {
		return "", fmt.Errorf("no base image: neither -base is given nor %s in the analyzed file %s", key, e.Analyzed)
	}
	return reference, nil
}

// step reads what an extension generated for this kind of image, if anything.
func (e Extender) step(extension string) (step dockerfile.Step, found bool, err error) {
	id := buildmodule.EscapeID(extension)
	path := filepath.Join(e.Generated, e.Layout.Dockerfile(string(e.Kind), id))
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return dockerfile.Step{}, false, nil
	}
	if err != nil {
		return dockerfile.Step{}, false, fmt.Errorf("extension %s: reading its Dockerfile: %w", extension, err)
	}
	step = dockerfile.Step{Extension: extension, Path: path, Content: content, Context: e.context(id)}
	configPath := filepath.Join(e.Generated, e.Layout.Config(string(e.Kind), id))
	config, err := os.ReadFile(configPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return dockerfile.Step{}, false, fmt.Errorf("extension %s: reading its args: %w", extension, err)
	}
	if err == nil {
		parsed, err := dockerfile.ParseExtendConfig(extension, configPath, config)
		if err != nil {
			return dockerfile.Step{}, false, err
		}
		step.Args = parsed.For(e.Kind)
	}
	return step, true, nil
}

// context is the directory that ADD and COPY of an extension's Dockerfile read
// (image_extension.md, "Context Folders").
func (e Extender) context(id string) string {
	if e.Layout.HasContexts() {
		for _, name := range []string{"context." + string(e.Kind), "context"} {
			dir := filepath.Join(e.Generated, e.Layout.Context(name, id))
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				return dir
			}
		}
	}
	return e.App
}
