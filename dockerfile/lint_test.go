package dockerfile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// lintCase is a Dockerfile that draws findings of one rule in the given lines,
// or none.
type lintCase struct {
	kind  Kind
	text  string
	args  []Arg
	lines []int
}

const base = "ARG base_image\nFROM ${base_image}\n"

// reset is how a Dockerfile that needs root gives it up again.
const reset = "ARG user_id\nARG group_id\nUSER ${user_id}${group_id:+:${group_id}}\n"

// lintText lints one Dockerfile with the args that extend-config.toml gives it.
func lintText(kind Kind, text string, args []Arg) []Finding {
	config := ""
	for _, a := range args {
		config += fmt.Sprintf("[[%s.args]]\nname = %q\nvalue = %q\n", kind, a.Name, a.Value)
	}
	return Lint(Generated{
		Extension:   "some/ext",
		Dockerfiles: map[Kind]Text{kind: {Path: string(kind) + ".Dockerfile", Content: []byte(text)}},
		Config:      &Text{Path: "extend-config.toml", Content: []byte(config)},
	})
}

// checkRule checks which lines break the rule, and that each finding is whole.
func checkRule(t *testing.T, rule Rule, cases []lintCase) {
	t.Helper()
	for _, c := range cases {
		if c.kind == "" {
			c.kind = KindBuild
		}
		var lines []int
		for _, f := range lintText(c.kind, c.text, c.args) {
			if f.Rule != rule.ID {
				continue
			}
			lines = append(lines, f.Line)
			if f.Extension != "some/ext" || f.Severity != rule.Severity || f.Message == "" || f.Suggestion == "" {
				t.Errorf("%s, %q: finding is not whole: %+v", rule.ID, c.text, f)
			}
			if f.Line > 0 && f.File != "extend-config.toml" && f.Source != strings.Split(c.text, "\n")[f.Line-1] {
				t.Errorf("%s, %q: line %d is not %q", rule.ID, c.text, f.Line, f.Source)
			}
		}
		if !slices.Equal(lines, c.lines) {
			t.Errorf("%s, %s, %q: in lines %v, want %v", rule.ID, c.kind, c.text, lines, c.lines)
		}
	}
}

// TestLintRefusals guards that the lint knows all that generation refuses, and
// all of it at once.
func TestLintRefusals(t *testing.T) {
	checkRule(t, RuleSyntax, []lintCase{
		{text: base + "RUNN true\nRUN true\nCOPY one\n", lines: []int{3, 5}},
		{text: base + "RUN <<E\ntrue\n", lines: []int{3}},
		{kind: KindRun, text: "RUN true\n", lines: []int{1}},
		{text: "", lines: []int{0}},
		{text: base + "RUN true\n"},
	})
	checkRule(t, RuleBuildPreamble, []lintCase{
		{text: "FROM ${base_image}\n", lines: []int{1}},
		{text: "# the base\nARG other\nARG base_image\nFROM ${base_image}\n", lines: []int{2}},
		{text: "arg base_image=x other\nfrom \"$base_image\"\n"},
		{kind: KindRun, text: "FROM debian:12\n"},
	})
	checkRule(t, RuleFromMissing, []lintCase{{kind: KindRun, text: "ARG x=1\n", lines: []int{0}}, {kind: KindRun, text: base}})
	checkRule(t, RuleFromSeveral, []lintCase{
		{text: base + "RUN true\nFROM a\nFROM ${base_image}\n", lines: []int{4, 5}},
		{text: base + "COPY --from=a /x /x\nRUN <<E\nFROM a\nE\n"},
	})
	checkRule(t, RuleFromBaseImage, []lintCase{
		{text: "ARG base_image\nFROM debian:12\n", lines: []int{2}},
		{text: "ARG base_image\nARG x=${base_image}\nFROM ${x}\n"},
		{kind: KindRun, text: "ARG base_image\nFROM debian:12\n"},
	})
	checkRule(t, RuleFromImage, []lintCase{
		{kind: KindRun, text: "FROM Debian:12\n", lines: []int{1}},
		{kind: KindRun, text: "ARG tag\nFROM debian:${tag}\n", lines: []int{2}},
		{kind: KindRun, text: "ARG tag\nFROM debian:${tag}\n", args: []Arg{{"tag", "12"}}},
	})
}

// TestLintHintsAtTheShell guards the hint that helps most: a script whose
// here-document lets the shell expand the arg leaves another FROM, or none.
func TestLintHintsAtTheShell(t *testing.T) {
	for _, text := range []string{"ARG base_image\nFROM debian:12\n", "ARG base_image\nFROM \nRUN true\n"} {
		findings := lintText(KindBuild, text, nil)
		if len(findings) != 1 || findings[0].Line != 2 || !strings.Contains(findings[0].Suggestion, "did the shell expand ${base_image}?") {
			t.Errorf("%q: %+v", text, findings)
		}
	}
}

