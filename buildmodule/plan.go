package buildmodule

import (
	"errors"
	"fmt"

	"github.com/graft-cnb/graft/platform"
)

// BuildPlan is what a module's bin/detect says that it provides and requires
// (buildpack.md, "Build Plan").
type BuildPlan struct {
	Alternative
	// Or are further alternatives, to be tried in order.
	Or []Alternative `toml:"or"`
}

// Alternative is one potential build plan of a module.
type Alternative struct {
	Provides []Provide `toml:"provides"`
	Requires []Require `toml:"requires"`
}

// Provide names a dependency that a module provides.
type Provide struct {
	Name string `toml:"name"`
}

// Require names a dependency that a module requires. Version is no longer part
// of it, and is read to refuse it.
type Require struct {
	Name     string         `toml:"name"`
	Version  string         `toml:"version"`
	Metadata map[string]any `toml:"metadata"`
}

// Alternatives are all potential build plans, the first one first.
func (p BuildPlan) Alternatives() []Alternative {
	return append([]Alternative{p.Alternative}, p.Or...)
}

// maxPlan bounds a build plan in bytes; real ones have a few hundred.
const maxPlan = 4 << 20

// readPlan reads what a module wrote as its build plan and checks it. One that
// is not there is empty.
func readPlan(kind Kind, path string) (BuildPlan, error) {
	data, found, err := readUntrusted(path, maxPlan)
	if err != nil || !found {
		return BuildPlan{}, err
	}
	var plan BuildPlan
	if _, err := platform.DecodeTOML("build plan", path, data, &plan); err != nil {
		return BuildPlan{}, err
	}
	return plan, plan.check(kind)
}

func (p BuildPlan) check(kind Kind) error {
	for _, alternative := range p.Alternatives() {
		if kind == Extension && len(alternative.Requires) > 0 {
			return fmt.Errorf("the build plan requires %q: an extension can only provide", alternative.Requires[0].Name)
		}
		for _, p := range alternative.Provides {
			if p.Name == "" {
				return errors.New("the build plan has a [[provides]] without a name")
			}
		}
		for _, r := range alternative.Requires {
			if r.Name == "" {
				return errors.New("the build plan has a [[requires]] without a name")
			}
			if r.Version == "" {
				continue
			}
			if _, twice := r.Metadata["version"]; twice {
				return fmt.Errorf("the build plan requires %q with a version twice: keep the one in metadata", r.Name)
			}
			return fmt.Errorf("the build plan requires %q with a version outside of metadata: write it as metadata.version", r.Name)
		}
	}
	return nil
}
