package phase

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/platform"
)

// Report is what came of a detection, for a platform that wants to draw it. It
// is an interface: fields are only added. Its JSON is described in
// docs/detector-report.md.
type Report struct {
	// Result is "pass", "fail" (no group passes) or "error" (no group passes and
	// a module errored), as exit codes 0, 20 and 21 say.
	Result string `json:"result"`
	// Target is what the build is for.
	Target ReportTarget `json:"target"`
	// ExecEnv is the execution environment, where the Platform API has one.
	ExecEnv string `json:"execEnv,omitempty"`
	// Modules are all modules that were asked, in the order of their asking.
	Modules []ReportModule `json:"modules"`
	// Groups are all groups that were tried, in order. If the result is "pass"
	// the last is the one that passed.
	Groups []ReportGroup `json:"groups"`
	// Plan is the build plan of the group that passed.
	Plan []ReportEntry `json:"plan"`
}

// ReportTarget is a target; what is not known is empty.
type ReportTarget struct {
	OS            string `json:"os,omitempty"`
	Arch          string `json:"arch,omitempty"`
	Variant       string `json:"variant,omitempty"`
	DistroName    string `json:"distroName,omitempty"`
	DistroVersion string `json:"distroVersion,omitempty"`
}

// ReportModule is what a module answered.
type ReportModule struct {
	Kind    string `json:"kind"`
	ID      string `json:"id"`
	Version string `json:"version"`
	API     string `json:"api"`
	// Result is "pass", "fail" or "error".
	Result string `json:"result"`
	// ExitCode is that of bin/detect, -1 if it could not be run or was killed.
	ExitCode int `json:"exitCode"`
	// Reason says in plain words why the result is not "pass".
	Reason string `json:"reason,omitempty"`
	// Seconds is how long bin/detect took.
	Seconds float64 `json:"seconds"`
	// Output is the end of what bin/detect printed; bytes that are not UTF-8 are
	// replaced.
	Output string `json:"output"`
	// Alternatives are the module's potential build plans, the first one first.
	Alternatives []ReportAlternative `json:"alternatives,omitempty"`
}

// ReportAlternative is a potential build plan of a module.
type ReportAlternative struct {
	Provides []string        `json:"provides"`
	Requires []ReportRequire `json:"requires"`
}

// ReportRequire is a requirement with its metadata.
type ReportRequire struct {
	Name     string         `json:"name"`
	Metadata map[string]any `json:"metadata,omitempty"`
}

// ReportGroup is a group that was tried.
type ReportGroup struct {
	// Result is "pass" or "fail".
	Result string `json:"result"`
	// Reasons say in plain words why the group does not pass.
	Reasons []string        `json:"reasons"`
	Members []ReportVerdict `json:"members"`
}

// ReportVerdict is what came of a module in a group.
type ReportVerdict struct {
	Kind     string `json:"kind"`
	ID       string `json:"id"`
	Version  string `json:"version"`
	Optional bool   `json:"optional"`
	// Result is "pass", "fail", "error", "mismatch" or "dropped".
	Result Verdict `json:"result"`
	Reason string  `json:"reason,omitempty"`
}

// ReportEntry is an entry of the build plan.
type ReportEntry struct {
	Providers []ReportProvider `json:"providers"`
	Requires  []ReportRequire  `json:"requires"`
}

// ReportProvider is a provider in the build plan.
type ReportProvider struct {
	ID        string `json:"id"`
	Version   string `json:"version"`
	Extension bool   `json:"extension"`
}

// newReport puts together what the runs and the attempts gave.
func newReport(r *runs, attempts []attempt, err error) Report {
	report := Report{
		Result: "pass",
		Target: ReportTarget{
			OS: r.inputs.target.OS, Arch: r.inputs.target.Arch, Variant: r.inputs.target.Variant,
			DistroName: r.inputs.target.Distro.Name, DistroVersion: r.inputs.target.Distro.Version,
		},
		ExecEnv: r.inputs.ExecEnv,
		Modules: []ReportModule{}, Groups: []ReportGroup{}, Plan: []ReportEntry{},
	}
	if err != nil {
		report.Result = "fail"
	}
	for _, module := range r.order {
		report.Modules = append(report.Modules, reportModule(module, r.done[module]))
	}
	for _, a := range attempts {
		if err != nil && a.errored() {
			report.Result = "error"
		}
		report.Groups = append(report.Groups, reportGroup(a))
		if a.resolved {
			report.Plan = reportPlan(a.selection.plan)
		}
	}
	return report
}

func reportModule(m *buildmodule.Module, d buildmodule.Detection) ReportModule {
	_, reason := explainDetection(d)
	out := ReportModule{
		Kind: string(m.Kind), ID: m.ID, Version: m.Version, API: m.API.Version,
		Result: d.Status.String(), ExitCode: d.ExitCode, Reason: reason,
		Seconds: d.Duration.Seconds(), Output: strings.ToValidUTF8(string(d.Output), string(utf8.RuneError)),
	}
	if d.Status != buildmodule.Passed {
		return out
	}
	for _, alternative := range d.Plan.Alternatives() {
		a := ReportAlternative{Provides: []string{}, Requires: []ReportRequire{}}
		for _, p := range alternative.Provides {
			a.Provides = append(a.Provides, p.Name)
		}
		for _, r := range alternative.Requires {
			a.Requires = append(a.Requires, ReportRequire{r.Name, r.Metadata})
		}
		out.Alternatives = append(out.Alternatives, a)
	}
	return out
}

func reportGroup(a attempt) ReportGroup {
	group := ReportGroup{Result: "fail", Reasons: append([]string{}, a.reasons...), Members: []ReportVerdict{}}
	if a.resolved {
		group.Result = "pass"
	}
	for _, j := range a.modules {
		group.Members = append(group.Members, ReportVerdict{
			Kind: string(j.module.Kind), ID: j.module.ID, Version: j.module.Version,
			Optional: j.optional, Result: j.verdict, Reason: j.reason,
		})
	}
	return group
}

func reportPlan(plan platform.Plan) []ReportEntry {
	entries := []ReportEntry{}
	for _, entry := range plan.Entries {
		var e ReportEntry
		for _, p := range entry.Providers {
			e.Providers = append(e.Providers, ReportProvider{p.ID, p.Version, p.Extension})
		}
		for _, r := range entry.Requires {
			e.Requires = append(e.Requires, ReportRequire{r.Name, r.Metadata})
		}
		entries = append(entries, e)
	}
	return entries
}

// write writes the report to a file or to a descriptor such as /dev/fd/3.
func (r Report) write(path string) error { return writeJSON("report", path, r) }

// writeJSON writes what programs are to read, in a form that people can read too.
func writeJSON(what, path string, v any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return platform.WriteFile(what, path, b.Bytes())
}

// table shows a group that was tried, a line for each module.
func (a attempt) table() []string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, j := range a.modules {
		kind := string(j.module.Kind)
		if j.optional && j.module.Kind == buildmodule.Buildpack {
			kind = "optional " + kind
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", kind, j.module, j.verdict, strings.ReplaceAll(j.reason, "\n", " "))
	}
	w.Flush()
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}
