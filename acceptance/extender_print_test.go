package acceptance

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// printed runs the extender with -print, which must not change anything, and returns
// what is on stdout and on stderr.
func (s *scene) printed(form string) (stdout, stderr string) {
	s.t.Helper()
	before := s.listing()
	o := s.succeed("-print", form)
	compareTrees(s.t, "before", before, "after", s.listing())
	return o.stdout, o.stderr
}

// shell runs a line of a shell in a new directory that has a Dockerfile, with buildctl
// in the PATH and the daemon's address known to it.
func (b buildctl) shell(t *testing.T, dockerfile, line string, input string) {
	t.Helper()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644))
	check(t, os.Symlink(b.program, filepath.Join(dir, "buildctl")))
	c := exec.Command("bash", "-c", line)
	c.Dir, c.Env = dir, []string{"PATH=" + dir + ":" + searchPath(), "HOME=" + dir, "BUILDKIT_HOST=" + b.daemon.address}
	c.Stdin = strings.NewReader(input)
	if o := finish(t, c); o.code != 0 {
		t.Fatalf("%s\nin\n%s\nfailed: %v", line, dockerfile, o)
	}
}

var (
	buildctlLine = regexp.MustCompile(`(?m)^#   (buildctl build .*)$`)
	inputsLine   = regexp.MustCompile(`(?m)^buildctl build needs, beside the graph: (.*)$`)
	lookedUp     = regexp.MustCompile(`(?m)^# (\w+) has to be given: the number of (user|group) "(.*)" in the image so far.$`)
)

// without leaves out the file in which it shows that a printed Dockerfile cannot hide the
// ARG of one extension from another, which it then has to say.
func without(t *testing.T, r goldenResult, text, name string) goldenResult {
	t.Helper()
	shows := map[string]struct{ file, arg string }{"chain-config": {"start/further/b", "both_arg"}}[name]
	if shows.file == "" {
		return r
	}
	if !regexp.MustCompile(`(?m)^# Unlike here, no extension sees the ARGs of another: .*\b` + shows.arg + `\b`).MatchString(text) {
		t.Errorf("that %s is seen is not said:\n%s", shows.arg, text)
	}
	var layers []map[string]string
	for _, layer := range r.layers {
		layer = maps.Clone(layer)
		delete(layer, shows.file)
		layers = append(layers, layer)
	}
	return goldenResult{layers, r.config}
}

// What -print dockerfile and -print llb give is what is done: built by BuildKit's own
// client, with the command that is told, the golden set has the same layers, and as a
// Dockerfile the same configuration.
func TestPrintedGoldenSet(t *testing.T) {
	client := newBuildctl(t)
	for _, c := range goldenSet(t) {
		t.Run(c.name, func(t *testing.T) {
			base := goldenBase(t, c)
			below := len(manifestOf(t, openLayout(t, base)).Layers)
			s := newGoldenScene(t, c, base, embedded(t))
			s.succeed()
			want := readGolden(t, openLayout(t, s.path("whole")), below)
			// Where a secret comes from is for whoever builds to say.
			withSecrets := func(line string) string {
				for id := range c.Secrets {
					line = strings.ReplaceAll(line, " --secret id="+id+",src=FILE", " --secret id="+id+",src="+s.path("secrets/"+id))
				}
				return line
			}
			s.env["BUILDKIT_HOST"] = "unix://" + s.path("no-such-socket")

			text, _ := s.printed("dockerfile")
			command := buildctlLine.FindStringSubmatch(text)
			if command == nil {
				t.Fatalf("no command is told:\n%s", text)
			}
			line := withSecrets(command[1])
			for _, arg := range lookedUp.FindAllStringSubmatch(text, -1) {
				line = strings.ReplaceAll(line, arg[1]+"=VALUE", arg[1]+"="+number(t, s.path("whole"), arg[2], arg[3]))
			}
			out := filepath.Join(t.TempDir(), "out")
			output := " --no-cache --output type=oci,tar=false,compression=uncompressed,dest=" + out
			client.shell(t, text, line+output, "")
			got := readGolden(t, openLayout(t, out), below)
			compareGolden(t, "the printed Dockerfile", without(t, got, text, c.name), "the extender", without(t, want, text, c.name))

			if o := s.run("-print", "llb"); o.code != 0 {
				if !strings.Contains(text, "has to be given") || !strings.Contains(o.stderr, "only an engine can look up") {
					t.Errorf("the graph is not printed: %v", o)
				}
				return
			}
			graph, said := s.printed("llb")
			flags := ""
			if told := inputsLine.FindStringSubmatch(said); told != nil {
				flags = " " + withSecrets(told[1])
			}
			out = filepath.Join(t.TempDir(), "out")
			output = " --no-cache --output type=oci,tar=false,compression=uncompressed,dest=" + out
			client.shell(t, "", "buildctl build"+flags+output, graph)
			got = readGolden(t, openLayout(t, out), below)
			got.config = want.config // a graph has none
			compareGolden(t, "the printed graph", got, "the extender", want)
		})
	}
}

