package platform

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// parsers are the readers of every TOML file of the contract.
var parsers = map[string]func(path string) error{
	"order":    func(path string) error { _, err := ReadOrder(path); return err },
	"system":   func(path string) error { _, err := ReadSystem(path); return err },
	"group":    func(path string) error { _, err := ReadGroup(path); return err },
	"run":      func(path string) error { _, _, err := ReadRunFile(path); return err },
	"plan":     func(path string) error { _, err := ParsePlan(path, mustRead(path)); return err },
	"analyzed": func(path string) error { _, err := ParseAnalyzed(path, mustRead(path)); return err },
}

func mustRead(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return data
}

// TestMalformedFileNamesFileAndLine guards that a person who gets the error
// knows where to look.
func TestMalformedFileNamesFileAndLine(t *testing.T) {
	for what, parse := range parsers {
		path := filepath.Join(t.TempDir(), what+".toml")
		if err := os.WriteFile(path, []byte("# a comment\n\nkey = = 1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		err := parse(path)
		var file *FileError
		if !errors.As(err, &file) {
			t.Errorf("%s: error is no FileError: %v", what, err)
			continue
		}
		if file.Line != 3 || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%s: error names neither file nor line: %v", what, err)
		}
	}
}

// TestWrongTypeNamesLine guards the same for a value of the wrong type.
func TestWrongTypeNamesLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "order.toml")
	if err := os.WriteFile(path, []byte("[[order]]\n[[order.group]]\nid = 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := ReadOrder(path)
	var file *FileError
	if !errors.As(err, &file) || file.Line != 3 || strings.Count(err.Error(), "line 3") != 1 {
		t.Errorf("got %v", err)
	}
}

// TestWrongTypeIsSaidInWordsOfTheFile guards against a bug: a value of the wrong type
// was told with Go's types, a struct with all its tags among them, and not with what
// the file should have there.
func TestWrongTypeIsSaidInWordsOfTheFile(t *testing.T) {
	order := func(path string) error { _, err := ReadOrder(path); return err }
	system := func(path string) error { _, err := ReadSystem(path); return err }
	group := func(path string) error { _, err := ReadGroup(path); return err }
	for content, c := range map[string]struct {
		read func(string) error
		want string
	}{
		"system = 1\n":                                 {system, "line 1: system: expected a table, found a whole number"},
		"[system]\npre = [\"a\"]\n":                    {system, "line 2: system.pre: expected a table, found a list"},
		"[[order]]\ngroup = 'a'\n":                     {order, "line 2: order.group: expected a list, found text in quotes"},
		"[[order]]\n[order.group]\nid = 'a'\n":         {order, "order.group: expected a list, found a table"},
		"[[order]]\n[[order.group]]\noptional = 'y'\n": {order, "line 3: order.group.optional: expected true or false, found text in quotes"},
		"[[order]]\n[[order.group]]\nexec-env = 1.5\n": {order, "line 3: exec-env must be a list of execution environments"},
		"order = 2026-01-01\n":                         {order, "line 1: order: expected a list, found a date or a time"},
		"[[group]]\nid = [1]\n":                        {group, "line 2: group.id: expected text in quotes, found a list"},
	} {
		path := filepath.Join(t.TempDir(), "file.toml")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		err := c.read(path)
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", content, err, c.want)
		}
	}
}

// TestAnalyzedKeepsUnknownKeys guards that what other phases wrote survives a
// switch of the run image (platform.md, "analyzed.toml").
func TestAnalyzedKeepsUnknownKeys(t *testing.T) {
	a, err := ParseAnalyzed("analyzed.toml", []byte(`
[image]
reference = "r"
[metadata]
list = [1, 2]
when = 1979-05-27T07:32:00Z
[run-image]
image = "one"
reference = "one@sha256:1"
own = "kept"
[run-image.target]
os = "linux"
`))
	if err != nil {
		t.Fatal(err)
	}
	a.SwitchRunImage("two")
	a.SetRunExtend(true)
	a.SetBuildExtend(false)
	got, err := a.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	want := `[build-image]
extend = false

[image]
reference = "r"

[metadata]
list = [1, 2]
when = 1979-05-27T07:32:00Z

[run-image]
extend = true
image = "two"
own = "kept"
reference = "two"
`
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestWithoutExtensionsKeepsTheRest guards the filtered plan: only entries that
// an extension provides go (platform.md, "detector", "SHALL filter the build
// plan").
func TestWithoutExtensionsKeepsTheRest(t *testing.T) {
	got, err := WithoutExtensions([]byte(`
own = 1
[[entries]]
[[entries.providers]]
id = "ext"
version = "1"
extension = true
[[entries.requires]]
name = "taken"
[[entries]]
[[entries.providers]]
id = "bp"
version = "1"
[[entries.requires]]
name = "left"
[entries.requires.metadata]
deep = {a = 1}
`))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(got, []byte("taken")) {
		t.Errorf("an entry that an extension provides is left:\n%s", got)
	}
	for _, want := range []string{"own = 1", `name = "left"`, "a = 1"} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("%s is lost:\n%s", want, got)
		}
	}
}

