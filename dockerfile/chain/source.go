package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/base"
)

// source is the state that an image is. The engine pulls it by itself from a
// registry; a layout, or a registry that the engine would not speak to, goes
// through the session. Who is what it is for, in the display.
func (p *plan) source(img *base.Image, env environment, who string) llb.State {
	if len(img.Manifest.Layers) == 0 {
		return llb.Scratch()
	}
	title := llb.WithCustomNamef("%s FROM %s", who, img.Source)
	if img.Pullable() {
		return llb.Image(img.Name, llb.Platform(img.Platform()), title)
	}
	store := "image-" + img.Digest.Hex
	p.stores[store] = img
	if env.stored != "" {
		return llb.Image("docker.io/library/"+inStore(env.stored, img), llb.ResolveModePreferLocal, llb.Platform(img.Platform()), title)
	}
	return llb.OCILayout(img.Name, llb.OCIStore(env.sessionID, store), llb.Platform(img.Platform()), title)
}

// localContext is the directory that ADD, COPY and bind mounts of a Dockerfile
// read. Only what they name crosses to the engine, if it can be told.
func (r *run) localContext(env environment, p *plan, s *step, commands []instructions.Command) (llb.State, error) {
	paths, used := contextPaths(commands)
	if !used || s.Context == "" {
		return llb.Scratch(), nil
	}
	if info, err := os.Stat(s.Context); err != nil || !info.IsDir() {
		return llb.State{}, s.problem(0, fmt.Sprintf("the Dockerfile copies from its context, but %s is no directory", s.Context), err)
	}
	excludes, err := s.ignorePatterns()
	if err != nil {
		return llb.State{}, err
	}
	if err := s.checkPaths(commands); err != nil {
		return llb.State{}, err
	}
	name := r.contextName(s.Context)
	p.contexts[name] = s.Context
	opts := []llb.LocalOption{
		llb.ExcludePatterns(excludes),
		llb.SharedKeyHint(name + ":" + s.Context),
		llb.WithCustomNamef("%s load context %s", r.who(s.Extension), s.Context),
	}
	if len(paths) > 0 {
		opts = append(opts, llb.FollowPaths(paths))
	}
	if env.sessionID != "" {
		opts = append(opts, llb.SessionID(env.sessionID))
	}
	return llb.Local(name, opts...), nil
}

// contextName is the name of a directory in the graph; Dockerfiles with the same
// context share it.
func (r *run) contextName(dir string) string {
	if r.contexts == nil {
		r.contexts = map[string]string{}
	}
	name, ok := r.contexts[dir]
	if !ok {
		name = fmt.Sprintf("context-%d", len(r.contexts)+1)
		r.contexts[dir] = name
	}
	return name
}

// contextPaths tells whether commands read the context, and which paths of it;
// none means that it cannot be told, or that it is all of it.
func contextPaths(commands []instructions.Command) (paths []string, used bool) {
	all := false
	add := func(p string) {
		used = true
		clean := path.Clean("/" + filepath.ToSlash(p))
		if clean == "/" || strings.Contains(p, "$") {
			all = true
		}
		paths = append(paths, strings.TrimPrefix(clean, "/"))
	}
	for _, c := range commands {
		switch c := c.(type) {
		case *instructions.AddCommand:
			for _, p := range c.SourcePaths {
				if !strings.Contains(p, "://") && !strings.HasPrefix(p, "git@") {
					add(p)
				}
			}
		case *instructions.CopyCommand:
			if c.From != "" {
				continue
			}
			for _, p := range c.SourcePaths {
				add(p)
			}
		case *instructions.RunCommand:
			for _, m := range mounts(c) {
				if m.Type == instructions.MountTypeBind && m.From == "" {
					add(m.Source)
				}
			}
		}
	}
	if all {
		return nil, used
	}
	slices.Sort(paths)
	return slices.Compact(paths), used
}

// mounts are the mounts of a RUN with their fields as written: a variable in one
// stays a variable. Fields that cannot be read yet make the conversion fail
// later, with the line.
func mounts(c *instructions.RunCommand) []*instructions.Mount {
	if err := c.Expand(func(word string) (string, error) { return word, nil }); err != nil {
		return instructions.GetMounts(c)
	}
	return instructions.GetMounts(c)
}

// insecureSources makes the images that a Dockerfile copies from, and that lie
// in a registry that the engine would not speak to, inputs that go through the
// session.
func (r *run) insecureSources(ctx context.Context, env environment, p *plan, s *step, commands []instructions.Command, opts map[string]string, inputs map[string]llb.State) error {
	if len(r.InsecureRegistries) == 0 && len(r.RegistryCA) == 0 {
		return nil
	}
	for _, source := range sourceImages(commands...) {
		ref, err := base.ParseReference(source, r.InsecureRegistries)
		if err != nil || !r.maybePrivate(ref.Context().RegistryStr()) {
			continue // the number of a stage, or a name: for the converter to judge
		}
		key, err := contextKey(source)
		if err != nil || opts[key] != "" {
			continue
		}
		img, err := r.image(ctx, source, r.base.Platform())
		if err != nil {
			return s.blame(commands, err)
		}
		if img.Pullable() {
			continue
		}
		input := fmt.Sprintf("source-%d", len(inputs))
		opts[key] = "input:" + input
		inputs[input] = p.source(img, env, r.who("image"))
	}
	return nil
}

