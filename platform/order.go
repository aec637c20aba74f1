package platform

import (
	"errors"
	"fmt"
	"io/fs"
)

// ModuleRef names a module in an order (platform.md, "order.toml").
type ModuleRef struct {
	ID       string  `toml:"id"`
	Version  string  `toml:"version"`
	Optional bool    `toml:"optional"`
	ExecEnv  ExecEnv `toml:"exec-env"`
}

// OrderGroup is one group to try.
type OrderGroup struct {
	Group []ModuleRef `toml:"group"`
}

// Order is a list of groups, to be tried from the first to the last.
type Order []OrderGroup

// OrderFile is order.toml.
type OrderFile struct {
	Order           Order `toml:"order"`
	OrderExtensions Order `toml:"order-extensions"`
}

// ReadOrder reads order.toml. A module that lacks its id or version is an error.
func ReadOrder(path string) (OrderFile, error) {
	var file OrderFile
	if _, err := ReadTOML("order", path, &file); err != nil {
		return OrderFile{}, err
	}
	for _, part := range []Order{file.Order, file.OrderExtensions} {
		if err := part.Check(); err != nil {
			return OrderFile{}, &FileError{What: "order", Path: path, Err: err}
		}
	}
	return file, nil
}

// Check finds modules that lack their id or version.
func (o Order) Check() error {
	for i, group := range o {
		if err := checkRefs(group.Group); err != nil {
			return fmt.Errorf("group %d: %w", i+1, err)
		}
	}
	return nil
}

func checkRefs(refs []ModuleRef) error {
	for i, ref := range refs {
		if ref.ID == "" {
			return fmt.Errorf("module %d has no id", i+1)
		}
		if ref.Version == "" {
			return fmt.Errorf("module %q has no version", ref.ID)
		}
	}
	return nil
}

// System is system.toml: buildpacks that go around every group
// (platform.md, "system.toml").
type System struct {
	Pre, Post []ModuleRef
}

// ReadSystem reads system.toml; one that is not there has nothing to add.
func ReadSystem(path string) (System, error) {
	type part struct {
		Buildpacks []ModuleRef `toml:"buildpacks"`
	}
	var file struct {
		System struct {
			Pre  part `toml:"pre"`
			Post part `toml:"post"`
		} `toml:"system"`
	}
	_, err := ReadTOML("system", path, &file)
	if errors.Is(err, fs.ErrNotExist) {
		return System{}, nil
	}
	if err != nil {
		return System{}, err
	}
	system := System{Pre: file.System.Pre.Buildpacks, Post: file.System.Post.Buildpacks}
	for _, refs := range [][]ModuleRef{system.Pre, system.Post} {
		if err := checkRefs(refs); err != nil {
			return System{}, &FileError{What: "system", Path: path, Err: err}
		}
	}
	return system, nil
}

// ExecEnv is a list of execution environments; empty fits every one. Two
// spellings are read: ["test"] and [[...exec-env]] name = "test".
type ExecEnv []string

// UnmarshalTOML reads either spelling.
func (e *ExecEnv) UnmarshalTOML(v any) error {
	var items []any
	switch v := v.(type) {
	case []any:
		items = v
	case []map[string]any:
		for _, m := range v {
			items = append(items, m)
		}
	default:
		return errors.New("exec-env must be a list of execution environments")
	}
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			item = m["name"]
		}
		name, ok := item.(string)
		if !ok {
			return fmt.Errorf("exec-env must name execution environments as text in quotes, not %v", item)
		}
		*e = append(*e, name)
	}
	return nil
}

// Fits tells whether the environments include the given one; "*" includes all.
func (e ExecEnv) Fits(current string) bool {
	for _, name := range e {
		if name == current || name == "*" {
			return true
		}
	}
	return len(e) == 0
}
