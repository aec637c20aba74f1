package acceptance

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// examplesScene is a copy of examples/ that every user can read.
func examplesScene(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "examples")
	if err := os.CopyFS(dir, os.DirFS("../examples")); err != nil {
		t.Fatal(err)
	}
	for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// detectExamples is a command that runs the detector on the examples as a user
// who is not root.
func detectExamples(examples string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(programs, "detector"), append([]string{
		"-app", "app", "-order", "order.toml", "-buildpacks", "buildpacks", "-extensions", "extensions",
	}, args...)...)
	cmd.Dir = examples
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "CNB_PLATFORM_API=0.15", "HOME=/nowhere"}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	}
	return cmd
}

// TestDetectorGivesTheSameBytes guards that outputs do not depend on which
// module answers first, or on anything else that differs from run to run.
func TestDetectorGivesTheSameBytes(t *testing.T) {
	examples := examplesScene(t)
	layers := filepath.Join(t.TempDir(), "layers")
	first := map[string][]byte{}
	for run := range 50 {
		if err := os.RemoveAll(layers); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(layers, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(layers, 0o777); err != nil {
			t.Fatal(err)
		}
		for up := filepath.Dir(layers); up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
			if err := os.Chmod(up, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := detectExamples(examples, "-layers", layers).CombinedOutput(); err != nil {
			t.Fatalf("run %d: %v\n%s", run, err, out)
		}
		files := readFiles(t, layers)
		if run == 0 {
			first = files
			for _, name := range []string{"group.toml", "plan.toml", "analyzed.toml", "generated/examples_apt/run.Dockerfile"} {
				if _, there := files[name]; !there {
					t.Errorf("there is no %s", name)
				}
			}
			continue
		}
		if len(files) != len(first) {
			t.Fatalf("run %d gives %d files, the first gave %d", run, len(files), len(first))
		}
		for name, data := range files {
			if !bytes.Equal(data, first[name]) {
				t.Fatalf("run %d gives another %s:\n%s\nthe first gave:\n%s", run, name, data, first[name])
			}
		}
	}
}

func readFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestDryRunExplainsTheExamples guards that a person can ask which modules would
// take an application without being root, and without files of earlier phases
// or a registry.
func TestDryRunExplainsTheExamples(t *testing.T) {
	examples := examplesScene(t)
	before := readFiles(t, examples)
	layers := filepath.Join(t.TempDir(), "nothing-here")
	out, err := detectExamples(examples, "-dry-run", "-target", "linux/amd64", "-layers", layers).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"Group 1 passes", "extension  examples/apt@1.0.0", "extension  examples/motd@1.0.0", "buildpack  examples/greet@1.0.0",
		"Plan: apt-packages is provided by examples/apt@1.0.0",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "Warning") {
		t.Errorf("it warns:\n%s", out)
	}
	if _, err := os.Stat(layers); err == nil {
		t.Error("the layers directory was made")
	}
	if after := readFiles(t, examples); len(after) != len(before) {
		t.Errorf("%d files became %d", len(before), len(after))
	}
}