// maybePrivate tells whether the engine might not speak to a registry that we
// speak to.
func (r *run) maybePrivate(host string) bool {
	return slices.Contains(r.InsecureRegistries, host) || len(r.RegistryCA) > 0 && host != name.DefaultRegistry
}

// sourceImages are the names that COPY --from and RUN --mount=from= have.
func sourceImages(commands ...instructions.Command) []string {
	var names []string
	for _, c := range commands {
		switch c := c.(type) {
		case *instructions.CopyCommand:
			names = append(names, c.From)
		case *instructions.RunCommand:
			for _, m := range instructions.GetMounts(c) {
				names = append(names, m.From)
			}
		}
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

// sourceError is an image that cannot be read, which a Dockerfile copies from or mounts.
type sourceError struct {
	ref string
	err error
}

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// checkPaths finds the first ADD or COPY whose source is no pattern: the engine does not
// say whose it is.
func (s *step) checkPaths(commands []instructions.Command) error {
	for n, c := range commands {
		var paths []string
		switch c := c.(type) {
		case *instructions.AddCommand:
			paths = c.SourcePaths
		case *instructions.CopyCommand:
			paths = c.SourcePaths
		}
		for _, p := range paths {
			if _, err := filepath.Match(p, "."); err != nil && !strings.Contains(p, "$") {
				return s.trouble(commands, n, fmt.Sprintf("%s: %v; a [ begins a range of letters, which ] ends, and an escape stands before another letter", p, err), err)
			}
		}
	}
	return nil
}

const ignoreFile = ".dockerignore"

// ignorePatterns reads the .dockerignore of a step's context; there need not be one. A
// directory of that name is none, as for BuildKit.
func (s *step) ignorePatterns() ([]string, error) {
	path := filepath.Join(s.Context, ignoreFile)
	root, err := os.OpenRoot(s.Context)
	if err != nil {
		return nil, s.problem(0, fmt.Sprintf("read %s: %v", path, err), err)
	}
	defer root.Close()
	if info, err := root.Stat(ignoreFile); err == nil && info.IsDir() {
		return nil, nil
	}
	data, err := root.ReadFile(ignoreFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, s.problem(0, fmt.Sprintf("read %s: %v", path, err), err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		patterns, err := ignorefile.ReadAll(strings.NewReader(line))
		if err == nil {
			_, err = patternmatcher.New(patterns)
		}
		if err != nil {
			return nil, &dockerfile.Error{Extension: s.Extension, Path: path, Line: n, Source: strings.TrimRight(line, "\r\n"), Problem: err.Error(), Err: err}
		}
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(data))
	if err != nil {
		return nil, s.problem(0, fmt.Sprintf("read %s: %v", path, err), err)
	}
	return patterns, nil
}

// resolver finds the configuration of images that Dockerfiles copy from, in the
// client, so that the conversion needs no engine.
type resolver struct{ run *run }

var _ llb.ImageMetaResolver = (*resolver)(nil)

// ResolveImageConfig resolves a reference to a digest and reads the image's
// configuration.
func (v *resolver) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	platform := v.run.base.Platform()
	if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
		platform = *opt.ImageOpt.Platform
	}
	img, err := v.run.image(ctx, ref, platform)
	if err != nil {
		return "", "", nil, err
	}
	return ref, digest.Digest(img.Digest.String()), img.RawConfig, nil
}

// image opens an image that a Dockerfile copies from. A tag is resolved once, so
// that both conversions mean the same image.
func (r *run) image(ctx context.Context, ref string, platform ocispecs.Platform) (*base.Image, error) {
	key := ref + " " + platforms.FormatAll(platform)
	r.imagesMu.Lock()
	defer r.imagesMu.Unlock()
	if img, ok := r.images[key]; ok {
		return img, nil
	}
	opts := r.registry
	opts.Platform = &platform
	img, err := base.Open(ctx, ref, opts)
	if err != nil {
		// It is no base, whatever the package thinks.
		if why := errors.Unwrap(err); why != nil {
			err = fmt.Errorf("read image %q: %w", ref, why)
		}
		return nil, &sourceError{ref, err}
	}
	if r.images == nil {
		r.images = map[string]*base.Image{}
	}
	r.images[key] = img
	r.log(r.Info, "Image %s is %s", ref, img.Digest)
	return img, nil
}
