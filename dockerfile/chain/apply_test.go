package chain_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile"
)

const from = "ARG base_image\nFROM ${base_image}\n"

// CONTRACT 7.1: each Dockerfile is applied on the result of the one before, and
// all are solved at once.
func TestEveryDockerfileExtendsTheResultOfTheOneBefore(t *testing.T) {
	h := withEngine(t)
	e := apply(t, h, dockerfile.Application{
		Kind: dockerfile.KindBuild,
		Base: asLayout(t, makeBase(t, baseOptions{user: "1001:1000"})),
		Steps: steps(t, dockerfile.KindBuild,
			from+"USER root\nRUN echo one > /one\nENV ONE=1=2\nWORKDIR /place\n",
			from+"RUN test \"$ONE\" = 1=2 && cat /one > two && echo more >> two\nUSER 1001:1000\n",
		),
	})
	if got := e.content(t, "/place/two"); got != "one\nmore\n" {
		t.Errorf("/place/two is %q", got)
	}
	if e.config.Config.User != "1001:1000" || !slices.Contains(e.config.Config.Env, "ONE=1=2") {
		t.Errorf("config %+v", e.config.Config)
	}
	if h.opened != 1 || e.applied.Layers != 3 {
		t.Errorf("opened %d engines, added %d layers; want 1 and 3", h.opened, e.applied.Layers)
	}
}

// CONTRACT 7.1: the args are base_image, build_id, user_id, group_id, then the
// extension's own; an ARG is not seen by the Dockerfile after.
func TestArgsReachTheirDockerfileAndNoOther(t *testing.T) {
	h := withEngine(t)
	app := dockerfile.Application{
		Kind: dockerfile.KindBuild,
		Base: asLayout(t, makeBase(t, baseOptions{user: "1001:1000"})),
		Steps: steps(t, dockerfile.KindBuild,
			"ARG base_image\nFROM ${base_image}\nARG base_image build_id user_id group_id own\nUSER root\n"+
				"RUN echo $base_image $build_id $user_id $group_id $own > /args\n",
			from+"USER root\nRUN echo \"<$build_id$own$user_id>\" > /leaked\n",
		),
	}
	app.Steps[0].Args = []dockerfile.Arg{{Name: "own", Value: "a=b c"}}
	e := apply(t, h, app)
	got := e.content(t, "/args")
	if !strings.HasSuffix(got, " 11111111-2222-3333-4444-555555555555 1001 1000 a=b c\n") || !strings.Contains(got, "@sha256:") {
		t.Errorf("args are %q", got)
	}
	if got := e.content(t, "/leaked"); got != "<>\n" {
		t.Errorf("the second Dockerfile sees %q of the first one's args", got)
	}
}

// CONTRACT 7.1: a user by name is looked up in the image so far.
func TestNamedUserIsLookedUpInTheImageSoFar(t *testing.T) {
	h := withEngine(t)
	e := apply(t, h, dockerfile.Application{
		Kind: dockerfile.KindBuild,
		Base: asLayout(t, makeBase(t, baseOptions{user: "cnb:staff"})),
		Steps: steps(t, dockerfile.KindBuild,
			from+"ARG user_id group_id\nUSER root\nRUN echo $user_id:$group_id > /base-user; echo late:x:77:78::/:/bin/sh >> /etc/passwd\nUSER late\n",
			from+"ARG user_id group_id\nUSER root\nRUN echo $user_id:$group_id > /next-user\nUSER ${user_id}:${group_id}\n",
		),
	})
	if got := e.content(t, "/base-user"); got != "1001:50\n" {
		t.Errorf("of the base: %q", got)
	}
	if got := e.content(t, "/next-user"); got != "77:1000\n" {
		t.Errorf("of the image so far: %q", got)
	}
	if e.config.Config.User != "77:1000" {
		t.Errorf("the image ends with user %q", e.config.Config.User)
	}
}

func TestUserThatTheImageDoesNotHaveIsNamed(t *testing.T) {
	h := withEngine(t)
	_, err := h.Apply(t.Context(), dockerfile.Application{
		Kind:     dockerfile.KindBuild,
		Base:     asLayout(t, makeBase(t, baseOptions{user: "nobody-here"})),
		Steps:    steps(t, dockerfile.KindBuild, from+"ARG user_id\nENV U=${user_id}\n"),
		Extended: filepath.Join(t.TempDir(), "build"),
	})
	if err == nil || !strings.Contains(err.Error(), `/etc/passwd has no "nobody-here"`) {
		t.Errorf("error %v", err)
	}
}