// number looks a user or a group up in the image of a layout.
func number(t *testing.T, layout, what, name string) string {
	t.Helper()
	file := map[string]string{"user": "etc/passwd", "group": "etc/group"}[what]
	text, err := os.ReadFile(filepath.Join(unpack(t, openLayout(t, layout)), file))
	check(t, err)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(line, ":"); len(fields) > 2 && fields[0] == name {
			return fields[2]
		}
	}
	t.Fatalf("the image has no %s %q", what, name)
	return ""
}

// planScene has what a plan tells of: a user to look up, args, contexts, ENV, labels.
func planScene(t *testing.T) *scene {
	t.Helper()
	base := smallBase(t, func(config *v1.Config) {
		config.User = "cnb"
		config.OnBuild = []string{"RUN echo triggered"}
	})
	s := newScene(t, "run", "oci:"+base, engine{})
	s.step("acme/one", "ARG own user_id", "COPY sub/file /file", "RUN echo $own", "ENV ONE=1 FROM_BASE=no")
	s.write("layers/generated/acme_one/extend-config.toml", "[[run.args]]\nname = \"own\"\nvalue = \"of one\\nmore\"\n")
	s.step("two", "ENV TWO=2", "LABEL a=b io.buildpacks.rebasable=true", "USER 7:8")
	s.write("app/sub/file", "")
	return s
}

// The plan tells everything that is known without an engine, which is not looked for,
// and nothing else is on stdout.
func TestPrintPlan(t *testing.T) {
	s := planScene(t)
	s.args = append(s.args, "-output", "oci:"+s.path("whole"))
	text, said := s.printed("plan")
	if !strings.HasPrefix(text, "The run image\n") || strings.Contains(text, "Warning") || !strings.Contains(said, "Base image oci:") {
		t.Errorf("stdout:\n%s\nstderr:\n%s", text, said)
	}
	for _, want := range []string{
		`base: oci:/`, `is oci-layout.invalid/base@sha256:[0-9a-f]{64}, for linux/` + goarch + `, with 2 layers`,
		`Dockerfile 1 of 2: extension acme/one, /.*/run.Dockerfile`, `Dockerfile 2 of 2: extension two, `,
		`arg: own="of one\\nmore"`, `arg: user_id is the number of user "cnb" in the image so far, looked up when it runs`,
		`arg: build_id is another UUID in each run`, `context: /.*/app, and of it sub/file`,
		`from the image before: RUN echo triggered  \(layer 1\)`, `line 4: COPY sub/file /file  \(layer 2\)`, `line 5: RUN echo \$own  \(layer 3\)`, `line 5: USER 7:8\n`,
		`Env ONE: "1"`, `Env FROM_BASE: "no", before "yes"`, `Label io.buildpacks.rebasable: "false"`, `Label a: "b"`, `User: "7:8", before "cnb"`,
		`OnBuild is removed`, `layers: 3 are added to the base's 2`, `to: /.*/layers/extended/run, `, `to: oci:/.*/whole`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("the plan does not say %s:\n%s", want, text)
		}
	}
	again, _ := s.printed("plan")
	if text != again {
		t.Errorf("two plans of the same differ:\n%s\n%s", text, again)
	}
}

