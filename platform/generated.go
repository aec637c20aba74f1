package platform

import "path/filepath"

// GeneratedLayout tells where generated files lie below <generated>
// (platform.md, "detector", "Outputs").
type GeneratedLayout struct {
	byExtension bool
}

// Generated is the layout of this Platform API.
func (a API) Generated() GeneratedLayout { return GeneratedLayout{byExtension: a.GeneratedByExtension} }

// ByExtension tells whether an extension has one directory for all that it generates:
// for Dockerfiles of both kinds, and for what stands beside none.
func (l GeneratedLayout) ByExtension() bool { return l.byExtension }

// HasContexts tells whether there is a place for build contexts.
func (l GeneratedLayout) HasContexts() bool { return l.byExtension }

// Dockerfile is the path of an extension's Dockerfile of a kind, relative to
// <generated>. The id must be escaped.
func (l GeneratedLayout) Dockerfile(kind, escapedID string) string {
	if l.byExtension {
		return filepath.Join(escapedID, kind+".Dockerfile")
	}
	return filepath.Join(kind, escapedID, "Dockerfile")
}

// Config is the path of an extension's extend-config.toml for a kind, relative
// to <generated>. Both kinds may have one file.
func (l GeneratedLayout) Config(kind, escapedID string) string {
	return filepath.Join(filepath.Dir(l.Dockerfile(kind, escapedID)), "extend-config.toml")
}

// Context is the path of one of an extension's build contexts, relative to
// <generated>; name is context, context.build or context.run.
func (l GeneratedLayout) Context(name, escapedID string) string {
	return filepath.Join(escapedID, name)
}