// CONTRACT 7.1: the context is the step's own, and .dockerignore is honoured.
func TestContextsAreSeparateAndHonourDockerignore(t *testing.T) {
	h := withEngine(t)
	app := dockerfile.Application{
		Kind: dockerfile.KindBuild,
		Base: asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild,
			from+"COPY . /one/\n",
			from+"COPY file sub* /two/\nADD --chown=1001:1000 file /owned\n",
			from+"RUN --mount=type=bind,target=/ctx cat /ctx/file > /bound; test ! -e /ctx/secret\n",
		),
	}
	for n, s := range app.Steps {
		write(t, filepath.Join(s.Context, "file"), s.Extension)
		write(t, filepath.Join(s.Context, "secret"), "ignored")
		write(t, filepath.Join(s.Context, "sub", "kept"), "k")
		if n != 1 {
			write(t, filepath.Join(s.Context, ".dockerignore"), "# a comment\nsecret\nsub/*\n!sub/kept\n")
		}
	}
	e := apply(t, h, app)
	for name, want := range map[string]string{
		"/one/file": "ext/a", "/one/sub/kept": "k", "/two/file": "ext/b", "/two/kept": "k", "/bound": "ext/c",
	} {
		if got := e.content(t, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, ok := e.files["/one/secret"]; ok {
		t.Error("an ignored file was copied")
	}
	if n := e.files["/owned"]; n.uid != 1001 || n.gid != 1000 {
		t.Errorf("/owned belongs to %d:%d", n.uid, n.gid)
	}
	if n := e.files["/one/file"]; n.uid != 0 || n.gid != 0 {
		t.Errorf("/one/file belongs to %d:%d", n.uid, n.gid)
	}
}

const languageA = from + `SHELL ["/bin/sh", "-e", "-c"]
RUN <<EOF
echo first > /heredoc
echo $TRIGGERED >> /heredoc
EOF
COPY <<-"EOF" /copied
	as $it is
EOF
ONBUILD RUN echo from-a > /onbuild
`

const languageB = from + `RUN --mount=type=cache,target=/var/cache/x echo cached > /var/cache/x/y && cat /var/cache/x/y > /cache \
  && test -e /onbuild
RUN --mount=type=tmpfs,target=/scratch echo gone > /scratch/file
RUN --mount=type=secret,id=token,target=/run/token test "$(cat /run/token)" = s3cret && echo ok > /secret-seen
`

// Heredocs, SHELL, ONBUILD and mounts work as in any Dockerfile, and the history
// names the instruction behind each layer.
func TestDockerfileLanguageWorks(t *testing.T) {
	h := withEngine(t)
	h.Secrets = map[string][]byte{"token": []byte("s3cret")}
	e := apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{build: []string{"RUN echo triggered > /trigger", "ENV TRIGGERED=yes"}})),
		Steps: steps(t, dockerfile.KindBuild, languageA, languageB),
	})
	for name, want := range map[string]string{
		"/trigger": "triggered\n", "/heredoc": "first\nyes\n", "/copied": "as $it is\n",
		"/onbuild": "from-a\n", "/cache": "cached\n", "/secret-seen": "ok\n",
	} {
		if got := e.content(t, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, n := range e.files {
		if name == "/scratch/file" || name == "/var/cache/x/y" || name == "/run/token" && n.content != "" {
			t.Errorf("%s is in the image", name)
		}
	}
	if len(e.config.Config.OnBuild) != 0 {
		t.Errorf("triggers left: %v", e.config.Config.OnBuild)
	}
	want := []string{
		"a shell", "accounts",
		"Layer: 'RUN echo triggered > /trigger', Created by extension: ext/a",
		"Layer: 'RUN <<EOF', Created by extension: ext/a",
		"Layer: 'COPY <<-\"EOF\" /copied', Created by extension: ext/a",
		"Layer: 'RUN echo from-a > /onbuild', Created by extension: ext/b",
	}
	if got := e.histories(); len(got) != 9 || !slices.Equal(got[:len(want)], want) {
		t.Errorf("history is\n%s", strings.Join(got, "\n"))
	}
}

// CONTRACT 7.1: the FROM of the first run.Dockerfile stands for the base,
// whatever it names.
func TestFirstRunDockerfileMayNameAnyImage(t *testing.T) {
	h := withEngine(t)
	e := apply(t, h, dockerfile.Application{
		Kind: dockerfile.KindRun,
		Base: asLayout(t, makeBase(t, baseOptions{user: "1001:1000"})),
		Steps: steps(t, dockerfile.KindRun,
			"ARG tag=9\nFROM nowhere.invalid/run/image:${tag}\nUSER 0\nRUN cat /etc/group > /got\nUSER 1001\n",
			from+"USER 0\nRUN cat /got > /got2\nUSER 1001\n"),
	})
	if !strings.Contains(e.content(t, "/got2"), "staff:x:50:") {
		t.Error("the base was not used")
	}
}

// CONTRACT 7.5: added layers are told by position, not by digest.
func TestLayersThatEqualLayersOfTheBaseAreToldByPosition(t *testing.T) {
	h := withEngine(t)
	// The first RUN leaves the directories that it was mounted things at; one
	// that changes nothing makes the empty layer. Let the base have it.
	first := apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"RUN true\nRUN true\n"),
	})
	e := apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, first.whole),
		Steps: steps(t, dockerfile.KindBuild, from+"RUN true\nRUN echo x > /x\nRUN true\n"),
	})
	m, err := e.sparse.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Layers) != 7 || m.Layers[3].Digest != m.Layers[4].Digest || m.Layers[4].Digest != m.Layers[6].Digest {
		t.Errorf("layers %v", m.Layers)
	}
	if e.applied.Layers != 3 || len(e.config.History) != 7 {
		t.Errorf("%d layers added, history %v", e.applied.Layers, e.histories())
	}
	if _, err := os.Stat(filepath.Join(e.dir, "blobs", "sha256", m.Layers[4].Digest.Hex)); err != nil {
		t.Error("an added layer is missing from the extended image")
	}
}

