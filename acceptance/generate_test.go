package acceptance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestGeneratorScripts tests generation in both programs that do it, the
// detector and the generator, in both layouts of generated files.
//
// A script that lacks them gets a buildpack, run.toml and layers/analyzed.toml
// from testdata/common/generator.txtar, an extension.toml for each directory
// extensions/<id>/<version>, and an order.toml with these extensions by name and
// that buildpack. Its command "generate" does the rest.
func TestGeneratorScripts(t *testing.T) { runScripts(t, "generator", fillIn) }

// fillIn adds the files that most scripts would repeat.
func fillIn(env *testscript.Env) error {
	env.Setenv("APIS", "0.12 0.13")
	env.Setenv("CNB_EXPERIMENTAL_MODE", "warn")
	common, err := txtar.ParseFile(filepath.Join("testdata", "common", "generator.txtar"))
	if err != nil {
		return err
	}
	for _, file := range common.Files {
		if err := writeMissing(filepath.Join(env.WorkDir, file.Name), file.Data); err != nil {
			return err
		}
	}
	dirs, err := filepath.Glob(filepath.Join(env.WorkDir, "extensions", "*", "*"))
	if err != nil {
		return err
	}
	order := ""
	for _, dir := range dirs {
		id, version := filepath.Base(filepath.Dir(dir)), filepath.Base(dir)
		module := fmt.Sprintf("id = %q\nversion = %q\n", id, version)
		if err := writeMissing(filepath.Join(dir, "extension.toml"), []byte("api = \"0.10\"\n[extension]\n"+module)); err != nil {
			return err
		}
		order += "[[order-extensions.group]]\n" + module
	}
	if order != "" {
		order = "[[order-extensions]]\n" + order
	}
	return writeMissing(filepath.Join(env.WorkDir, "order.toml"),
		[]byte(order+"[[order]]\n[[order.group]]\nid = \"bp\"\nversion = \"1.0.0\"\n"))
}

func writeMissing(path string, data []byte) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// generate runs generation in both programs for each Platform API of $APIS,
// and checks that each ends with the given status, 0 if none is given:
//
//   - the detector alone, which leaves its <layers> as out/<api>/detector;
//   - the detector with -skip-generate and then the generator, which leave theirs
//     as out/<api>/generator.
//
// Every run begins with a copy of the directory layers. Where both succeed, what they leave must be the same to the byte. Where
// they fail, nothing that was generated may be left. The streams of the program
// that generated are kept as out/<api>/<program>.stdout and .stderr.
func generate(ts *testscript.TestScript, neg bool, args []string) {
	want := 0
	if len(args) == 1 {
		var err error
		want, err = strconv.Atoi(args[0])
		ts.Check(err)
	}
	if neg || len(args) > 1 {
		ts.Fatalf("usage: generate [STATUS]")
	}
	layers, before := ts.MkAbs("layers"), ts.MkAbs(".layers-before")
	ts.Check(os.Rename(layers, before))
	ts.Check(os.RemoveAll(ts.MkAbs("out")))
	for _, api := range strings.Fields(ts.Getenv("APIS")) {
		ts.Setenv("CNB_PLATFORM_API", api)
		out := filepath.Join(ts.MkAbs("out"), api)
		for _, program := range []string{"detector", "generator"} {
			ts.Check(copyDir(before, layers))
			if program == "generator" {
				requireStatus(ts, 0, "detector", "-skip-generate")
			}
			requireStatus(ts, want, program)
			ts.Check(keep(ts, filepath.Join(out, program), layers))
		}
		if want == 0 {
			sameFiles(ts, filepath.Join(out, "detector"), filepath.Join(out, "generator"))
		} else {
			nothingGenerated(ts, before, out)
		}
	}
	ts.Check(os.Rename(before, layers))
}

// keep moves <layers> to dir and puts the streams of the last program beside it.
func keep(ts *testscript.TestScript, dir, layers string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	for _, stream := range []string{"stdout", "stderr"} {
		if err := os.WriteFile(dir+"."+stream, []byte(ts.ReadFile(stream)), 0o644); err != nil {
			return err
		}
	}
	return os.Rename(layers, dir)
}

