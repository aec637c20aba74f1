package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// phases are the programs, and what each says of its flags and variables.
func phases(t *testing.T) map[string]string {
	t.Helper()
	help := map[string]string{}
	for _, phase := range []string{"detector", "generator", "extender"} {
		o := finish(t, exec.Command(filepath.Join(programs, phase), "-help"))
		if o.code != 0 {
			t.Fatalf("%s -help: %v", phase, o)
		}
		help[phase] = o.stdout
	}
	return help
}

// knows says whether a help text lists a flag or a variable.
func knows(help, name string) bool {
	return regexp.MustCompile(`(?m)^  (-[a-z-]+ .* )?`+regexp.QuoteMeta(name)+`[ ,]`).MatchString(help) ||
		regexp.MustCompile(`(?m)^  `+regexp.QuoteMeta(name)+` `).MatchString(help)
}

// documents are the files that tell people how to call the programs.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"../docs/platforms.md", "../packaging/*", "../packaging/*/*"} {
		files, err := filepath.Glob(pattern)
		check(t, err)
		for _, file := range files {
			if info, err := os.Stat(file); err != nil || info.IsDir() {
				continue
			}
			text, err := os.ReadFile(file)
			check(t, err)
			texts[strings.TrimPrefix(file, "../")] = string(text)
		}
	}
	return texts
}

var (
	variablePattern = regexp.MustCompile(`\b(CNB_[A-Z_]+|BUILDKIT_HOST)\b`)
	linkPattern     = regexp.MustCompile(`\]\((\.\./[^)#]+|[a-z/]+\.[a-z]+)\)`)
)

// What the documents tell people to set and to open is there.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	help := phases(t)
	// Of others: the community's Tekton task.
	others := []string{"CNB_BUILDER_IMAGE"}
	for file, text := range documents(t) {
		for _, found := range variablePattern.FindAllString(text, -1) {
			if !slices.Contains(others, found) && !slices.ContainsFunc([]string{"detector", "generator", "extender"}, func(phase string) bool {
				return knows(help[phase], found)
			}) {
				t.Errorf("%s names the variable %s, which no phase knows", file, found)
			}
		}
		for _, link := range linkPattern.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", filepath.Dir(file), link[1])); err != nil {
				t.Errorf("%s points at %s: %v", file, link[1], err)
			}
		}
	}
}

// Every flag with which platforms.md calls a phase is that phase's, and every one that it
// explains is one of theirs.
func TestPlatformsDocumentNamesFlags(t *testing.T) {
	help := phases(t)
	text := documents(t)["docs/platforms.md"]
	found := 0
	for phase := range help {
		calls := regexp.MustCompile(`(?m)(?:^\$|lifecycle/|`+"`"+`).*\b`+phase+` ([^`+"`"+`\n]*)`).FindAllStringSubmatch(text, -1)
		for _, call := range calls {
			for word := range strings.FieldsSeq(call[1]) {
				if !strings.HasPrefix(word, "-") {
					continue
				}
				found++
				if !knows(help[phase], word) {
					t.Errorf("%s has no flag %s", phase, word)
				}
			}
		}
	}
	for _, flag := range regexp.MustCompile("`(-[a-z][a-z-]*)").FindAllStringSubmatch(text, -1) {
		found++
		if !knows(help["detector"]+help["generator"]+help["extender"], flag[1]) {
			t.Errorf("no phase has the flag %s", flag[1])
		}
	}
	if found < 6 {
		t.Errorf("%d flags were found in docs/platforms.md: does this test still read it?", found)
	}
}

// tektonTask is what this test reads of a Tekton task.
type tektonTask struct {
	Metadata struct{ Name string }
	Spec     struct {
		Params []struct {
			Name    string
			Default *string
		}
		Workspaces []struct {
			Name     string
			Optional bool
		}
		StepTemplate struct{ Env []struct{ Name string } }
		Steps        []tektonStep
		Volumes      []struct{ Name string }
	}
}

type tektonStep struct {
	Name, Image, Script string
	Command, Args       []string
}

// The steps of the Tekton task call the phases with flags that these have, in the order
// in which the specification has the phases, and name no parameter that there is not.
func TestTektonTask(t *testing.T) {
	help := phases(t)
	text := documents(t)["packaging/tekton/task.yaml"]
	var task tektonTask
	check(t, yaml.UnmarshalStrict([]byte(text), &map[string]any{}))
	check(t, yaml.Unmarshal([]byte(text), &task))
	var order []string
	for _, step := range task.Spec.Steps {
		order = append(order, step.Name)
		if len(step.Command) == 0 {
			shell := exec.Command("sh", "-n")
			shell.Stdin = strings.NewReader(step.Script)
			if out, err := shell.CombinedOutput(); err != nil {
				t.Errorf("the script of %s: %v: %s", step.Name, err, out)
			}
			continue
		}
		text, ours := help[filepath.Base(step.Command[0])]
		for _, arg := range step.Args {
			if ours && strings.HasPrefix(arg, "-") && !knows(text, arg) {
				t.Errorf("the step %s: %s has no flag %s", step.Name, step.Command[0], arg)
			}
		}
	}
	if want := "prepare analyze detect generate restore extend-run extend-build export"; strings.Join(order, " ") != want {
		t.Errorf("the steps are %q, wanted %s", order, want)
	}
	declared := map[string]bool{}
	for _, param := range task.Spec.Params {
		declared["params."+param.Name] = true
	}
	for _, workspace := range task.Spec.Workspaces {
		declared["workspaces."+workspace.Name] = true
	}
	for _, used := range regexp.MustCompile(`\$\(((?:params|workspaces)\.[a-z-]+)`).FindAllStringSubmatch(text, -1) {
		if !declared[used[1]] {
			t.Errorf("%s is not declared", used[1])
		}
	}
	checkPipeline(t, task)
}

