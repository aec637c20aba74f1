package phase

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/platform"
)

// output is what one extension generated, checked.
type output struct {
	extension string
	root      *os.Root
	// build and run are nil where the extension has no such Dockerfile.
	build, run *dockerfile.File
	// files are the contents of Dockerfiles and of extend-config.toml, by name.
	files    map[string][]byte
	contexts []string
	// ignored tells that another extension chose the run image after this one.
	ignored bool
}

const (
	configName = "extend-config.toml"
	// maxFile bounds a Dockerfile or extend-config.toml in bytes, and maxLines the
	// lines of it: parsing takes a thousand times the memory of a short line.
	maxFile  = 1 << 20
	maxLines = 20_000
	// ignoredSuffix is added to the name of a run.Dockerfile that no longer counts.
	ignoredSuffix = ".ignore"
)

// contextNames are the names of build contexts at the top of an output.
var contextNames = []string{"context", "context.build", "context.run"}

// mistaken are names at the top of an output that nothing reads, with the name
// that was meant.
var mistaken = []struct{ name, meant string }{
	{"Dockerfile", "build.Dockerfile or run.Dockerfile"},
	{"build.toml", "build.Dockerfile, with args in extend-config.toml"},
	{"run.toml", "run.Dockerfile, with args in extend-config.toml"},
}

func dockerfileName(kind dockerfile.Kind) string { return string(kind) + ".Dockerfile" }

// readOutput reads and checks the output of an extension. It is untrusted: it
// is opened so that nothing outside of it can be reached. An extension that
// generates nothing for which there is a place gives nil. Owned tells that the
// directory is not the extension's, but one that was made for its output.
func (g Generation) readOutput(extension *buildmodule.Module, dir string, owned bool) (read *output, err error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, explainOutput(extension.ID, dir, err)
	}
	defer func() {
		if read == nil {
			root.Close()
		}
	}()
	out := &output{extension: extension.ID, root: root, files: map[string][]byte{}}
	for _, name := range []string{dockerfileName(dockerfile.KindBuild), dockerfileName(dockerfile.KindRun), configName} {
		data, found, err := readInRoot(root, name)
		if err != nil {
			return nil, explainOutput(extension.ID, name, err)
		}
		if found {
			out.files[name] = data
		}
	}
	for _, m := range mistaken {
		if _, err := root.Lstat(m.name); err == nil {
			g.Log.Warnf("extension %s generated %s, which nothing reads: did it mean %s?", extension.ID, m.name, m.meant)
		}
	}
	if err := g.check(out); err != nil {
		return nil, err
	}
	if err := g.checkRest(out, owned); err != nil {
		return nil, err
	}
	if out.build == nil && out.run == nil && !(g.Layout.ByExtension() && len(out.files)+len(out.contexts) > 0) {
		return nil, nil
	}
	return out, nil
}

// checkRest looks at what nothing reads. Contexts that are going to be copied are looked
// at then.
func (g Generation) checkRest(out *output, owned bool) error {
	err := checkRest(out.root, owned, func(name string) bool { return slices.Contains(out.contexts, name) })
	var problem *fileProblem
	if errors.As(err, &problem) {
		return &dockerfile.Error{Extension: out.extension, Path: platform.Printable(problem.path), Problem: problem.problem, Err: err}
	}
	return err
}

// check judges the files that were read.
func (g Generation) check(out *output) error {
	var config dockerfile.ExtendConfig
	if data, found := out.files[configName]; found {
		var err error
		config, err = dockerfile.ParseExtendConfig(out.extension, configName, data)
		if err != nil {
			return err
		}
	}
	parsed := map[dockerfile.Kind]*dockerfile.File{}
	for _, kind := range kinds {
		data, found := out.files[dockerfileName(kind)]
		if !found {
			continue
		}
		file, err := dockerfile.Parse(kind, dockerfile.Step{
			Extension: out.extension,
			Path:      dockerfileName(kind),
			Content:   data,
			Args:      config.For(kind),
			Target:    g.Modules.target.Platform(),
		})
		if err != nil {
			return err
		}
		for _, warning := range file.Warnings {
			g.Log.Warnf("%v", warning)
		}
		parsed[kind] = file
	}
	out.build, out.run = parsed[dockerfile.KindBuild], parsed[dockerfile.KindRun]
	return g.findContexts(out)
}

