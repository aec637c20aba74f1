// Package acceptance tests the programs as users run them: real processes,
// files in and files out, real registries, images and engines. It imports none
// of the packages that it tests.
package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// programs is the directory with detector, generator and extender, built for
// this run.
var programs string

func TestMain(m *testing.M) {
	if file := os.Getenv(measureVariable); file != "" {
		os.Exit(measure(file))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "graft-acceptance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// Programs that switch to another user must still reach what is in here.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	programs = filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-o", programs+"/", "./cmd/detector", "./cmd/generator", "./cmd/extender", "./acceptance/cmd/builder")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// need ends the test if a condition of this machine is not met: it fails where
// everything is required, and skips, saying why, elsewhere.
func need(t *testing.T, met bool, what string) {
	t.Helper()
	if met {
		return
	}
	if os.Getenv("GRAFT_REQUIRE_ALL") != "" {
		t.Fatalf("needs %s, and everything is required", what)
	}
	t.Skipf("NOT TESTED: needs %s", what)
}
