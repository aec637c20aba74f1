package buildmodule

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/graft-cnb/graft/platform"
)

// Kind tells buildpacks and image extensions apart.
type Kind string

// The kinds of module.
const (
	Buildpack Kind = "buildpack"
	Extension Kind = "extension"
)

// Module is a buildpack or an image extension with its descriptor
// (buildpack.md, "buildpack.toml"; image_extension.md, "extension.toml").
type Module struct {
	Kind     Kind
	ID       string
	Version  string
	Homepage string
	API      platform.BuildpackAPI
	// ClearEnv keeps the user's variables away from the module.
	ClearEnv bool
	// ExecEnv are the execution environments it is for; empty: all.
	ExecEnv platform.ExecEnv
	// Targets are the images it is for; empty: all.
	Targets []Target
	// Order makes a composite buildpack: it stands for the groups in here.
	Order platform.Order
	// Dir is the module's root directory.
	Dir string
}

// String is the module as messages name it.
func (m *Module) String() string { return m.ID + "@" + m.Version }

// Store is where modules lie, as <id>/<version> with slashes in ids escaped
// (platform.md, "Buildpacks Directory Layout" and "Image Extensions Directory
// Layout").
type Store struct {
	Buildpacks string
	// Extensions is empty where the Platform API has none.
	Extensions string
}

// EscapeID turns a module's id into a file name.
func EscapeID(id string) string { return strings.ReplaceAll(id, "/", "_") }

// ErrNotInStore is wrapped by the error of a look-up for a module that is not
// there.
var ErrNotInStore = errors.New("not in the store")

// Lookup reads the descriptor of a module. The error wraps ErrNotInStore if
// there is none, and carries platform.CodeBuildpackAPI if the module's Buildpack
// API is not supported.
func (s Store) Lookup(kind Kind, id, version string) (*Module, error) {
	root, file := s.Buildpacks, "buildpack.toml"
	if kind == Extension {
		root, file = s.Extensions, "extension.toml"
	}
	for _, part := range []string{EscapeID(id), version} {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, filepath.Separator) {
			return nil, fmt.Errorf("%s %s@%s: %q cannot be the name of a directory", kind, id, version, part)
		}
	}
	dir := filepath.Join(root, EscapeID(id), version)
	module, err := readDescriptor(kind, dir, filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s %s@%s is %w: there is no %s", kind, id, version, ErrNotInStore, filepath.Join(dir, file))
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s@%s: %w", kind, id, version, err)
	}
	module.ID, module.Version = id, version
	return module, nil
}

type descriptorFile struct {
	API       string           `toml:"api"`
	Buildpack moduleTable      `toml:"buildpack"`
	Extension moduleTable      `toml:"extension"`
	Order     platform.Order   `toml:"order"`
	Targets   []Target         `toml:"targets"`
	Stacks    []map[string]any `toml:"stacks"`
	// OrderExtensions is read to refuse it.
	OrderExtensions []any `toml:"order-extensions"`
}

type moduleTable struct {
	Homepage string           `toml:"homepage"`
	ClearEnv bool             `toml:"clear-env"`
	ExecEnv  platform.ExecEnv `toml:"exec-env"`
}

func readDescriptor(kind Kind, dir, path string) (*Module, error) {
	var file descriptorFile
	if _, err := platform.ReadTOML("descriptor", path, &file); err != nil {
		return nil, err
	}
	if len(file.OrderExtensions) > 0 {
		return nil, &platform.FileError{What: "descriptor", Path: path, Err: errors.New("a composite buildpack cannot contain extensions: [[order-extensions]] belongs into order.toml")}
	}
	if err := file.Order.Check(); err != nil {
		return nil, &platform.FileError{What: "descriptor", Path: path, Err: fmt.Errorf("order: %w", err)}
	}
	api, err := platform.ParseBuildpackAPI(file.API, kind == Extension)
	if err != nil {
		return nil, err
	}
	table := file.Buildpack
	if kind == Extension {
		table = file.Extension
		if len(file.Order) > 0 {
			return nil, &platform.FileError{What: "descriptor", Path: path, Err: errors.New("an extension cannot have an [[order]]")}
		}
	}
	targets := file.Targets
	if len(targets) == 0 {
		targets = inferTargets(kind, dir, file.Stacks)
	}
	return &Module{
		Kind:     kind,
		Homepage: table.Homepage,
		API:      api,
		ClearEnv: table.ClearEnv,
		ExecEnv:  table.ExecEnv,
		Targets:  targets,
		Order:    file.Order,
		Dir:      dir,
	}, nil
}

// has tells whether the module has an executable file of that name.
func (m *Module) has(name string) bool {
	info, err := os.Stat(filepath.Join(m.Dir, name))
	return err == nil && !info.IsDir()
}
