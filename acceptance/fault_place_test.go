package acceptance

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// smallDisk mounts a disk of this size at dir until the test ends.
func smallDisk(t *testing.T, dir, size string) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to mount a small disk")
	check(t, os.MkdirAll(dir, 0o755))
	check(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,size="+size))
	t.Cleanup(func() { check(t, syscall.Unmount(dir, 0)) })
}

// A disk that is full where the result goes is a failure that is told: what was there
// stays, there is nothing beside it, and what fits in is written the next time.
func TestFullDiskForTheResult(t *testing.T) {
	const large, small = "RUN dd if=/dev/zero of=/tmp/x bs=1M count=8", "RUN dd if=/dev/zero of=/tmp/x bs=1M count=1"
	for place, c := range map[string]struct{ disk, output string }{
		"extended": {"layers/extended", "oci:whole"},
		"layout":   {"disk", "oci:disk/whole"},
		"archive":  {"disk", "oci-archive:disk/whole.tar"},
	} {
		t.Run(place, func(t *testing.T) {
			s := newScene(t, "run", "oci:"+smallBase(t, nil), embedded(t))
			smallDisk(t, s.path(c.disk), "6m")
			kind, path, _ := strings.Cut(c.output, ":")
			s.args = append(s.args, "-output", kind+":"+s.path(path))
			s.step("one", small, "USER 7")
			s.succeed()
			before := fileTree(t, s.dir)

			s.write("layers/generated/one/run.Dockerfile", "ARG base_image\nFROM ${base_image}\n"+large+"\nUSER 7\n")
			o := s.fail(102, "no space left on device", s.path(c.disk))
			if strings.Contains(o.stderr, "runtime error") {
				t.Errorf("it broke down: %v", o)
			}
			s.write("layers/generated/one/run.Dockerfile", "ARG base_image\nFROM ${base_image}\n"+small+"\nUSER 7\n")
			compareTrees(t, "before", before, "after", fileTree(t, s.dir))
			s.succeed()
		})
	}
}

// engineProcess is the process of the extender's embedded engine.
func engineProcess(t *testing.T, extender int) int {
	t.Helper()
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(extender) + "/task/*/children")
	check(t, err)
	for _, file := range tasks {
		children, _ := os.ReadFile(file) // a thread may have ended
		for _, child := range strings.Fields(string(children)) {
			line, _ := os.ReadFile("/proc/" + child + "/cmdline") // so may a process
			if name, _, _ := strings.Cut(string(line), "\x00"); name == "graft-engine" {
				pid, err := strconv.Atoi(child)
				check(t, err)
				return pid
			}
		}
	}
	t.Fatal("the extender has no child that is an engine")
	return 0
}

// An engine process that is killed in the midst of a RUN, by the kernel for its memory
// say, takes the RUN with it, and the extender says what has happened and changes
// nothing. The next run on the same state directory works.
func TestEngineProcessThatIsKilled(t *testing.T) {
	e := embeddedIn(t, t.TempDir())
	s := startSleeper(t, e)
	check(t, syscall.Kill(engineProcess(t, s.command.Process.Pid), syscall.SIGKILL))
	s.wait()
	if code := s.command.ProcessState.ExitCode(); code != 102 {
		t.Errorf("exit code %d, wanted 102", code)
	}
	if said := s.stderr.String(); !strings.Contains(said, "engine") || !strings.Contains(said, "killed") {
		t.Errorf("it does not say that the engine was killed: %q", said)
	}
	s.checkNothingLeft(e)
	s.checkUntouched()
	s.write("layers/generated/two/run.Dockerfile", "ARG base_image\nFROM ${base_image}\nRUN echo two >/tmp/two\n")
	s.succeed()
}
