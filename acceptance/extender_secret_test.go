package acceptance

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Values that no result, no log and no cache may hold.
const (
	secretOfFile     = "secret-of-a-file-93b1"
	secretOfVariable = "secret-of-a-variable-0c7e"
)

// A RUN reads secrets of files and of variables; they are in no layer, config,
// history, log or cache, and another value leaves what is cached as it is.
func TestSecrets(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.address == "" {
			e.state = t.TempDir()
		}
		base := smallBase(t, nil)
		s := newScene(t, "run", "oci:"+base, e)
		s.env["CNB_LOG_LEVEL"] = "debug"
		s.env["OF_VARIABLE"] = secretOfVariable
		s.write("secret", secretOfFile)
		s.step("one", "USER root",
			"RUN --mount=type=secret,id=file cat /run/secrets/file | tr a-z A-Z >/of-file",
			"RUN --mount=type=secret,id=variable,target=/there,mode=0444 --mount=type=secret,id=OF_VARIABLE,env=HERE "+
				"echo $(cat /there) $HERE | tr a-z A-Z >/of-variable",
			"RUN --mount=type=secret,id=missing test ! -e /run/secrets/missing; ls /run/secrets /there >/left 2>&1; true",
			"USER 7")
		args := []string{"-secret", "id=file,src=" + s.path("secret"), "-secret", "type=env,id=variable,env=OF_VARIABLE", "-secret", "id=OF_VARIABLE"}
		o := s.succeed(args...)
		files := s.files(openLayout(t, base))
		upper := strings.ToUpper(secretOfVariable)
		if files["of-file"] != strings.ToUpper(secretOfFile) || files["of-variable"] != upper+" "+upper+"\n" {
			t.Errorf("a RUN has read %q and %q", files["of-file"], files["of-variable"])
		}
		checkNowhere(t, s, o, e, secretOfFile, secretOfVariable)

		s.env["CNB_SECRETS"] = strings.Join([]string{"id=file,src=" + s.path("secret"), "id=variable,env=OTHER", "id=OF_VARIABLE"}, "\n")
		s.env["OTHER"] = "another value"
		before := digest(t, s.image())
		s.succeed()
		if got := digest(t, s.image()); got != before {
			t.Errorf("with another secret the image is %v, and was %v: nothing came from the cache", got, before)
		}
	})
}

// checkNowhere looks for texts in what a run said, in its results and in the
// embedded engine's state.
func checkNowhere(t *testing.T, s *scene, o outcome, e engine, texts ...string) {
	t.Helper()
	look := func(where string, data []byte) {
		for _, text := range texts {
			if bytes.Contains(data, []byte(text)) {
				t.Errorf("%s holds %q", where, text)
			}
		}
	}
	look("the log", []byte(o.String()))
	dirs := []string{s.path("layers")}
	if e.state != "" {
		dirs = append(dirs, e.state)
	}
	for _, dir := range dirs {
		seen := 0
		check(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			seen++
			look(path, data)
			if strings.Contains(path, "/blobs/") {
				look(path, gunzip(t, data))
			}
			return nil
		}))
		if seen == 0 {
			t.Errorf("there is no file in %s", dir)
		}
	}
}

// What is wrong about a -secret is said, but not what might be one.
func TestBadSecrets(t *testing.T) {
	s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
	s.step("one", "RUN true", "USER 7")
	s.write("large", strings.Repeat("x", 600<<10))
	for spec, text := range map[string]string{
		secretOfFile:                        "not of the form",
		"id=a," + secretOfFile:              "not of the form",
		"id=a,value=" + secretOfFile:        "not of the form",
		"src=/dev/null":                     "the id is missing",
		"id=a,src=/dev/null,env=PATH":       "give one",
		"id=a,env=NOT_SET":                  "NOT_SET is not set",
		"id=a,src=" + s.path("missing"):     "no such file",
		"id=a,src=" + s.path("large"):       "larger than",
		"id=a,env=PATH\nid=a,src=/dev/null": "given twice",
	} {
		s.env["CNB_SECRETS"] = spec
		o := s.fail(3, "CNB_SECRETS", text)
		if strings.Contains(o.String(), secretOfFile) {
			t.Errorf("the value is shown: %v", o)
		}
	}
}

// A secret that a RUN must have and nobody gave is named, with the way to give it.
func TestRequiredSecretIsMissing(t *testing.T) {
	s := newScene(t, "run", "oci:"+smallBase(t, nil), embedded(t))
	s.step("one", "RUN --mount=type=secret,id=wanted,required=true cat /run/secrets/wanted", "USER 7")
	s.fail(102, "extension one", "run.Dockerfile:3", "wanted", "-secret id=")
}

// A variable that is set and empty is a secret, as an empty file is: it was "not set".
func TestEmptySecrets(t *testing.T) {
	s := newScene(t, "run", "oci:"+smallBase(t, nil), embedded(t))
	s.step("one", "USER root", "RUN --mount=type=secret,id=a,required=true --mount=type=secret,id=b,required=true cd /run/secrets; test -e a; test ! -s a; test -e b; test ! -s b", "USER 7")
	s.env["EMPTY"] = ""
	s.args = append(s.args, "-secret", "id=a,env=EMPTY", "-secret", "id=b,src=/dev/null")
	s.succeed()
}