// sameFiles ends the script unless two directories hold the same files.
func sameFiles(ts *testscript.TestScript, a, b string) {
	filesA, err := describe(a)
	ts.Check(err)
	filesB, err := describe(b)
	ts.Check(err)
	for _, line := range filesA {
		if !slices.Contains(filesB, line) {
			ts.Fatalf("%s has, and %s has not: %s", a, b, line)
		}
	}
	for _, line := range filesB {
		if !slices.Contains(filesA, line) {
			ts.Fatalf("%s has, and %s has not: %s", b, a, line)
		}
	}
}

// nothingGenerated ends the script if a run that failed has left something: the
// detector must leave <layers> as it was, and the generator all but what the
// detector before it wrote. An empty <generated> is nothing.
func nothingGenerated(ts *testscript.TestScript, before, out string) {
	for _, program := range []string{"detector", "generator"} {
		_ = os.Remove(filepath.Join(out, program, "generated")) // fails unless it is empty
	}
	sameFiles(ts, before, filepath.Join(out, "detector"))
	for _, file := range []string{"analyzed.toml", "generated"} {
		was, err := describe(filepath.Join(before, file))
		ts.Check(err)
		is, err := describe(filepath.Join(out, "generator", file))
		ts.Check(err)
		if !slices.Equal(was, is) {
			ts.Fatalf("the generator failed and left another %s:\n%q\nwas\n%q", file, is, was)
		}
	}
}

// requireStatus runs a program and ends the script if it ends otherwise than
// with the given status.
func requireStatus(ts *testscript.TestScript, want int, program string, args ...string) {
	got := 0
	if err := ts.Exec(program, args...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("running %s: %v", program, err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s %s with Platform API %s ended with status %d, want %d",
			program, strings.Join(args, " "), ts.Getenv("CNB_PLATFORM_API"), got, want)
	}
}

// status runs a program that must end with the given status.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status STATUS PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	requireStatus(ts, want, args[1], args[2:]...)
}

// told checks that in each run of the last generate the program said to stderr
// what matches a pattern, or negated, that none did. With -stdout it looks there.
func told(ts *testscript.TestScript, neg bool, args []string) {
	stream := "stderr"
	if len(args) == 2 && args[0] == "-stdout" {
		stream, args = "stdout", args[1:]
	}
	if len(args) != 1 {
		ts.Fatalf("usage: told [-stdout] PATTERN")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	files, err := filepath.Glob(filepath.Join(ts.MkAbs("out"), "*", "*."+stream))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("told comes after generate")
	}
	for _, file := range files {
		if said := ts.ReadFile(file); pattern.MatchString(said) == neg {
			ts.Fatalf("%s: match for %#q is %v\n%s", file, args[0], neg, said)
		}
	}
}

// same checks that two directories hold the same files, to the byte.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: same DIR DIR")
	}
	sameFiles(ts, ts.MkAbs(args[0]), ts.MkAbs(args[1]))
}

// sameTOML checks that two TOML files say the same, however they are written.
func sameTOML(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sametoml FILE FILE")
	}
	var values [2]map[string]any
	for i, file := range args {
		if _, err := toml.Decode(ts.ReadFile(file), &values[i]); err != nil {
			ts.Fatalf("%s is no TOML: %v", file, err)
		}
	}
	if !reflect.DeepEqual(alike(values[0]), alike(values[1])) {
		ts.Fatalf("%s does not say what %s says:\n%s", args[0], args[1], ts.ReadFile(args[0]))
	}
}

// alike is a decoded value without a trace of how it was written: a list of
// tables has another type in Go when it stood in brackets.
func alike(value any) any {
	switch value := value.(type) {
	case map[string]any:
		table := map[string]any{}
		for key, v := range value {
			table[key] = alike(v)
		}
		return table
	case []map[string]any:
		list := []any{}
		for _, v := range value {
			list = append(list, alike(v))
		}
		return list
	case []any:
		list := []any{}
		for _, v := range value {
			list = append(list, alike(v))
		}
		return list
	}
	return value
}
