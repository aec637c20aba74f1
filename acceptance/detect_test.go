package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestDetectorScripts tests the detector.
//
// A directory buildpacks/<id>/<version> or extensions/<id>/<version> of a script
// that lacks a descriptor gets one with its id and version, and a buildpack with
// a plan.toml and no bin/detect gets one that answers with that build plan.
func TestDetectorScripts(t *testing.T) { runScripts(t, "detector", fillInModules) }

// fillInModules adds the files of modules that most scripts would repeat, and
// lets the command require skip a script.
func fillInModules(env *testscript.Env) error {
	env.Values[skipper{}] = env.T()
	for kind, file := range map[string]string{"buildpack": "buildpack.toml", "extension": "extension.toml"} {
		dirs, err := filepath.Glob(filepath.Join(env.WorkDir, kind+"s", "*", "*"))
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			descriptor := fmt.Sprintf("api = \"0.12\"\n[%s]\nid = %q\nversion = %q\n",
				kind, filepath.Base(filepath.Dir(dir)), filepath.Base(dir))
			if err := writeMissing(filepath.Join(dir, file), []byte(descriptor)); err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join(dir, "plan.toml")); err != nil {
				continue
			}
			answer := "#!/bin/sh\nexec cat \"${0%/bin/detect}/plan.toml\" >\"$2\"\n"
			if err := writeMissing(filepath.Join(dir, "bin", "detect"), []byte(answer)); err != nil {
				return err
			}
		}
	}
	return nil
}

// skipper is the key of the test that a script is, in the script's values.
type skipper struct{}

// require ends a script where the machine lacks what it needs: root, or mounts
// (root that may make mounts of its own). It is skipped then, and fails where
// everything is required.
func require(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: require root|mounts")
	}
	var met bool
	switch args[0] {
	case "root":
		met = os.Geteuid() == 0
	case "mounts":
		met = os.Geteuid() == 0 && exec.Command("unshare", "--mount", "true").Run() == nil
	default:
		ts.Fatalf("require: %q is neither root nor mounts", args[0])
	}
	if met {
		return
	}
	if os.Getenv("GRAFT_REQUIRE_ALL") != "" {
		ts.Fatalf("needs %s, and everything is required", args[0])
	}
	ts.Value(skipper{}).(testscript.T).Skip("NOT TESTED: needs " + args[0])
}

// group checks that layers/group.toml selects exactly the given modules, in that
// order: extensions, as ext:<id>, before buildpacks. An argument with @<version>
// checks the version too.
func group(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: group [ext:]ID[@VERSION]...")
	}
	type module struct{ ID, Version string }
	var file struct {
		Group      []module
		Extensions []module `toml:"group-extensions"`
	}
	_, err := toml.Decode(ts.ReadFile("layers/group.toml"), &file)
	ts.Check(err)
	for i := range file.Extensions {
		file.Extensions[i].ID = "ext:" + file.Extensions[i].ID
	}
	var got []string
	for i, m := range slices.Concat(file.Extensions, file.Group) {
		if i < len(args) && strings.Contains(args[i], "@") {
			m.ID += "@" + m.Version
		}
		got = append(got, m.ID)
	}
	if !slices.Equal(got, args) {
		ts.Fatalf("the group is %v, want %v", got, args)
	}
}
