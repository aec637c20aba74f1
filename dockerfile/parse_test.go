package dockerfile

import (
	"errors"
	"strings"
	"testing"
)

func parseText(kind Kind, text string, args ...Arg) (*File, error) {
	return Parse(kind, Step{Extension: "some/ext", Path: string(kind) + ".Dockerfile", Content: []byte(text), Args: args})
}

// TestBaseInEverySpelling guards that FROM may name the base image in any
// spelling that the Dockerfile language has for it (image_extension.md,
// "Dockerfile Requirements").
func TestBaseInEverySpelling(t *testing.T) {
	for _, text := range []string{
		"ARG base_image\nFROM ${base_image}\n",
		"ARG base_image\nFROM $base_image\n",
		"ARG base_image\nFROM \"${base_image}\"\n",
		"ARG base_image=scratch\nFROM ${base_image:-alpine} AS x\n",
		"arg base_image\nfrom --platform=linux/amd64 ${base_image}\nRUN true",
		"# escape=`\n# a comment\n\nARG base_image other=1\nARG more\nFROM `\n  ${base_image}\n",
		"ARG base_image\nARG alias=${base_image}\nFROM ${alias}\n",
	} {
		for _, kind := range []Kind{KindBuild, KindRun} {
			if f, err := parseText(kind, text); err != nil || !f.Base || f.Image != "" {
				t.Errorf("%s, %q: got %+v, %v", kind, text, f, err)
			}
		}
	}
}

// TestRunImageIsExpanded guards that the name of another run image is expanded
// with the global args, where the extension's own win over defaults.
func TestRunImageIsExpanded(t *testing.T) {
	hex := strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		"FROM debian:12\n":                                         "debian:12",
		"ARG tag=12\nFROM debian:${tag}\n":                         "debian:12",
		"ARG given=12\nFROM debian:${given}\n":                     "debian:13",
		"ARG given\nFROM debian:${given}\n":                        "debian:13",
		"FROM debian:${given:-11}\n":                               "debian:11",
		"ARG base_image\nFROM debian@sha256:" + hex + "\nRUN true": "debian@sha256:" + hex,
	} {
		f, err := parseText(KindRun, text, Arg{"given", "13"})
		if err != nil || f.Base || f.Image != want {
			t.Errorf("%q: got %+v, %v, want %s", text, f, err, want)
		}
	}
}

// TestRefused guards what a generated Dockerfile must not be, and that every
// refusal names extension, file and line, shows the line, and points at it.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		text string
		line string
		want string
	}{
		{KindBuild, "FROM ${base_image}\n", "FROM ${base_image}", "must begin with `ARG base_image`"},
		{KindBuild, "ARG other\nARG base_image\nFROM ${base_image}\n", "ARG other", "must begin with `ARG base_image`"},
		{KindBuild, "ARG base_image\nFROM debian\n", "FROM debian", "did a shell expand it"},
		{KindBuild, "ARG base_image\nFROM ${base_image}\nRUN true\n  FROM scratch\n", "  FROM scratch", "second FROM"},
		{KindRun, "ARG base_image\nFROM $base_image\nFROM $base_image", "FROM $base_image", "second FROM"},
		{KindRun, "FROM ${missing}\n", "FROM ${missing}", "names no image"},
		{KindRun, "ARG base_image\nFROM x/${base_image}\n", "FROM x/${base_image}", "only a part of the name"},
		{KindRun, "FROM scratch\n", "FROM scratch", "no image that a registry has"},
		{KindRun, "ARG tag\nFROM one:${tag}\n", "FROM one:${tag}", "cannot be an image"},
		{KindRun, "FROM debian\nRUNN true\n", "RUNN true", "unknown instruction"},
		{KindRun, "FROM debian\nCOPY one\n", "COPY one", "COPY requires at least two arguments"},
		{KindRun, "", "", "no instructions"},
		{KindRun, "ARG x=1\n", "", "there is no FROM"},
	} {
		_, err := parseText(c.kind, c.text)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: error %v is no *Error", c.text, err)
			continue
		}
		for _, part := range []string{"some/ext", string(c.kind) + ".Dockerfile", c.want, c.line} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %q does not say %q", c.text, err, part)
			}
		}
		if c.line != "" && (e.Source != c.line || !strings.Contains(err.Error(), "| "+strings.Repeat(" ", len(c.line)-len(strings.TrimLeft(c.line, " ")))+"^")) {
			t.Errorf("%q: points at %q:\n%v", c.text, e.Source, err)
		}
	}
}

