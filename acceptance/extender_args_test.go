package acceptance

import (
	"regexp"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// showArgs is a RUN that writes down the args that a Dockerfile got.
const showArgs = `RUN echo "$user_id|$group_id|$build_id|$base_image|$own|$other" >`

const declareArgs = "ARG user_id group_id build_id base_image own other=default"

// Each Dockerfile is given the numbers of the user that the image before it ends
// with (image_extension.md, "Phase: Extension"; a name is looked up in that image).
func TestUserArgs(t *testing.T) {
	cases := []struct {
		name     string
		user     string // of the base
		groupEnv string // CNB_GROUP_ID of the base
		lines    []string
		want     string
	}{
		{name: "numbers", user: "1001:1000", want: "1001|1000"},
		{name: "names", user: "daemon:staff", groupEnv: "77", want: "7|50"},
		{name: "name and number", user: "cnb:5", want: "1001|5"},
		{name: "name without a group", user: "cnb", groupEnv: "77", want: "1001|77"},
		{name: "number without a group", user: "4321", groupEnv: "77", want: "4321|77"},
		{name: "no group anywhere", user: "4321", want: "4321|"},
		{name: "none", user: "", groupEnv: "77", want: "0|77"},
		{name: "root", user: "root", groupEnv: "77", want: "0|77"},
		{name: "root and no group anywhere", user: "root", want: "0|"},
		{name: "set by the Dockerfile before", user: "1:2", lines: []string{"USER 33:44"}, want: "33|44"},
		{name: "account that the Dockerfile before made", user: "1:2", want: "555|666", lines: []string{
			"USER root", "RUN echo new:x:555:9:::/bin/sh >>/etc/passwd; echo news:x:666: >>/etc/group", "USER new:news",
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			base := smallBase(t, func(config *v1.Config) {
				config.User = c.user
				if c.groupEnv != "" {
					config.Env = append(config.Env, "CNB_GROUP_ID="+c.groupEnv)
				}
			})
			s := newScene(t, "run", "oci:"+base, embedded(t))
			if c.lines != nil {
				s.step("first", c.lines...)
			}
			s.step("second", declareArgs, "USER 0", showArgs+"/args", "USER 9")
			s.succeed()
			got := s.files(openLayout(t, base))["args"]
			if fields := strings.Split(got, "|"); len(fields) < 2 || fields[0]+"|"+fields[1] != c.want {
				t.Errorf("the args are %q, wanted %q first", got, c.want)
			}
		})
	}
}

var uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// build_id is one UUID for all Dockerfiles of a run, and another one in the next;
// an extension's own args reach its Dockerfile alone.
func TestBuildIDAndOwnArgs(t *testing.T) {
	base := smallBase(t, nil)
	s := newScene(t, "run", "oci:"+base, embedded(t))
	dockerfile := "ARG base_image\nFROM ${base_image}\n" + declareArgs + "\nUSER 0\n" + showArgs + "/args-%\nUSER 9\n"
	s.extension("a", strings.ReplaceAll(dockerfile, "%", "a"), map[string]string{"extend-config.toml": `
[[run.args]]
name = "own"
value = "for run, $HOME 'quoted'"
[[build.args]]
name = "other"
value = "for build"
`})
	s.extension("b", strings.ReplaceAll(dockerfile, "%", "b"), nil)

	var ids []string
	for range 2 {
		s.succeed()
		files := s.files(openLayout(t, base))
		a, b := strings.Split(strings.TrimSpace(files["args-a"]), "|"), strings.Split(strings.TrimSpace(files["args-b"]), "|")
		if len(a) != 6 || len(b) != 6 {
			t.Fatalf("the args are %q and %q", a, b)
		}
		if a[4] != "for run, $HOME 'quoted'" || a[5] != "default" {
			t.Errorf("a's own args are %q", a[4:])
		}
		if b[4] != "" || b[5] != "default" {
			t.Errorf("b has none of its own, and was given %q", b[4:])
		}
		if !uuidPattern.MatchString(a[2]) || a[2] != b[2] {
			t.Errorf("build_id is %q in one and %q in the other", a[2], b[2])
		}
		if a[3] == "" {
			t.Error("base_image is empty")
		}
		ids = append(ids, a[2])
	}
	if ids[0] == ids[1] {
		t.Errorf("two runs have the build_id %s", ids[0])
	}
}

// What an ARG of one Dockerfile says is nothing to the next, and what ENV says is.
func TestOnlyTheConfigLasts(t *testing.T) {
	base := smallBase(t, nil)
	s := newScene(t, "run", "oci:"+base, embedded(t))
	s.step("a", "ARG leaked=yes", "ENV kept=${leaked}", "WORKDIR /data", `SHELL ["/bin/sh", "-ec"]`, "USER 0", "RUN true")
	s.step("b", `RUN echo "$leaked|$kept|$PWD|$FROM_BASE" >/result`, "USER 9")
	s.succeed()
	if got := s.files(openLayout(t, base))["result"]; got != "|yes|/data|yes\n" {
		t.Errorf("the second Dockerfile sees %q", got)
	}
}