// A plan is there for both images, and for one that has nowhere to go yet.
func TestPrintPlanOfBothKinds(t *testing.T) {
	s, _ := bothScene(t, engine{})
	s.both("one", "RUN true", "USER 7")
	s.args = s.args[:2] // -kind alone
	text, _ := s.printed("plan")
	for _, want := range []string{"The build image\n", "\nThe run image\n", "layers: 1 are added", "layers: 0 are added", "engine: none is needed"} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan does not say %q:\n%s", want, text)
		}
	}
	for _, form := range []string{"dockerfile", "llb"} {
		if o := s.run("-print", form); o.code != 3 || !strings.Contains(o.stderr, "-print") {
			t.Errorf("-print %s of two images: %v", form, o)
		}
	}
}

// What is refused before an engine is opened is refused here, too; and a secret or a
// proxy's password is in none of the forms.
func TestPrintRefusesAndHides(t *testing.T) {
	s := planScene(t)
	s.write("layers/generated/two/run.Dockerfile", "ARG base_image\nFROM ${base_image}\nUSER 0\n")
	s.args = append(s.args, "-print", "plan")
	s.fail(102, "two/run.Dockerfile:3", "root")

	s = newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
	s.step("one", "RUN --mount=type=secret,id=token true", "USER 7")
	s.env["HTTP_PROXY"], s.env["TOKEN"] = "http://user:proxy-password-81@127.0.0.1:1", "the-token-4711"
	s.args = append(s.args, "-secret", "id=token,env=TOKEN")
	for _, form := range []string{"plan", "dockerfile", "llb"} {
		stdout, stderr := s.printed(form)
		for _, secret := range []string{"proxy-password-81", "the-token-4711"} {
			if strings.Contains(stdout+stderr, secret) {
				t.Errorf("%s has %s:\n%s%s", form, secret, stdout, stderr)
			}
		}
	}
}

// What one Dockerfile cannot say is refused, with the line.
func TestPrintDockerfileThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct{ one, two, says string }{
		"two contexts for ADD":        {"ADD a /a", "ADD a /b", "two/run.Dockerfile:3: ADD reads another context"},
		"escape":                      {"RUN true", "# escape=`", "escape character"},
		"here-document and a context": {"ADD a /a", "COPY a <<b /c/\nx\nb", "two/run.Dockerfile:3: COPY has files"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
			s.step("one", c.one)
			two, lines := "ARG base_image\nFROM ${base_image}\n", c.two
			if strings.HasPrefix(lines, "# ") {
				two, lines = lines+"\n"+two, ""
			}
			s.extension("two", two+lines+"\nUSER 7\n", map[string]string{"context/a": ""})
			s.write("app/a", "")
			s.args = append(s.args, "-print", "dockerfile")
			s.fail(102, c.says, "print another form")
		})
	}
}

// On a terminal the graph is text, an operation on each line.
func TestPrintLLBOnATerminal(t *testing.T) {
	needProgram(t, "script", "bsdutils")
	s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
	s.step("one", "RUN echo so", "USER 7")
	c := s.command("-print", "llb", "-log-level", "error")
	words := []string{}
	for _, arg := range c.Args {
		words = append(words, "'"+arg+"'")
	}
	on := exec.Command("script", "-qec", strings.Join(words, " "), "/dev/null")
	on.Env, on.Dir = append(c.Env, "SHELL=/bin/sh"), c.Dir
	o := finish(t, on)
	if o.code != 0 || !strings.Contains(o.stdout, `{"Op":{"Op":{"source":{"identifier":"oci-layout://`) || !strings.Contains(o.stdout, `"args":["/bin/sh","-c","echo so"]`) {
		t.Errorf("the graph is not text: %v", o)
	}
}