// checkPipeline demands that the example gives the task what it needs, and nothing else.
func checkPipeline(t *testing.T, task tektonTask) {
	t.Helper()
	type named struct{ Name string }
	var run struct {
		Spec struct {
			PipelineSpec struct {
				Tasks []struct {
					TaskRef            named
					Params, Workspaces []named
				}
			}
		}
	}
	check(t, yaml.Unmarshal([]byte(documents(t)["packaging/tekton/pipeline.yaml"]), &run))
	given := map[string]bool{}
	for _, use := range run.Spec.PipelineSpec.Tasks {
		if use.TaskRef.Name != task.Metadata.Name {
			continue
		}
		for _, param := range use.Params {
			given["param "+param.Name] = true
		}
		for _, workspace := range use.Workspaces {
			given["workspace "+workspace.Name] = true
		}
	}
	known := map[string]bool{}
	note := func(name string, required bool) {
		known[name] = true
		if required && !given[name] {
			t.Errorf("the example does not give the %s", name)
		}
	}
	for _, param := range task.Spec.Params {
		note("param "+param.Name, param.Default == nil)
	}
	for _, workspace := range task.Spec.Workspaces {
		note("workspace "+workspace.Name, !workspace.Optional)
	}
	for name := range given {
		if !known[name] {
			t.Errorf("the example gives the %s, which the task does not have", name)
		}
	}
}

// The workflow calls pack.sh with as many arguments as it wants.
func TestGitHubWorkflow(t *testing.T) {
	var workflow struct {
		Env  map[string]string
		Jobs map[string]struct{ Steps []struct{ Run string } }
	}
	check(t, yaml.Unmarshal([]byte(documents(t)["packaging/github/build.yaml"]), &workflow))
	calls := 0
	for _, step := range workflow.Jobs["build"].Steps {
		shell := exec.Command("bash", "-n")
		shell.Stdin = strings.NewReader(step.Run)
		if out, err := shell.CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", step.Run, err, out)
		}
		if after, ok := strings.CutPrefix(step.Run, "graft/packaging/pack.sh "); ok {
			calls++
			for _, name := range []string{"BUILDER", "NAME", "IMAGE"} {
				given := strings.Contains(after, `"$`+name+`"`) || strings.Contains(after, `"${`+name+`,,}"`)
				if !given || workflow.Env[name] == "" {
					t.Errorf("pack.sh is not given %s: %s", name, after)
				}
			}
		}
	}
	if calls != 1 {
		t.Errorf("pack.sh is called %d times", calls)
	}
}

// pack.sh calls docker and pack as docs/platforms.md says: programs that write down
// their arguments stand for both.
func TestPackScript(t *testing.T) {
	needProgram(t, "jq", "jq")
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	label := `{"lifecycle":{"version":"0.20.5"}}`
	for _, program := range []string{"docker", "pack"} {
		script := fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >>%s\n[ \"$1\" != inspect ] || echo '%s'\n", program, log, label)
		check(t, os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755))
	}
	check(t, os.WriteFile(filepath.Join(dir, "graft-v1-linux-amd64.tgz"), nil, 0o644))
	call := func(dist string, args ...string) outcome {
		c := exec.Command("../packaging/pack.sh", args...)
		c.Env = []string{"PATH=" + dir + ":" + searchPath(), "DIST=" + dist}
		return finish(t, c)
	}
	if o := call(dir, "vendor/builder:1", "registry.example/builder", "registry.example/app", "--path", "the app"); o.code != 0 {
		t.Fatalf("pack.sh: %v", o)
	}
	said, err := os.ReadFile(log)
	check(t, err)
	for _, want := range []string{
		"--build-arg builder=vendor/builder:1 --tag registry.example/builder " + dir,
		"--build-arg builder=docker.io/buildpacksio/lifecycle:0.20.5 --tag registry.example/builder-lifecycle " + dir,
		"docker push --quiet registry.example/builder\n",
		"pack build registry.example/app --builder registry.example/builder --lifecycle-image registry.example/builder-lifecycle" +
			" --trust-builder=false --pull-policy if-not-present --path the app\n",
	} {
		if !strings.Contains(string(said), want) {
			t.Errorf("pack.sh did not call %q:\n%s", want, said)
		}
	}
	if o := call(filepath.Join(dir, "none"), "a", "b", "c"); o.code != 1 || !strings.Contains(o.stderr, "make release") {
		t.Errorf("without a release: %v", o)
	}
	if o := call(dir, "a", "b"); o.code != 3 || !strings.Contains(o.stderr, "usage: packaging/pack.sh BUILDER NAME IMAGE") {
		t.Errorf("without arguments: %v", o)
	}
}