// TestWriteFileReplacesWhole guards that a reader never sees half a file: the
// old one stays open as it was, and no other file is left behind.
func TestWriteFileReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "group.toml")
	if err := WriteFile("group", path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := WriteFile("group", path, []byte("two, longer")); err != nil {
		t.Fatal(err)
	}
	before := make([]byte, 20)
	n, _ := open.Read(before)
	if string(before[:n]) != "one" {
		t.Errorf("the file that a reader had open changed to %q", before[:n])
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, error %v; want 0644, as later phases run as other users", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, error %v", entries, err)
	}
}

// TestStageDirLeavesOldUntilCommit guards that a run that fails leaves what was
// there before.
func TestStageDirLeavesOldUntilCommit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "generated")
	for _, content := range []string{"first", "second"} {
		stage, err := StageDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(stage.Path, content), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := stage.Commit(); err != nil {
			t.Fatal(err)
		}
		stage.Discard()
	}
	failed, err := StageDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	failed.Discard()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "second" {
		t.Errorf("got %v, error %v; want only what was committed last", entries, err)
	}
	beside, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(beside) != 1 {
		t.Errorf("left beside: %v, error %v", beside, err)
	}
	if err := Removal(dir).Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func fuzzFile(f *testing.F, what string, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, what+".toml")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := parsers[what](path); err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("the error does not name the file: %v", err)
		}
	})
}

func FuzzOrder(f *testing.F) {
	fuzzFile(f, "order", "[[order]]\n[[order.group]]\nid=\"a\"\nversion=\"1\"\noptional=true\nexec-env=[\"test\"]\n[[order-extensions]]\n[[order-extensions.group]]\nid=\"e\"\nversion=\"1\"\n")
}

func FuzzSystem(f *testing.F) {
	fuzzFile(f, "system", "[[system.pre.buildpacks]]\nid=\"a\"\nversion=\"1\"\n[[system.post.buildpacks]]\nid=\"b\"\nversion=\"1\"\noptional=true\n")
}

func FuzzGroup(f *testing.F) {
	fuzzFile(f, "group", "[[group]]\nid=\"a\"\nversion=\"1\"\napi=\"0.10\"\n[[group-extensions]]\nid=\"e\"\nversion=\"1\"\napi=\"0.10\"\n")
}

func FuzzRunFile(f *testing.F) {
	fuzzFile(f, "run", "[[images]]\nimage=\"a\"\nmirrors=[\"b\"]\n")
}

// FuzzPlan also demands that filtering a plan gives a plan.
func FuzzPlan(f *testing.F) {
	f.Add([]byte("[[entries]]\n[[entries.providers]]\nid=\"a\"\nversion=\"1\"\nextension=true\n[[entries.requires]]\nname=\"x\"\n[entries.requires.metadata]\na=[1]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		plan, err := ParsePlan("plan.toml", data)
		if err != nil {
			return
		}
		filtered, err := WithoutExtensions(data)
		if err != nil {
			return // TOML that can be read and not be written: a mixed array
		}
		left, err := ParsePlan("plan.toml", filtered)
		if err != nil {
			t.Fatalf("what is left is no plan: %v\n%s", err, filtered)
		}
		if len(left.Entries) > len(plan.Entries) {
			t.Errorf("%d entries became %d", len(plan.Entries), len(left.Entries))
		}
	})
}

// FuzzAnalyzed also demands that a switch of the run image can be read back.
func FuzzAnalyzed(f *testing.F) {
	f.Add([]byte("[run-image]\nimage=\"a\"\nreference=\"b\"\n[run-image.target]\nos=\"linux\"\n[run-image.target.distro]\nname=\"d\"\n[metadata]\na=1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAnalyzed("analyzed.toml", data)
		if err != nil {
			return
		}
		a.Target()
		a.SwitchRunImage("other")
		a.SetBuildExtend(true)
		written, err := a.Bytes()
		if err != nil {
			return // TOML that can be read and not be written: a mixed array
		}
		again, err := ParseAnalyzed("analyzed.toml", written)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, written)
		}
		if again.RunImage() != "other" || again.RunReference() != "other" || again.Target() != (Target{}) {
			t.Errorf("the switch is lost:\n%s", written)
		}
	})
}
