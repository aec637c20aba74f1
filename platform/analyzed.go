package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Analyzed is analyzed.toml, of which only what the programs need is looked
// into. Everything else in it survives a read and a write unchanged
// (platform.md, "analyzed.toml").
type Analyzed struct {
	raw map[string]any
}

// ParseAnalyzed reads the contents of analyzed.toml; the path is for messages.
// No contents at all are an empty one.
func ParseAnalyzed(path string, data []byte) (Analyzed, error) {
	a := Analyzed{raw: map[string]any{}}
	if _, err := DecodeTOML("analyzed", path, data, &a.raw); err != nil {
		return Analyzed{}, err
	}
	if err := a.check(); err != nil {
		return Analyzed{}, &FileError{What: "analyzed", Path: path, Err: err}
	}
	return a, nil
}

// check finds out whether what the programs look into has the right types.
func (a Analyzed) check() error {
	for _, table := range [][]string{{"run-image"}, {"build-image"}, {"run-image", "target"}, {"run-image", "target", "distro"}} {
		at := a.raw
		for i, key := range table {
			value, there := at[key]
			if !there {
				break
			}
			next, ok := value.(map[string]any)
			if !ok {
				return fmt.Errorf("%s must be a table", strings.Join(table[:i+1], "."))
			}
			at = next
		}
	}
	for _, key := range [][]string{
		{"run-image", "image"}, {"run-image", "reference"}, {"build-image", "reference"},
		{"run-image", "target", "os"}, {"run-image", "target", "arch"},
		{"run-image", "target", "variant"}, {"run-image", "target", "arch-variant"},
		{"run-image", "target", "distro", "name"}, {"run-image", "target", "distro", "version"},
	} {
		last := len(key) - 1
		if value, there := a.table(key[:last]...)[key[last]]; there {
			if _, ok := value.(string); !ok {
				return fmt.Errorf("%s must be text, in quotes", strings.Join(key, "."))
			}
		}
	}
	return nil
}

// Bytes is analyzed.toml to be written.
func (a Analyzed) Bytes() ([]byte, error) { return EncodeTOML(a.raw) }

func (a Analyzed) table(keys ...string) map[string]any {
	at := a.raw
	for _, key := range keys {
		at, _ = at[key].(map[string]any)
	}
	return at
}

func str(table map[string]any, key string) string {
	s, _ := table[key].(string)
	return s
}

// RunImage is the name of the run image, as a platform or an extension chose
// it; empty when there is none.
func (a Analyzed) RunImage() string { return str(a.table("run-image"), "image") }

// RunReference is where the run image is, usually a digest reference; empty
// when it is not known.
func (a Analyzed) RunReference() string { return str(a.table("run-image"), "reference") }

// BuildReference is where the build image is; empty when it is not known.
func (a Analyzed) BuildReference() string { return str(a.table("build-image"), "reference") }

// ImageReference is the application's image as an earlier build left it: a reference in
// a registry, or the id of an image in a Docker daemon; empty when there is none.
func (a Analyzed) ImageReference() string { return str(a.table("image"), "reference") }

// Target is the target data of the run image. Both spellings of the variant
// are read.
func (a Analyzed) Target() Target {
	target := a.table("run-image", "target")
	distro := a.table("run-image", "target", "distro")
	t := Target{
		OS:      str(target, "os"),
		Arch:    str(target, "arch"),
		Variant: str(target, "arch-variant"),
		Distro:  Distro{Name: str(distro, "name"), Version: str(distro, "version")},
	}
	if t.Variant == "" {
		t.Variant = str(target, "variant")
	}
	return t
}

// SetRunExtend records whether the run image is to be extended.
func (a *Analyzed) SetRunExtend(extend bool) { a.set("run-image", "extend", extend) }

// SetBuildExtend records whether the build image is to be extended.
func (a *Analyzed) SetBuildExtend(extend bool) { a.set("build-image", "extend", extend) }

// SwitchRunImage records another run image by its name. What was known of the
// one before is no longer true and goes.
func (a *Analyzed) SwitchRunImage(name string) {
	a.set("run-image", "image", name)
	a.set("run-image", "reference", name)
	delete(a.table("run-image"), "target")
}

func (a *Analyzed) set(table, key string, value any) {
	if a.raw == nil {
		a.raw = map[string]any{}
	}
	at, ok := a.raw[table].(map[string]any)
	if !ok {
		at = map[string]any{}
		a.raw[table] = at
	}
	at[key] = value
}

// RunFile is run.toml, the run images that the platform knows
// (platform.md, "run.toml").
type RunFile struct {
	Images []struct {
		Image   string   `toml:"image"`
		Mirrors []string `toml:"mirrors"`
	} `toml:"images"`
}

// ReadRunFile reads run.toml. One that is not there is empty, and found says so.
func ReadRunFile(path string) (file RunFile, found bool, err error) {
	_, err = ReadTOML("run", path, &file)
	if errors.Is(err, fs.ErrNotExist) {
		return RunFile{}, false, nil
	}
	return file, err == nil, err
}
