package acceptance

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// runScripts runs the scripts of a program, with what is to be done before their
// files get the modes that programs need. The scripts in testdata run the real
// programs on the files that they hold; GRAFT_UPDATE=1 rewrites what they expect.
func runScripts(t *testing.T, program string, before ...func(*testscript.Env) error) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", program),
		Setup: func(env *testscript.Env) error {
			for _, step := range before {
				if err := step(env); err != nil {
					return err
				}
			}
			return setUpScript(env)
		},
		UpdateScripts: os.Getenv("GRAFT_UPDATE") != "",
		Condition:     condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"tree":     tree,
			"status":   status,
			"generate": generate,
			"told":     told,
			"same":     same,
			"sametoml": sameTOML,
			"require":  require,
			"group":    group,
		},
	})
}

// condition knows [root], that the script runs as root.
func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("no condition is named %q", name)
}

// setUpScript makes the script's directory a place where the programs can work
// as root and as the build user that they become: readable for everybody, with
// the programs of its modules executable, and a writable directory layers.
func setUpScript(env *testscript.Env) error {
	env.Setenv("PATH", programs+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("CNB_PLATFORM_API", "0.13")
	env.Setenv("CNB_USER_ID", "12345")
	env.Setenv("CNB_GROUP_ID", "12345")
	env.Setenv("NO_COLOR", "1")
	env.Setenv("GOARCH", runtime.GOARCH)
	for _, name := range []string{"app", "buildpacks", "extensions", "platform", "layers"} {
		env.Setenv(strings.ToUpper(name), filepath.Join(env.WorkDir, name))
	}
	for name, dir := range map[string]string{
		"CNB_APP_DIR": "app", "CNB_LAYERS_DIR": "layers", "CNB_BUILDPACKS_DIR": "buildpacks",
		"CNB_EXTENSIONS_DIR": "extensions", "CNB_PLATFORM_DIR": "platform", "CNB_ORDER_PATH": "order.toml",
		"CNB_BUILD_CONFIG_DIR": "build-config", "CNB_RUN_PATH": "run.toml", "CNB_SYSTEM_PATH": "system.toml",
	} {
		env.Setenv(name, filepath.Join(env.WorkDir, dir))
	}
	for _, dir := range []string{"app", "layers", ".tmp"} {
		if err := os.MkdirAll(filepath.Join(env.WorkDir, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(env.WorkDir, ".tmp"), 0o777|fs.ModeSticky); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Dir(env.WorkDir), 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(env.WorkDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == filepath.Join(env.WorkDir, ".tmp") {
			return err
		}
		if entry.IsDir() || filepath.Base(filepath.Dir(path)) == "bin" {
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
}

// tree prints the files below a directory to stdout, one a line with its mode.
func tree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tree DIR")
	}
	root := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		_, err = ts.Stdout().Write([]byte(info.Mode().String() + " " + rel + "\n"))
		return err
	}))
}
