package chain_test

import (
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile"
)

// A chain without a layer starts no engine, and what it says is in the
// configuration.
func TestChainWithoutALayerNeedsNoEngine(t *testing.T) {
	h := newHarness(t)
	app := dockerfile.Application{
		Kind: dockerfile.KindRun,
		Base: asLayout(t, makeBase(t, baseOptions{user: "1001:1000"})),
		Steps: steps(t, dockerfile.KindRun,
			"ARG base_image\nFROM ${base_image}\nARG user_id group_id build_id\nENV A=1=2 IDS=$user_id/$group_id/$build_id\nLABEL own=yes\n",
			from+"ENV B=${A}x\nARG user_id\nUSER ${user_id}\n"),
	}
	e := apply(t, h, app)
	if h.opened != 0 || e.applied.Layers != 0 {
		t.Errorf("opened %d engines, added %d layers", h.opened, e.applied.Layers)
	}
	want := map[string]string{
		"Env":    `["PATH=/bin","CNB_USER_ID=1001","CNB_GROUP_ID=1000","A=1=2","IDS=1001/1000/11111111-2222-3333-4444-555555555555","B=1=2x"]`,
		"Labels": `{"from":"base","io.buildpacks.rebasable":"false","own":"yes"}`,
		"User":   `"1001"`,
	}
	raw, err := e.sparse.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Config  map[string]json.RawMessage `json:"config"`
		History []map[string]any           `json:"history"`
		Created string                     `json:"created"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	for k, v := range want {
		if string(config.Config[k]) != v {
			t.Errorf("%s is %s, want %s", k, config.Config[k], v)
		}
	}
	if len(config.History) != 2 || config.Created != "1980-01-01T00:00:01Z" {
		t.Errorf("history %v, created %s", config.History, config.Created)
	}
	if got := slices.Sorted(maps.Keys(listing(t, filepath.Join(e.dir, "blobs", "sha256")))); len(got) != 3 {
		t.Errorf("blobs %v, want manifest and configuration only", got)
	}
}

// CONTRACT 4: the extended image is written also when no Dockerfile applies.
func TestNoDockerfileStillGivesAnExtendedImage(t *testing.T) {
	h := newHarness(t)
	e := apply(t, h, dockerfile.Application{
		Kind: dockerfile.KindRun,
		Base: asLayout(t, makeBase(t, baseOptions{user: "root", labels: map[string]string{"io.buildpacks.rebasable": "true"}})),
	})
	if h.opened != 0 || e.applied.Layers != 0 || e.config.Config.User != "root" {
		t.Errorf("opened %d, applied %v, config %+v", h.opened, e.applied, e.config.Config)
	}
	if got := e.config.Config.Labels["io.buildpacks.rebasable"]; got != "true" {
		t.Errorf("rebasable is %q: an image that is not extended keeps what it says", got)
	}
	if got := e.histories(); !slices.Equal(got, []string{"a shell", "accounts"}) {
		t.Errorf("history %v", got)
	}
}

// CONTRACT 7.1: user_id and group_id, wherever they come from, cost no engine
// unless the user or the group is a name.
func TestUserAndGroupIDsOfNumbers(t *testing.T) {
	for _, c := range []struct {
		user, env, want string
	}{
		{"", "", "0:1000"},
		{"root", "", "0:1000"},
		{"1001", "", "1001:1000"},
		{"1001:7", "", "1001:7"},
		{"1001:", "", "1001:1000"},
		{"1001", "CNB_GROUP_ID=", "1001:"},
		{"root", "CNB_GROUP_ID=", "0:"},
		{"0:0", "", "0:0"},
	} {
		h := newHarness(t)
		o := baseOptions{user: c.user}
		if c.env != "" {
			o.env = []string{"PATH=/bin", c.env}
		}
		e := apply(t, h, dockerfile.Application{
			Kind:  dockerfile.KindBuild,
			Base:  asLayout(t, makeBase(t, o)),
			Steps: steps(t, dockerfile.KindBuild, from+"ARG user_id group_id\nLABEL ids=$user_id:$group_id\n"),
		})
		if got := e.config.Config.Labels["ids"]; got != c.want {
			t.Errorf("User %q, %s: got %s, want %s", c.user, c.env, got, c.want)
		}
	}
}

// A name costs nothing either when no Dockerfile asks for its number.
func TestNamedUserThatNobodyAsksForCostsNothing(t *testing.T) {
	h := newHarness(t)
	e := apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{user: "cnb"})),
		Steps: steps(t, dockerfile.KindBuild, from+"ENV A=b\n"),
	})
	if h.opened != 0 || e.config.Config.User != "cnb" {
		t.Errorf("opened %d engines, user %q", h.opened, e.config.Config.User)
	}
}

// CONTRACT 7.4: rebasable only if every applied run.Dockerfile itself says so.
func TestRebasableTakesEveryDockerfileItself(t *testing.T) {
	const yes = from + "LABEL io.buildpacks.rebasable=true\n"
	for name, c := range map[string]struct {
		steps []string
		want  string
	}{
		"all":              {[]string{yes, yes}, "true"},
		"first only":       {[]string{yes, from + "ENV A=1\n"}, "false"},
		"second only":      {[]string{from + "ENV A=1\n", yes}, "false"},
		"inherited":        {[]string{from + "ENV A=1\n"}, "false"},
		"false at the end": {[]string{yes, from + "LABEL io.buildpacks.rebasable=false\n"}, "false"},
		"by variable":      {[]string{from + "ARG r=true\nLABEL io.buildpacks.rebasable=${r}\n"}, "true"},
	} {
		h := newHarness(t)
		e := apply(t, h, dockerfile.Application{
			Kind:  dockerfile.KindRun,
			Base:  asLayout(t, makeBase(t, baseOptions{user: "1001", labels: map[string]string{"io.buildpacks.rebasable": "true"}})),
			Steps: steps(t, dockerfile.KindRun, c.steps...),
		})
		if got := e.config.Config.Labels["io.buildpacks.rebasable"]; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A label that the image below triggers counted as the Dockerfile's own.
func TestRebasableByATriggerDoesNotCount(t *testing.T) {
	const yes = "LABEL io.buildpacks.rebasable=true"
	for name, c := range map[string]struct {
		build []string
		steps []string
		want  string
	}{
		"of the base":           {[]string{"ENV B=1", yes}, []string{from + "ENV A=1\n"}, "false"},
		"of an extension":       {nil, []string{from + yes + "\nONBUILD " + yes + "\n", from + "ENV A=1\n"}, "false"},
		"but that of its own":   {[]string{"LABEL io.buildpacks.rebasable=false", "ENV B=1"}, []string{from + "ARG r=true\nLABEL io.buildpacks.rebasable=$r\n"}, "true"},
		"beside other triggers": {[]string{"ENV B=1"}, []string{from + yes + "\n"}, "true"},
	} {
		h := newHarness(t)
		e := apply(t, h, dockerfile.Application{
			Kind:  dockerfile.KindRun,
			Base:  asLayout(t, makeBase(t, baseOptions{user: "1001", build: c.build})),
			Steps: steps(t, dockerfile.KindRun, c.steps...),
		})
		if got := e.config.Config.Labels["io.buildpacks.rebasable"]; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if len(c.build) > 0 && !slices.Contains(e.config.Config.Env, "B=1") || len(e.config.History) != 2 {
			t.Errorf("%s: the other triggers made %+v and %+v", name, e.config.Config.Env, e.config.History)
		}
		for _, s := range e.applied.Steps {
			for _, in := range s.Instructions {
				if in.Text == "LABEL io.buildpacks.rebasable=" {
					t.Errorf("%s: nobody wrote %s", name, in.Text)
				}
			}
		}
	}
}

// Triggers that add layers stay in their places beside it.
func TestTriggersWithLayersOfARunImage(t *testing.T) {
	h := withEngine(t)
	e := apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindRun,
		Base:  asLayout(t, makeBase(t, baseOptions{user: "1001", build: []string{"RUN echo one >/tmp/one", "LABEL io.buildpacks.rebasable=true"}})),
		Steps: steps(t, dockerfile.KindRun, from+"ENV A=1\nRUN echo two >/tmp/two\n"),
	})
	want := []string{
		"Layer: 'RUN echo one >/tmp/one', Created by extension: ext/a", "Layer: 'RUN echo two >/tmp/two', Created by extension: ext/a",
	}
	if got := e.histories()[2:]; !slices.Equal(got, want) || e.config.Config.Labels["io.buildpacks.rebasable"] != "false" {
		t.Errorf("history %q, labels %v", got, e.config.Config.Labels)
	}
	if got := e.applied.Steps[0].Instructions; got[0].Layer == nil || got[1].Layer != nil || got[2].Layer != nil || got[3].Layer == nil {
		t.Errorf("%+v", got)
	}
}

// CONTRACT 7.3: a run image must not end as root, checked before anything runs.
func TestRunImageThatEndsAsRootIsRefusedBeforeAnythingRuns(t *testing.T) {
	for name, c := range map[string]struct {
		base  string
		steps []string
		want  string
	}{
		"root":            {"1001", []string{from + "USER root\nRUN echo\n"}, `a/run.Dockerfile:3: USER "root" is root`},
		"two to the 32nd": {"1001", []string{from + "USER 4294967296\n"}, `USER "4294967296" is no number that a user can have`},
		"zero":            {"1001", []string{from + "USER 0\n"}, `USER "0" is root`},
		"zeros":           {"1001", []string{from + "USER 00:7\n"}, `USER "00:7" is root`},
		"signed":          {"1001", []string{from + "USER +0\n"}, `USER "+0" is root`},
		"with group":      {"1001", []string{from + "USER root:cnb\n"}, `USER "root:cnb" is root`},
		"by variable":     {"1001", []string{from + "ARG u=0\nUSER $u\n"}, `a/run.Dockerfile:4: USER "0" is root`},
		"blame the last":  {"1001", []string{from + "RUN echo\nUSER 0\n", from + "ENV A=1\n"}, "extension ext/a:"},
		"user_id":         {"0:0", []string{from + "ARG user_id\nUSER ${user_id}\n"}, `USER "0" is root`},
		"of the base":     {"", []string{from + "ENV A=1\n"}, `no Dockerfile sets another`},
	} {
		h := newHarness(t)
		_, err := h.Apply(t.Context(), dockerfile.Application{
			Kind:     dockerfile.KindRun,
			Base:     asLayout(t, makeBase(t, baseOptions{user: c.base})),
			Steps:    steps(t, dockerfile.KindRun, c.steps...),
			Extended: filepath.Join(t.TempDir(), "run"),
		})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "must not end as root") {
			t.Errorf("%s: %v", name, err)
		}
		if h.opened != 0 {
			t.Errorf("%s: an engine was opened", name)
		}
	}
}

// Privileges are refused before anything runs, wherever they are asked for.
func TestPrivilegesAreRefusedBeforeAnythingRuns(t *testing.T) {
	for name, c := range map[string]struct {
		trigger, step, want string
	}{
		"security": {"", from + "RUN --security=insecure true\n", "build.Dockerfile:3: RUN --security=insecure is not allowed"},
		"network":  {"", from + "ENV A=1\nRUN --network=host true\n", "build.Dockerfile:4: RUN --network=host is not allowed"},
		"device":   {"", from + "RUN --device=vendor.com/gpu=0 true\n", "RUN --device is not allowed"},
		"onbuild":  {"RUN --network=host true", from + "ENV A=1\n", "RUN --network=host is not allowed"},
	} {
		h := newHarness(t)
		o := baseOptions{user: "1001"}
		if c.trigger != "" {
			o.build = []string{c.trigger}
		}
		_, err := h.Apply(t.Context(), dockerfile.Application{
			Kind:     dockerfile.KindBuild,
			Base:     asLayout(t, makeBase(t, o)),
			Steps:    steps(t, dockerfile.KindBuild, c.step),
			Extended: filepath.Join(t.TempDir(), "build"),
		})
		var located *dockerfile.Error
		if err == nil || !errors.As(err, &located) || !strings.Contains(err.Error(), c.want) || h.opened != 0 {
			t.Errorf("%s: %v (opened %d)", name, err, h.opened)
		}
	}
}

// What does not parse is shown with file, line and caret, before anything runs.
func TestDockerfileThatDoesNotConvertIsShown(t *testing.T) {
	for name, c := range map[string]struct {
		step, want string
	}{
		"unknown instruction": {from + "RNU true\n", "build.Dockerfile:3:"},
		"bad flag":            {from + "COPY --wrong a b\n", "build.Dockerfile:3:"},
		"bad expansion":       {from + "ENV A=${B:nope}\n", "build.Dockerfile:3:"},
		"second FROM":         {from + "FROM other\n", "build.Dockerfile:3:"},
	} {
		h := newHarness(t)
		_, err := h.Apply(t.Context(), dockerfile.Application{
			Kind:     dockerfile.KindBuild,
			Base:     asLayout(t, makeBase(t, baseOptions{})),
			Steps:    steps(t, dockerfile.KindBuild, from, c.step),
			Extended: filepath.Join(t.TempDir(), "build"),
		})
		var located *dockerfile.Error
		if !errors.As(err, &located) || located.Extension != "ext/b" ||
			!strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "   3 | ") || !strings.Contains(err.Error(), "| ^^") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FROM of another image means the base in the first run.Dockerfile only.
func TestLaterDockerfileMustNotNameAnImage(t *testing.T) {
	h := newHarness(t)
	_, err := h.Apply(t.Context(), dockerfile.Application{
		Kind:  dockerfile.KindRun,
		Base:  asLayout(t, makeBase(t, baseOptions{user: "1001"})),
		Steps: steps(t, dockerfile.KindRun, "FROM one\nENV A=1\n", "FROM two\nENV B=1\n"),
	})
	if err == nil || !strings.Contains(err.Error(), "only the first Dockerfile that is applied may name an image") {
		t.Errorf("error %v", err)
	}
}

// BuildKit's findings are passed on, but for those that every extension draws.
func TestLintFindingsAreShownOnce(t *testing.T) {
	h := newHarness(t)
	apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, "# syntax=docker/dockerfile:1\n"+from+"ENV A $UNDEFINED\n"),
	})
	all := strings.Join(h.warnings, "\n")
	for _, want := range []string{
		`extension ext/a: `, `build.Dockerfile:1: the line "syntax=docker/dockerfile:1" is not followed`,
		`build.Dockerfile:4: `, "(LegacyKeyValueFormat)", "(UndefinedVar)",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning has %q:\n%s", want, all)
		}
	}
	if strings.Contains(all, "base_image") {
		t.Errorf("noise:\n%s", all)
	}
	if strings.Count(all, "UndefinedVar") != 1 {
		t.Errorf("shown more than once:\n%s", all)
	}
}

// CONTRACT 4: one history entry per layer, also for a base that has too few.
func TestHistoryHasOneEntryPerLayer(t *testing.T) {
	h := newHarness(t)
	e := apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{noHist: true})),
		Steps: steps(t, dockerfile.KindBuild, from+"ENV A=b\n"),
	})
	if got := len(e.config.History); got != 2 {
		t.Errorf("%d entries for 2 layers", got)
	}
}

// The extended image is an OCI image whatever the base is.
func TestDockerBaseGivesAnOCIImage(t *testing.T) {
	h := newHarness(t)
	e := apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{docker: true})),
		Steps: steps(t, dockerfile.KindBuild, from+"ENV A=b\n"),
	})
	m, err := e.sparse.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	types := []string{string(m.MediaType), string(m.Config.MediaType), string(m.Layers[0].MediaType)}
	want := []string{
		"application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json",
		"application/vnd.oci.image.layer.v1.tar+gzip",
	}
	if !slices.Equal(types, want) {
		t.Errorf("media types %v", types)
	}
}

// A trigger of the base with a comment in it is refused: one that is for the linter
// crashed BuildKit's parser.
func TestTriggerWithACommentIsRefused(t *testing.T) {
	h := newHarness(t)
	_, err := h.Apply(t.Context(), dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{build: []string{"# of the base\n# check=skip=all\nENV A=1"}})),
		Steps: steps(t, dockerfile.KindBuild, from+"ENV B=1\n"),
	})
	if err == nil || !strings.Contains(err.Error(), "has a comment") {
		t.Errorf("error %v", err)
	}
}
