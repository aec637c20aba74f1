package acceptance

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sleeper is an extender in the midst of a RUN that would never end.
type sleeper struct {
	*scene
	command *exec.Cmd
	// mark is in the command line of the RUN, and of no other process.
	mark           string
	before         map[string]string
	stdout, stderr bytes.Buffer
	// ended is closed when the extender has ended.
	ended chan struct{}
}

// startSleeper runs the extender once to an end, so that there is an earlier
// result, and then again with a Dockerfile that sleeps in the background and in
// the foreground. It returns when both sleep.
func startSleeper(t *testing.T, e engine, args ...string) *sleeper {
	t.Helper()
	base := smallBase(t, nil)
	mark := uniqueSeconds()
	s := &sleeper{scene: newScene(t, "run", "oci:"+base, e), mark: mark, ended: make(chan struct{})}
	s.step("one", "RUN echo one >/tmp/one", "USER 7")
	s.succeed("-output", "oci:"+s.path("layers/whole"))
	s.before = s.listing()

	s.step("two", "RUN sleep "+mark+" & sleep "+mark)
	s.command = s.scene.command(append(args, "-output", "oci:"+s.path("layers/whole"))...)
	s.command.Stdout, s.command.Stderr = &s.stdout, &s.stderr
	check(t, s.command.Start())
	t.Cleanup(func() {
		_ = s.command.Process.Kill()
		<-s.ended
	})
	go func() {
		_ = s.command.Wait() // its exit code is looked at later
		close(s.ended)
	}()
	eventually(t, "the RUN sleeps", func() bool { return len(processesWith(t, "sleep\x00"+mark)) == 2 })
	return s
}

// wait waits for the extender's end.
func (s *sleeper) wait() {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Fatalf("the extender has not ended after %v", patience)
	}
}

// checkNothingLeft demands that the RUN is over, nothing is mounted, and the
// earlier results are what they were, with nothing beside them.
func (s *sleeper) checkNothingLeft(e engine) {
	s.t.Helper()
	// A daemon hears of the end, and ends the RUN, a moment later than we; and the kernel
	// takes apart what somebody had who was killed.
	nothingLeft(s.t, "the RUN's processes", func() []string { return processesWith(s.t, s.mark) })
	for _, dir := range []string{e.state, s.dir} {
		if dir != "" {
			nothingLeft(s.t, "mounts", func() []string { return mountsBelow(s.t, dir) })
		}
	}
}

// checkUntouched demands that the earlier results are what they were, with
// nothing beside them.
func (s *sleeper) checkUntouched() {
	s.t.Helper()
	after := s.listing()
	for _, tree := range []map[string]string{after, s.before} {
		maps.DeleteFunc(tree, func(path, _ string) bool { return path == "group.toml" || strings.HasPrefix(path, "generated") })
	}
	compareTrees(s.t, "before", s.before, "after", after)
}

// Ctrl-C and SIGTERM end the extender, whose RUN would go on, with the code of the
// signal, and nothing is left of it.
func TestInterruptedExtender(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
			t.Run(signal.String(), func(t *testing.T) {
				s := startSleeper(t, e)
				begin := time.Now()
				check(t, s.command.Process.Signal(signal))
				s.wait()
				t.Logf("ended after %v", time.Since(begin))
				if got := s.command.ProcessState.ExitCode(); got != code {
					t.Errorf("exit code %d, wanted %d; stderr:\n%s", got, code, s.stderr.String())
				}
				s.checkNothingLeft(e)
				s.checkUntouched()
			})
		}
	})
}

// A killed extender cannot clean up, but the kernel ends its RUN, and the next
// run on the same directories works and removes what is left.
func TestKilledExtender(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s := startSleeper(t, e)
		check(t, s.command.Process.Kill())
		s.wait()
		s.checkNothingLeft(e)
		if _, err := os.Stat(s.extended()); err != nil {
			t.Errorf("the earlier result is gone: %v", err)
		}

		s.write("layers/generated/two/run.Dockerfile", "ARG base_image\nFROM ${base_image}\nRUN echo two >/tmp/two\n")
		s.succeed("-output", "oci:"+s.path("layers/whole"))
		if n := len(configOf(t, s.image()).RootFS.DiffIDs); n != 4 {
			t.Errorf("the next run's image has %d layers, wanted 4", n)
		}
		for _, dir := range []string{"layers", "layers/extended"} {
			entries, err := os.ReadDir(s.path(dir))
			check(t, err)
			for _, entry := range entries {
				if strings.HasPrefix(entry.Name(), ".") {
					t.Errorf("%s is left", filepath.Join(dir, entry.Name()))
				}
			}
		}
	})
}

// However else the extender ends, nothing is left of its RUN: when the terminal
// goes away, when a second Ctrl-C comes, when nobody reads its output any more.
func TestExtenderEndsInAnyWay(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		for name, signals := range map[string][]syscall.Signal{
			"hangup": {syscall.SIGHUP},
			"quit":   {syscall.SIGQUIT},
			"twice":  {syscall.SIGINT, syscall.SIGINT},
		} {
			t.Run(name, func(t *testing.T) {
				s := startSleeper(t, e)
				for _, signal := range signals {
					_ = s.command.Process.Signal(signal) // the first may be enough
				}
				s.wait()
				if code := s.command.ProcessState.ExitCode(); code == 0 {
					t.Error("exit code 0")
				}
				s.checkNothingLeft(e)
			})
		}
		t.Run("nobody reads", func(t *testing.T) {
			mark := uniqueSeconds()
			s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
			s.step("one", "RUN while true; do echo line; sleep 0."+mark+"; done", "USER 7")
			c := s.command()
			out, err := c.StdoutPipe()
			check(t, err)
			check(t, c.Start())
			eventually(t, "the RUN runs", func() bool { return len(processesWith(t, mark)) > 0 })
			check(t, out.Close())
			await(t, c)
			if c.ProcessState.Success() {
				t.Error("it ended well")
			}
			nothingLeft(t, "the RUN's processes", func() []string { return processesWith(t, mark) })
		})
	})
}