// TestLintConfig guards the findings about extend-config.toml
// (image_extension.md, "extend-config.toml (TOML)").
func TestLintConfig(t *testing.T) {
	dockerfile := base + "ARG used\nRUN echo ${used} ${other}\n"
	for _, c := range []struct {
		config string
		want   []string
	}{
		{"[[build.args]]\nvalue = \"1\"\n[[run.args]]\nname = \"user_id\"\nvalue = \"0\"\n", []string{"arg-name:0", "arg-reserved:0", "arg-not-given:4"}},
		{"[[build.args]\n", []string{"config-syntax:0"}},
		{"[[build.args]]\nname = \"used\"\nvalue = \"1\"\n", nil},
		{"# args\n[[build.args]]\nname = \"used\"\nvalue = \"1\"\n[[ build.args ]] # two\nname = \"unused\"\nvalue = \"1\"\n", []string{"arg-not-declared:5"}},
		{"[[build.args]]\nname = \"used\"\nvalue = \"1\"\n[[run.args]]\nname = \"used\"\nvalue = \"1\"\n", []string{"arg-not-declared:4"}},
		{"[build]\nargs = [{name = \"used\", value = \"1\"}, {name = \"unused\", value = \"1\"}]\n", []string{"arg-not-declared:0"}},
	} {
		var got []string
		for _, f := range Lint(Generated{
			Extension:   "e",
			Dockerfiles: map[Kind]Text{KindBuild: {Path: "build.Dockerfile", Content: []byte(dockerfile)}},
			Config:      &Text{Path: "extend-config.toml", Content: []byte(c.config)},
		}) {
			got = append(got, fmt.Sprintf("%s:%d", f.Rule, f.Line))
		}
		slices.Sort(got)
		want := slices.Sorted(slices.Values(c.want))
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", c.config, got, want)
		}
	}
}

// TestLintKindsElsewhere guards that an arg for a Dockerfile that lies elsewhere
// is not missed.
func TestLintKindsElsewhere(t *testing.T) {
	g := Generated{
		Extension:   "e",
		Dockerfiles: map[Kind]Text{KindBuild: {Path: "Dockerfile", Content: []byte(base)}},
		Config:      &Text{Path: "extend-config.toml", Content: []byte("[[run.args]]\nname = \"a\"\nvalue = \"1\"\n")},
	}
	if findings := Lint(g); len(findings) != 1 {
		t.Errorf("got %v", findings)
	}
	g.Elsewhere = []Kind{KindRun}
	if findings := Lint(g); len(findings) != 0 {
		t.Errorf("got %v", findings)
	}
}

// TestLintIsSilencedByComments guards that a comment takes back warnings, by
// the ids of rules and by BuildKit's names, and never an error.
func TestLintIsSilencedByComments(t *testing.T) {
	text := base + "# check=skip=instruction-discouraged\nEXPOSE 80\nEXPOSE 81\n"
	if findings := lintText(KindBuild, text, nil); len(findings) != 1 || findings[0].Line != 5 {
		t.Errorf("before an instruction: %v", findings)
	}
	for _, skip := range []string{"instruction-discouraged,legacy-key-value-format", "instruction-discouraged, LegacyKeyValueFormat", "all"} {
		text := "# check=skip=" + skip + "\n" + base + "EXPOSE 80\nENV a b\n"
		if findings := lintText(KindBuild, text, nil); len(findings) != 0 {
			t.Errorf("%s: %v", skip, findings)
		}
	}
	text = "# check=skip=all;error=true\nFROM ${base_image}\n"
	if findings := lintText(KindBuild, text, nil); len(findings) != 1 || findings[0].Rule != RuleBuildPreamble.ID {
		t.Errorf("errors: %v", findings)
	}
}

// TestFindingText guards that a finding shows its rule, the line, a caret, and
// what to write.
func TestFindingText(t *testing.T) {
	findings := lintText(KindBuild, base+"  EXPOSE 80\n", nil)
	if len(findings) != 1 {
		t.Fatal(findings)
	}
	want := "extension some/ext: build.Dockerfile:3: EXPOSE should not be used in a generated Dockerfile [instruction-discouraged]\n" +
		"   3 |   EXPOSE 80\n     |   ^^^^^^\n     = use only ADD, ARG, COPY, ENV, LABEL, RUN, SHELL, USER and WORKDIR"
	if got := findings[0].String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// FuzzLint guards that no Dockerfile can do harm, that what Parse refuses is an
// error and nothing else is, and that every finding points into the file.
func FuzzLint(f *testing.F) {
	f.Add([]byte(base+"RUN <<E bash\napt-get update && cat <<-'X' >/workspace/x\nX\nE\n"), "a", true)
	f.Add([]byte("# escape=`\nFROM a AS B\nCOPY --chown=1 a $b\nONBUILD RUN x\nUSER ${user_id}:${group_id}\nENV a ${c#d}\n"), "b", false)
	f.Add([]byte("# check=skip=all\nFROM ${a:-${b:+c}}\nRUN \"$(a `b` ')\" \\\n\nc\n"), "", false)
	f.Fuzz(func(t *testing.T, data []byte, name string, build bool) {
		kind := KindRun
		if build {
			kind = KindBuild
		}
		findings := lintText(kind, string(data), []Arg{{name, "b"}})
		refused := false
		lines := strings.Split(string(data), "\n")
		for _, f := range findings {
			if f.File == "extend-config.toml" {
				continue
			}
			refused = refused || f.Severity == SeverityError
			if f.Line < 0 || f.Line > len(lines) || f.Line > 0 && strings.TrimRight(lines[f.Line-1], "\r") != f.Source {
				t.Errorf("finding is not in the file: %+v", f)
			}
			if f.Rule == "" || f.Message == "" {
				t.Errorf("finding is not whole: %+v", f)
			}
		}
		step := Step{Extension: "e", Path: "p", Content: data}
		if config, problems := inspectConfig("e", "p", fmt.Appendf(nil, "[[%s.args]]\nname = %q\nvalue = \"b\"\n", kind, name)); len(problems) == 0 {
			step.Args = config.For(kind)
		} else {
			step.Args = nil
			if problems[0].Rule != RuleConfigSyntax.ID {
				return
			}
		}
		if _, err := Parse(kind, step); (err != nil) != refused {
			t.Errorf("lint finds errors: %v, Parse: %v", refused, err)
		}
	})
}