// TestDiscouragedInstructionsWarn guards the instructions that a generated
// Dockerfile should not use.
func TestDiscouragedInstructionsWarn(t *testing.T) {
	f, err := parseText(KindRun, "FROM debian\nADD a b\nARG c\nCOPY a b\nENV a=b\nLABEL a=b\nRUN true\nSHELL [\"sh\"]\nUSER u\nWORKDIR /\nEXPOSE 80\nENTRYPOINT x\n")
	if err != nil {
		t.Fatal(err)
	}
	if f.Instructions != 11 || len(f.Warnings) != 2 || f.Warnings[0].Line != 11 || !strings.Contains(f.Warnings[1].Error(), "ENTRYPOINT") {
		t.Errorf("got %d instructions, warnings %v", f.Instructions, f.Warnings)
	}
}

// TestExtendConfig guards the rules for args (image_extension.md,
// "extend-config.toml").
func TestExtendConfig(t *testing.T) {
	config, err := ParseExtendConfig("e", "extend-config.toml", []byte("[[build.args]]\nname=\"a\"\nvalue=\"1\"\n[[run.args]]\nname=\"b\"\nvalue=\"\"\n[other]\nx=1\n"))
	if err != nil || len(config.For(KindBuild)) != 1 || config.For(KindRun)[0] != (Arg{"b", ""}) {
		t.Errorf("got %+v, %v", config, err)
	}
	for text, want := range map[string]string{
		"[[build.args]]\nvalue=\"1\"\n":                    "has no name",
		"[[run.args]]\nname=\"base_image\"\nvalue=\"1\"\n": "reserved",
		"[[build.args]]\nname=\"group_id\"\nvalue=\"1\"\n": "reserved",
		"[[build.args]]\nname=\"a\"\nvalue=1\n":            "extend-config.toml:3: ",
		"[[build.args]\n":                                  "extend-config.toml:2: ",
		"[build]\nargs = \"a\"\n":                          "extend-config.toml:2: ",
	} {
		_, err := ParseExtendConfig("some/ext", "extend-config.toml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "some/ext") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzParse guards that no Dockerfile can do harm, that every refusal is an
// *Error, and that what is accepted has one FROM.
func FuzzParse(f *testing.F) {
	f.Add([]byte("ARG base_image\nFROM ${base_image}\nRUN <<E\ntrue\nE\n"), true)
	f.Add([]byte("# escape=`\nFROM a\nCOPY --chown=1 a b\nONBUILD RUN x\n"), false)
	f.Add([]byte("FROM ${a:-${b:+c}}\n"), false)
	f.Fuzz(func(t *testing.T, data []byte, build bool) {
		kind := KindRun
		if build {
			kind = KindBuild
		}
		file, err := Parse(kind, Step{Extension: "e", Path: "p", Content: data, Args: []Arg{{"a", "b"}}})
		var e *Error
		switch {
		case err != nil && !errors.As(err, &e):
			t.Errorf("error %v is no *Error", err)
		case err == nil && file.Base == (file.Image != ""):
			t.Errorf("neither base nor image, or both: %+v", file)
		}
	})
}

// FuzzExtendConfig guards extend-config.toml likewise.
func FuzzExtendConfig(f *testing.F) {
	f.Add([]byte("[[build.args]]\nname=\"a\"\nvalue=\"1\"\n[[run.args]]\nname=\"b\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := ParseExtendConfig("e", "p", data)
		if err != nil {
			return
		}
		for _, kind := range []Kind{KindBuild, KindRun} {
			for _, a := range config.For(kind) {
				if a.Name == "" || reserved[a.Name] {
					t.Errorf("accepted %+v", a)
				}
			}
		}
	})
}

// TestShownLineIsHarmless guards that a line of an untrusted file neither floods
// a log nor reaches a terminal's controls.
func TestShownLineIsHarmless(t *testing.T) {
	_, err := parseText(KindRun, "FROM debian\nNONSENSE\x1b[31m"+strings.Repeat("x", 100000)+"\n")
	if err == nil || len(err.Error()) > 3000 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("got %d bytes: %.300q", len(err.Error()), err)
	}
}

// A comment that is for BuildKit's linter crashed its parser, wherever it stands.
func TestParseCommentsForTheLinter(t *testing.T) {
	const comment = "# check=skip=all\n"
	lines := []string{"ARG base_image\n", "FROM ${base_image}\n", "RUN true\n", "no instruction\n", "none either\n"}
	for n := range lines {
		for _, valid := range []bool{true, false} {
			all := lines
			if valid {
				all = lines[:3]
			}
			content := "# a comment\n"
			for m, line := range all {
				if m == n {
					content += comment
				}
				content += line
			}
			_, err := Parse(KindBuild, Step{Extension: "x", Path: "build.Dockerfile", Content: []byte(content)})
			if (err == nil) != valid {
				t.Errorf("%q: %v", content, err)
			}
		}
	}
}