// The same input gives the same image, and build_id is in nothing that does not
// ask for it.
func TestSameInputGivesTheSameManifest(t *testing.T) {
	h := withEngine(t)
	base := asLayout(t, makeBase(t, baseOptions{}))
	app := dockerfile.Application{Kind: dockerfile.KindBuild, Base: base, Steps: steps(t, dockerfile.KindBuild, from+"RUN echo x > /x\n")}
	one := apply(t, h, app)
	two := apply(t, h, app)
	if one.applied.Manifest != two.applied.Manifest || one.applied.Layers != 1 {
		t.Errorf("%s and then %s", one.applied.Manifest, two.applied.Manifest)
	}
	if got := one.config.Created.UTC().Format("2006-01-02T15:04:05Z"); got != "1980-01-01T00:00:01Z" {
		t.Errorf("created %s", got)
	}
}

// Vertices are named after the extension that they belong to, and so are groups of them
// that make up an instruction.
func TestProgressNamesTheExtension(t *testing.T) {
	h := withEngine(t)
	all := steps(t, dockerfile.KindBuild, from+"RUN echo progress-test\nCOPY --link file /linked\n")
	if err := os.WriteFile(filepath.Join(all[0].Context, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: all,
	})
	for _, want := range []string{"[ext/a] RUN echo progress-test", "[ext/a] COPY --link file /linked"} {
		if got := h.progress.String(); !strings.Contains(got, want) {
			t.Errorf("progress does not name the extension of %s:\n%s", want, got)
		}
	}
}

// Machine-readable progress is JSON, a line each, and goes to the given writer.
func TestRawProgressIsJSON(t *testing.T) {
	h := withEngine(t)
	h.Progress.Mode = "rawjson"
	apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"RUN echo raw\n"),
	})
	d := json.NewDecoder(&h.progress)
	vertices := 0
	for d.More() {
		var status struct {
			Vertexes []struct{ Name string } `json:"vertexes"`
		}
		if err := d.Decode(&status); err != nil {
			t.Fatal(err)
		}
		vertices += len(status.Vertexes)
	}
	if vertices < 2 {
		t.Errorf("%d vertices", vertices)
	}
	h.Progress.Mode = "loud"
	_, err := h.Apply(t.Context(), dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"RUN echo loud\n"),
	})
	if err == nil || !strings.Contains(err.Error(), "loud") {
		t.Errorf("a mode that does not exist: %v", err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
