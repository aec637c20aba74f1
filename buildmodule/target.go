package buildmodule

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/graft-cnb/graft/platform"
)

// Target is an image that a module says it works for. A field that is empty
// fits anything (buildpack.md, "Targets").
type Target struct {
	OS          string   `toml:"os"`
	Arch        string   `toml:"arch"`
	Variant     string   `toml:"variant"`
	ArchVariant string   `toml:"arch-variant"`
	Distros     []Distro `toml:"distros"`
}

// Distro is a distribution that a module says it works for.
type Distro struct {
	Name    string `toml:"name"`
	Version string `toml:"version"`
}

// String shows the target as os/arch/variant and its distributions.
func (t Target) String() string {
	variant := t.Variant
	if variant == "" {
		variant = t.ArchVariant
	}
	s := describe(t.OS, t.Arch, variant)
	var distros []string
	for _, d := range t.Distros {
		distros = append(distros, describeDistro(d.Name, d.Version))
	}
	if len(distros) > 0 {
		s += " (" + strings.Join(distros, " or ") + ")"
	}
	return s
}

// DescribeTarget shows the target of an image in the same way.
func DescribeTarget(t platform.Target) string {
	s := describe(t.OS, t.Arch, t.Variant)
	if t.Distro != (platform.Distro{}) {
		s += " (" + describeDistro(t.Distro.Name, t.Distro.Version) + ")"
	}
	return s
}

func describe(os, arch, variant string) string {
	s := orAny(os) + "/" + orAny(arch)
	if variant != "" {
		s += "/" + variant
	}
	return s
}

func describeDistro(name, version string) string {
	if version == "" {
		return orAny(name)
	}
	return orAny(name) + "@" + version
}

func orAny(s string) string {
	if s == "" {
		return "any"
	}
	return s
}

// Matches tells whether the module works for the image. What is not known of
// the image is no reason to refuse.
func (m *Module) Matches(image platform.Target) bool {
	for _, t := range m.Targets {
		if t.matches(image) {
			return true
		}
	}
	return len(m.Targets) == 0
}

// DescribeTargets names the targets of the module for a message.
func (m *Module) DescribeTargets() string {
	var all []string
	for _, t := range m.Targets {
		all = append(all, t.String())
	}
	return strings.Join(all, ", ")
}

func (t Target) matches(image platform.Target) bool {
	if !fits(t.OS, image.OS) || !fits(t.Arch, image.Arch) || !fits(t.Variant, image.Variant) || !fits(t.ArchVariant, image.Variant) {
		return false
	}
	for _, d := range t.Distros {
		if fits(d.Name, image.Distro.Name) && fits(d.Version, image.Distro.Version) {
			return true
		}
	}
	return len(t.Distros) == 0
}

func fits(wanted, is string) bool { return wanted == "" || is == "" || wanted == is }

// inferTargets says what a module without [[targets]] is for: its [[stacks]]
// translated, else, for a buildpack, the system that its bin/build is written
// for (buildpack.md, "Targets" and "buildpack.toml (TOML) stacks Array").
func inferTargets(kind Kind, dir string, stacks []map[string]any) []Target {
	var targets []Target
	for _, stack := range stacks {
		switch stack["id"] {
		case "*":
			return nil
		case "io.buildpacks.stacks.bionic":
			targets = append(targets, Target{OS: "linux", Arch: "amd64", Distros: []Distro{{Name: "ubuntu", Version: "18.04"}}})
		}
	}
	if len(targets) > 0 || kind == Extension {
		return targets
	}
	for file, system := range map[string]string{"build": "linux", "build.bat": "windows", "build.exe": "windows"} {
		if _, err := os.Stat(filepath.Join(dir, "bin", file)); err == nil {
			targets = append(targets, Target{OS: system})
		}
	}
	return targets
}
