package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// measureVariable makes a process of this test binary run its arguments as a command
// and write the most memory that the command took, in kilobytes, to the file that the
// variable names.
const measureVariable = "GRAFT_TEST_MEASURE"

// measured has a command that was not started measured. Its memory is told when it has
// ended. The measuring is a process of its own, since the kernel counts a new process
// from what its parent has, and this one grows with the tests.
func measured(t *testing.T, c *exec.Cmd) (memory func() int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "memory")
	self, err := os.Executable()
	check(t, err)
	c.Args = append([]string{self, c.Path}, c.Args[1:]...)
	c.Path = self
	c.Env = append(c.Env, measureVariable+"="+file)
	return func() int {
		t.Helper()
		text, err := os.ReadFile(file)
		check(t, err)
		n, err := strconv.Atoi(string(text))
		check(t, err)
		return n
	}
}

// measure is what such a process does. It returns the command's exit status.
func measure(file string) int {
	c := exec.Command(os.Args[1], os.Args[2:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, measureVariable+"=") })
	c.ExtraFiles = []*os.File{os.NewFile(3, "first"), os.NewFile(4, "second")}
	if err := c.Run(); c.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	memory := c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if err := os.WriteFile(file, []byte(strconv.FormatInt(memory, 10)), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return c.ProcessState.ExitCode()
}