// findContexts finds the build contexts that the extension made, if there is a
// place for them.
func (g Generation) findContexts(out *output) error {
	contexts, err := contextsOf(out.extension, out.root)
	if err != nil {
		return err
	}
	if len(contexts) > 0 && !g.Layout.HasContexts() {
		g.Log.Warnf("extension %s generated a build context, for which this Platform API has no place: it is left out", out.extension)
		contexts = nil
	}
	out.contexts = contexts
	return nil
}

// contextsOf are the names of the build contexts in an output
// (image_extension.md, "Context Folders"). The error is a *dockerfile.Error with
// a rule.
func contextsOf(extension string, root *os.Root) ([]string, error) {
	refused := func(rule dockerfile.Rule, name string, err error) error {
		return &dockerfile.Error{Extension: extension, Path: name, Problem: err.Error(), Rule: rule.ID, Err: err}
	}
	var contexts []string
	for _, name := range contextNames {
		info, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, refused(dockerfile.RuleContextRefused, name, err)
		}
		if !info.IsDir() {
			return nil, refused(dockerfile.RuleContextRefused, name, errors.New("a build context must be a directory"))
		}
		contexts = append(contexts, name)
	}
	if len(contexts) > 1 && contexts[0] == "context" {
		return nil, refused(dockerfile.RuleContextConflict, "context", fmt.Errorf(
			"context must not stand beside %s: use one for both images, or one for each", contexts[1]))
	}
	return contexts, nil
}

// readInRoot reads a Dockerfile or extend-config.toml of an output. A link may
// lead to another file of the output, but not out of it; what is no regular file
// is refused without opening it, and what would take too much memory to parse
// without parsing it.
func readInRoot(root *os.Root, name string) (data []byte, found bool, err error) {
	info, err := root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, lstatErr := root.Lstat(name); lstatErr == nil {
			return nil, false, errors.New("is a link that leads nowhere")
		}
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("cannot be read: %w", withoutPath(err))
	}
	if !info.Mode().IsRegular() {
		return nil, false, errors.New("is not a regular file")
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, fmt.Errorf("cannot be read: %w", withoutPath(err))
	}
	defer f.Close()
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, false, fmt.Errorf("cannot be read: %w", withoutPath(err))
	}
	return data, true, checkSize(name, data)
}

// checkSize refuses contents that are too much to parse.
func checkSize(name string, data []byte) error {
	if len(data) > maxFile {
		return fmt.Errorf("is larger than the limit of %d bytes", maxFile)
	}
	if lines := bytes.Count(data, []byte{'\n'}); lines > maxLines {
		return fmt.Errorf("has %d lines, and the limit is %d", lines, maxLines)
	}
	return nil
}

// stageOutput writes an extension's files to where later phases read them.
func (g Generation) stageOutput(stage string, out *output) error {
	id := buildmodule.EscapeID(out.extension)
	for _, kind := range kinds {
		data, found := out.files[dockerfileName(kind)]
		if !found {
			continue
		}
		path := filepath.Join(stage, g.Layout.Dockerfile(string(kind), id))
		if kind == dockerfile.KindRun && out.ignored {
			path += ignoredSuffix
		}
		if err := platform.WriteFile("Dockerfile", path, data); err != nil {
			return err
		}
	}
	if err := g.stageConfig(stage, id, out); err != nil {
		return err
	}
	for _, name := range out.contexts {
		target := filepath.Join(stage, g.Layout.Context(name, id))
		if err := platform.MkdirAll(filepath.Dir(target)); err != nil {
			return err
		}
		if err := copyTree(out.root, name, target); err != nil {
			return explainOutput(out.extension, name, err)
		}
	}
	return nil
}

// stageConfig writes extend-config.toml beside each Dockerfile, or where an extension has
// one directory for all into that, whether or not a Dockerfile stands there.
func (g Generation) stageConfig(stage, id string, out *output) error {
	config, found := out.files[configName]
	if !found {
		return nil
	}
	for _, kind := range kinds {
		if _, found := out.files[dockerfileName(kind)]; !found && !g.Layout.ByExtension() {
			continue
		}
		path := filepath.Join(stage, g.Layout.Config(string(kind), id))
		if err := platform.WriteFile("extend-config", path, config); err != nil {
			return err
		}
	}
	return nil
}
