package phase

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/platform"
)

// CheckReport is what a check found, as JSON. It is an interface: fields are
// only added (see docs/generator-check.md).
type CheckReport struct {
	// Result is "pass", or "fail" if there is an error among the findings.
	Result string `json:"result"`
	// Findings are in the order of the extensions, then by file, line and rule.
	Findings []dockerfile.Finding `json:"findings"`

	// dockerfiles is how many there are.
	dockerfiles int
}

// add takes in what was found in one place.
func (r *CheckReport) add(findings []dockerfile.Finding, dockerfiles int) {
	r.Findings = append(r.Findings, findings...)
	r.dockerfiles += dockerfiles
	if r.count(dockerfile.SeverityError) > 0 {
		r.Result = "fail"
	}
}

func (r *CheckReport) count(severity dockerfile.Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

// counted says how many findings there are.
func (r *CheckReport) counted() string {
	return counted(r.count(dockerfile.SeverityError), "error") + ", " + counted(r.count(dockerfile.SeverityWarning), "warning")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// write writes the report to a file or to a descriptor such as /dev/fd/3.
func (r *CheckReport) write(path string) error { return writeJSON("report", path, r) }

// judge finds what is wrong in the place, and counts its Dockerfiles. The
// directory is untrusted: nothing outside of it is reached.
func (p place) judge(parent *os.Root, target string) (findings []dockerfile.Finding, dockerfiles int) {
	root, err := parent.OpenRoot(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := parent.Lstat(p.dir); errors.Is(err, fs.ErrNotExist) {
			return nil, 0
		}
	}
	if err != nil {
		return []dockerfile.Finding{dockerfile.NewFinding(dockerfile.RuleFileRefused, p.extension, p.dir, fmt.Sprintf("cannot be read: %v", err))}, 0
	}
	defer root.Close()
	g := dockerfile.Generated{Extension: p.extension, Target: target, Dockerfiles: map[dockerfile.Kind]dockerfile.Text{}}
	for _, kind := range kinds {
		name, here := p.dockerfiles[kind]
		if !here {
			g.Elsewhere = append(g.Elsewhere, kind)
			continue
		}
		text, refused := p.read(root, name)
		findings = append(findings, refused...)
		switch {
		case text != nil:
			g.Dockerfiles[kind] = *text
			dockerfiles++
		case len(refused) > 0 || replaced(root, name):
			g.Elsewhere = append(g.Elsewhere, kind)
		}
	}
	config, refused := p.read(root, configName)
	g.Config = config
	findings = append(append(findings, refused...), dockerfile.Lint(g)...)
	if p.whole {
		findings = append(append(findings, p.contexts(root)...), p.misnamed(root)...)
		findings = append(findings, p.rest(root)...)
	}
	dockerfile.SortFindings(findings)
	return findings, dockerfiles
}

// replaced tells whether a Dockerfile has been set aside, since an extension
// after it has chosen the run image: it is not applied, and not judged.
func replaced(root *os.Root, name string) bool {
	_, err := root.Lstat(name + ignoredSuffix)
	return err == nil
}

// read reads a file; nil if it is not there or refused.
func (p place) read(root *os.Root, name string) (*dockerfile.Text, []dockerfile.Finding) {
	data, found, err := readInRoot(root, name)
	path := filepath.Join(p.dir, name)
	switch {
	case err != nil:
		return nil, []dockerfile.Finding{dockerfile.NewFinding(dockerfile.RuleFileRefused, p.extension, path, err.Error())}
	case !found:
		return nil, nil
	}
	return &dockerfile.Text{Path: path, Content: data}, nil
}

// contexts finds what is wrong with the build contexts: for each the first that
// is.
func (p place) contexts(root *os.Root) []dockerfile.Finding {
	finding := func(rule dockerfile.Rule, name string, err error) dockerfile.Finding {
		return dockerfile.NewFinding(rule, p.extension, filepath.Join(p.dir, name), err.Error())
	}
	contexts, err := contextsOf(p.extension, root)
	var refused *dockerfile.Error
	if errors.As(err, &refused) {
		rule := dockerfile.RuleContextRefused
		if refused.Rule == dockerfile.RuleContextConflict.ID {
			rule = dockerfile.RuleContextConflict
		}
		return []dockerfile.Finding{finding(rule, refused.Path, refused.Err)}
	}
	var findings []dockerfile.Finding
	for _, name := range contexts {
		if err := checkTree(root, name); err != nil {
			findings = append(findings, finding(dockerfile.RuleContextRefused, name, err))
		}
	}
	return findings
}

// rest finds the first file that must not be there although nothing reads it.
func (p place) rest(root *os.Root) []dockerfile.Finding {
	err := checkRest(root, false, func(name string) bool {
		return name == configName || slices.Contains(contextNames, name) || slices.Contains(slices.Collect(maps.Values(p.dockerfiles)), name)
	})
	var problem *fileProblem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &problem):
		path := platform.Printable(filepath.Join(p.dir, problem.path))
		return []dockerfile.Finding{dockerfile.NewFinding(dockerfile.RuleFileRefused, p.extension, path, problem.problem)}
	}
	return []dockerfile.Finding{dockerfile.NewFinding(dockerfile.RuleFileRefused, p.extension, p.dir, err.Error())}
}

// misnamed finds files that nothing reads.
func (p place) misnamed(root *os.Root) []dockerfile.Finding {
	var findings []dockerfile.Finding
	for _, m := range mistaken {
		if _, err := root.Lstat(m.name); err == nil {
			f := dockerfile.NewFinding(dockerfile.RuleFileName, p.extension, filepath.Join(p.dir, m.name), "nothing reads a file of this name")
			f.Suggestion = "did it mean " + m.meant + "?"
			findings = append(findings, f)
		}
	}
	return findings
}
