// Package needs tells tests whether they can run on this machine.
package needs

import (
	"os"
	"os/exec"
	"testing"
)

// That ends a test that needs something which is not there: it is skipped, and fails where
// GRAFT_REQUIRE_ALL says that all tests must run.
func That(t testing.TB, there bool, what string) {
	t.Helper()
	switch {
	case there:
	case os.Getenv("GRAFT_REQUIRE_ALL") != "":
		t.Fatalf("this test needs %s, and GRAFT_REQUIRE_ALL is set", what)
	default:
		t.Skipf("NOT TESTED: needs %s", what)
	}
}

// Root ends a test that needs root.
func Root(t testing.TB) {
	t.Helper()
	That(t, os.Geteuid() == 0, "root")
}

// Program ends a test that needs a program, and says which Debian package has it.
func Program(t testing.TB, program, pkg string) {
	t.Helper()
	_, err := exec.LookPath(program)
	That(t, err == nil, "the program "+program+" (package "+pkg+")")
}
