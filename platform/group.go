package platform

import "fmt"

// GroupModule is a module of the detected group (platform.md, "group.toml").
type GroupModule struct {
	ID       string `toml:"id"`
	Version  string `toml:"version"`
	API      string `toml:"api"`
	Homepage string `toml:"homepage,omitempty"`
}

// String is the module as messages name it.
func (m GroupModule) String() string { return m.ID + "@" + m.Version }

// Group is group.toml: what detection selected.
type Group struct {
	Group           []GroupModule `toml:"group"`
	GroupExtensions []GroupModule `toml:"group-extensions,omitempty"`
}

// ReadGroup reads group.toml.
func ReadGroup(path string) (Group, error) {
	var group Group
	if _, err := ReadTOML("group", path, &group); err != nil {
		return Group{}, err
	}
	for _, modules := range [][]GroupModule{group.Group, group.GroupExtensions} {
		for i, m := range modules {
			if m.ID == "" || m.Version == "" {
				return Group{}, &FileError{What: "group", Path: path, Err: fmt.Errorf("module %d lacks its id or version", i+1)}
			}
		}
	}
	return group, nil
}

// Provider is a module that provides a dependency.
type Provider struct {
	ID        string `toml:"id"`
	Version   string `toml:"version"`
	Extension bool   `toml:"extension,omitempty"`
}

// Require is what a module requires of a dependency.
type Require struct {
	Name     string         `toml:"name"`
	Metadata map[string]any `toml:"metadata,omitempty"`
}

// PlanEntry is one dependency with who provides and who requires it.
type PlanEntry struct {
	Providers []Provider `toml:"providers"`
	Requires  []Require  `toml:"requires"`
}

// Plan is plan.toml, the resolved build plan (platform.md, "plan.toml").
type Plan struct {
	Entries []PlanEntry `toml:"entries"`
}

// ParsePlan reads the contents of plan.toml; the path is for messages.
func ParsePlan(path string, data []byte) (Plan, error) {
	var plan Plan
	_, err := DecodeTOML("plan", path, data, &plan)
	return plan, err
}

// WithoutExtensions is plan.toml without the entries that an extension
// provides, and with all else that stands in it. The data must be a plan.
func WithoutExtensions(data []byte) ([]byte, error) {
	raw := map[string]any{}
	if _, err := DecodeTOML("plan", "", data, &raw); err != nil {
		return nil, err
	}
	entries, _ := raw["entries"].([]map[string]any)
	left := []map[string]any{}
	for _, entry := range entries {
		if !hasExtension(entry) {
			left = append(left, entry)
		}
	}
	delete(raw, "entries")
	if len(left) > 0 {
		raw["entries"] = left
	}
	return EncodeTOML(raw)
}

func hasExtension(entry map[string]any) bool {
	providers, _ := entry["providers"].([]map[string]any)
	for _, p := range providers {
		if is, _ := p["extension"].(bool); is {
			return true
		}
	}
	return false
}
