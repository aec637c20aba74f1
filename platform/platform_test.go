package platform

import (
	"bytes"
	"context"
	"encoding/base64"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
)

// TestOperatorVariables guards every suffix of <build-config>/env (buildpack.md,
// "Environment Variable Modification Rules"; platform.md, "Operator-Defined
// Variables").
func TestOperatorVariables(t *testing.T) {
	dir := t.TempDir()
	for file, value := range map[string]string{
		"NONE_UNSET": "new", "NONE_SET": "new",
		"DEFAULT_UNSET.default": "new", "DEFAULT_SET.default": "new",
		"OVERRIDE.override": "new",
		"APPEND.append":     "new", "APPEND.delim": "-",
		"PREPEND.prepend": "new", "PREPEND.delim": "-",
		"BARE.append":  "new",
		"ALONE.append": "new", "ALONE.delim": "-",
		"UNKNOWN.whatever": "new",
		"KEEP":             "with newline\n",
	} {
		writeTestFile(t, filepath.Join(dir, "env", file), value)
	}
	old := map[string]string{"HOME": "/home/x"}
	vars := map[string]string{
		"NONE_SET": "old", "DEFAULT_SET": "old", "OVERRIDE": "old", "APPEND": "old", "PREPEND": "old",
		"BARE": "old", "UNKNOWN": "old", "HOME": old["HOME"],
	}
	files, err := readEnvDir(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	applyOperator(files, vars)
	want := map[string]string{
		"NONE_UNSET": "new", "NONE_SET": "old", "DEFAULT_UNSET": "new", "DEFAULT_SET": "old",
		"OVERRIDE": "new", "APPEND": "old-new", "PREPEND": "new-old", "BARE": "oldnew", "ALONE": "new",
		"UNKNOWN": "old", "KEEP": "with newline\n", "HOME": "/home/x",
	}
	if !maps.Equal(vars, want) {
		t.Errorf("got  %q\nwant %q", vars, want)
	}
}

// TestModuleEnvironment guards what modules inherit and what users and
// operators add (platform.md, "Buildpack Environment").
func TestModuleEnvironment(t *testing.T) {
	dir := t.TempDir()
	writeTestFile(t, filepath.Join(dir, "platform", "env", "PATH"), "/user/bin")
	writeTestFile(t, filepath.Join(dir, "platform", "env", "BP_X"), "user")
	writeTestFile(t, filepath.Join(dir, "config", "env", "BP_X.override"), "operator")
	own := map[string]string{"PATH": "/bin", "HOME": "/root", "HTTP_PROXY": "p", "SECRET": "s", "CNB_REGISTRY_AUTH": "a"}
	env, err := EnvSources{
		Environ:        func(name string) string { return own[name] },
		PlatformDir:    filepath.Join(dir, "platform"),
		BuildConfigDir: filepath.Join(dir, "config"),
	}.Read(Account{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		clear bool
		want  map[string]string
	}{
		{false, map[string]string{"PATH": "/user/bin:/bin", "HOME": "/root", "HTTP_PROXY": "p", "BP_X": "operator"}},
		{true, map[string]string{"PATH": "/bin", "HOME": "/root", "HTTP_PROXY": "p", "BP_X": "operator"}},
	} {
		got := env.For(c.clear)
		if !maps.Equal(got, c.want) {
			t.Errorf("clear-env %v: got %q, want %q", c.clear, got, c.want)
		}
	}
}

// TestKeychainFromVariable guards CNB_REGISTRY_AUTH (platform.md, "Registry
// Authentication"), and that no error shows what is in it.
func TestKeychainFromVariable(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	basic := base64.StdEncoding.EncodeToString([]byte("user:pa:ss"))
	keychain, err := Keychain(`{"a.example":"Basic ` + basic + `","b.example":"Bearer tok","c.example":"X-Identity id"}`)
	if err != nil {
		t.Fatal(err)
	}
	for registry, want := range map[string][4]string{
		"a.example": {"user", "pa:ss", "", ""},
		"b.example": {"", "", "tok", ""},
		"c.example": {"", "", "", "id"},
		"d.example": {},
	} {
		r, err := name.NewRegistry(registry)
		if err != nil {
			t.Fatal(err)
		}
		auth, err := keychain.Resolve(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := auth.Authorization()
		if err != nil {
			t.Fatal(err)
		}
		if have := [4]string{got.Username, got.Password, got.RegistryToken, got.IdentityToken}; have != want {
			t.Errorf("%s: got %q, want %q", registry, have, want)
		}
	}
	for _, bad := range []string{`{"a.example":"Basic topsecret!"}`, `{"a.example":"topsecret"}`, `{"a.example": topsecret}`} {
		_, err := Keychain(bad)
		if ExitCode(context.Background(), err) != CodeUsage || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestEveryFlagHasItsVariable guards that flag, variable and default work for
// every input of every program, in that order, and that -help names them.
func TestEveryFlagHasItsVariable(t *testing.T) {
	for _, p := range []program{detectorProgram, generatorProgram, extenderProgram} {
		var out bytes.Buffer
		code := p.run(context.Background(), World{Args: []string{p.name, "-help"}, Env: func(string) string { return "" }, Out: &out, Err: &out},
			func(context.Context, common) error { t.Fatal("-help runs the phase"); return nil })
		if code != CodeOK {
			t.Errorf("%s -help exits with %d", p.name, code)
		}
		for _, in := range p.inputs {
			if !strings.Contains(out.String(), "-"+in.flag) || !strings.Contains(out.String(), in.variable) {
				t.Errorf("%s -help does not name -%s or %s", p.name, in.flag, in.variable)
			}
			if in.kind == boolean || in.kind == list {
				continue
			}
			env := map[string]string{in.variable: "/from/variable"}
			lookup := func(name string) string { return env[name] }
			api, err := ParseAPI(NewestPlatformAPI, p.oldestAPI)
			if err != nil {
				t.Fatal(err)
			}
			if got := resolve(api, p.inputs, fixedFlags{}, lookup).text(in.flag); got != "/from/variable" {
				t.Errorf("%s: %s gives %q", p.name, in.variable, got)
			}
			if got := resolve(api, p.inputs, fixedFlags{in.flag: "/from/flag"}, lookup).text(in.flag); got != "/from/flag" {
				t.Errorf("%s: -%s loses against its variable: %q", p.name, in.flag, got)
			}
		}
	}
}

type fixedFlags map[string]string

func (f fixedFlags) isSet(flag string) bool { _, ok := f[flag]; return ok }

func (f fixedFlags) value(in input) (string, []string) { return f[in.flag], nil }

// TestParseTarget guards -target.
func TestParseTarget(t *testing.T) {
	for in, want := range map[string]Target{
		"linux/amd64":                 {OS: "linux", Arch: "amd64"},
		"linux/arm/v7":                {OS: "linux", Arch: "arm", Variant: "v7"},
		"linux/amd64:debian":          {OS: "linux", Arch: "amd64", Distro: Distro{Name: "debian"}},
		"linux/arm64/v8:ubuntu@24.04": {OS: "linux", Arch: "arm64", Variant: "v8", Distro: Distro{Name: "ubuntu", Version: "24.04"}},
	} {
		if got, err := ParseTarget(in); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"linux", "", "linux/", "/amd64", "a/b/c/d", "linux/amd64:"} {
		if got, err := ParseTarget(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, got)
		}
	}
}

// TestLinesAreNeverFormatStrings guards that what a module prints is passed on
// unchanged, line by line, each after the module's id.
func TestLinesAreNeverFormatStrings(t *testing.T) {
	var out bytes.Buffer
	log := &Log{Out: &out, Err: &out, Level: LevelInfo}
	w := log.Lines(LevelInfo, "some/id")
	for _, part := range []string{"100%", "s done\n%d", "\n\nlast"} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	want := "[some/id] 100%s done\n[some/id] %d\n[some/id] \n[some/id] last\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func writeTestFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
