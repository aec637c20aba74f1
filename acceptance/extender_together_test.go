package acceptance

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// start starts a command whose outcome is there once the returned function is
// called.
func start(t *testing.T, c *exec.Cmd) (outcomeOf func(within time.Duration) outcome) {
	t.Helper()
	outcomeOf, _ = startAndListen(t, c)
	return outcomeOf
}

// startAndListen is start for who wants to know what is said meanwhile, on stdout.
func startAndListen(t *testing.T, c *exec.Cmd) (outcomeOf func(within time.Duration) outcome, said func() string) {
	t.Helper()
	var stdout, stderr heard
	c.Stdout, c.Stderr = &stdout, &stderr
	begin := time.Now()
	check(t, c.Start())
	ended := make(chan struct{})
	go func() {
		_ = c.Wait() // the outcome has its exit code
		close(ended)
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-ended
	})
	return func(within time.Duration) outcome {
		t.Helper()
		select {
		case <-ended:
		case <-time.After(within):
			t.Fatalf("%v has not ended after %v; it said:\n%s%s", c.Args, within, stdout.String(), stderr.String())
		}
		return outcome{c.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(begin)}
	}, stdout.String
}

// heard is what was said up to now.
type heard struct {
	mu   sync.Mutex
	said bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.said.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.said.String()
}

// Extenders that share a state directory wait for each other.
func TestExtendersSideBySide(t *testing.T) {
	base := "oci:" + smallBase(t, nil)
	e := embedded(t)
	var scenes []*scene
	var outcomes []func(time.Duration) outcome
	for i := range 3 {
		s := newScene(t, "run", base, e)
		s.step("one", "ARG build_id", fmt.Sprintf("RUN echo %d $build_id >/tmp/mine; sleep 0.2", i), "USER 7")
		scenes = append(scenes, s)
		outcomes = append(outcomes, start(t, s.command()))
	}
	for i, outcomeOf := range outcomes {
		if o := outcomeOf(5 * patience); o.code != 0 {
			t.Errorf("number %d failed: %v", i, o)
			continue
		}
		if mine := scenes[i].files(openLayout(t, base[len("oci:"):]))["tmp/mine"]; !strings.HasPrefix(mine, fmt.Sprint(i)) {
			t.Errorf("number %d has the result %q", i, mine)
		}
	}
}

// Extenders that write to the same place, too: there is one result then, whole, of one of
// them, and nothing beside it; also where each has an engine of its own.
func TestExtendersWithTheSameLayers(t *testing.T) {
	base := smallBase(t, nil)
	s := newScene(t, "run", "oci:"+base, embedded(t))
	s.step("one", "ARG build_id", "RUN echo $build_id >/tmp/id", "USER 7")
	s.succeed("-output", "oci:"+s.path("layers/whole"))
	var outcomes []func(time.Duration) outcome
	for range 2 {
		for _, state := range []string{s.env["CNB_STATE_DIR"], t.TempDir()} {
			outcomes = append(outcomes, start(t, s.command("-state-dir", state, "-output", "oci:"+s.path("layers/whole"))))
		}
	}
	for i, outcomeOf := range outcomes {
		if o := outcomeOf(5 * patience); o.code != 0 {
			t.Errorf("number %d failed: %v", i, o)
		}
	}
	checkLayers(t, s, openLayout(t, base), 1)
	validateImage(t, openLayout(t, s.path("layers/whole")))
	for _, dir := range []string{"layers", "layers/extended"} {
		entries, err := os.ReadDir(s.path(dir))
		check(t, err)
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), ".") {
				t.Errorf("%s/%s is left", dir, entry.Name())
			}
		}
	}
}

// One that waits for another can be interrupted, and the other goes on.
func TestInterruptedWhileItWaits(t *testing.T) {
	e := embeddedIn(t, t.TempDir())
	first := startSleeper(t, e)
	waiting := newScene(t, "run", first.base, e)
	waiting.step("one", "RUN true", "USER 7")
	c := waiting.command()
	outcomeOf, said := startAndListen(t, c)
	eventually(t, "it says that it waits", func() bool {
		return strings.Contains(said(), "waiting for another process that uses the engine's state directory "+e.state)
	})
	check(t, c.Process.Signal(syscall.SIGTERM))
	if o := outcomeOf(patience); o.code != 143 {
		t.Errorf("wanted exit code 143: %v", o)
	}
	if n := len(processesWith(t, first.mark)); n == 0 {
		t.Error("the other one's RUN has ended")
	}
	check(t, first.command.Process.Signal(syscall.SIGINT))
	first.wait()
	first.checkNothingLeft(e)
}

// hangingRegistry is a registry that answers everything but the requests that
// begin so; these it holds until the test ends, and tells that there is one.
func hangingRegistry(t *testing.T) (r *testRegistry, hang func(prefix string), held <-chan struct{}) {
	t.Helper()
	r = newRegistry(t, (*httptest.Server).Start)
	var mu sync.Mutex
	var prefix string
	release, reached := make(chan struct{}), make(chan struct{}, 100)
	inner := r.Config.Handler
	r.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		mu.Lock()
		hangs := prefix != "" && strings.HasPrefix(request.Method+" "+request.URL.Path, prefix)
		mu.Unlock()
		if hangs {
			reached <- struct{}{}
			<-release
		}
		inner.ServeHTTP(w, request)
	})
	t.Cleanup(func() { close(release) })
	return r, func(p string) {
		mu.Lock()
		defer mu.Unlock()
		prefix = p
	}, reached
}

// Whatever the extender waits for, a signal ends it.
func TestInterruptedWhileTheRegistryHangs(t *testing.T) {
	base := smallImage(t, nil)
	for name, request := range map[string]string{
		"resolving the base": "GET /v2/base/manifests/",
		"pulling the base":   "GET /v2/base/blobs/" + manifestOf(t, base).Layers[0].Digest.String(),
		"pushing":            "POST /v2/extended/blobs/",
	} {
		t.Run(name, func(t *testing.T) {
			e := embeddedIn(t, t.TempDir())
			r, hang, held := hangingRegistry(t)
			reference := r.push(t, "base:tag", base)
			s := registryScene(t, reference, e)
			s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
			s.write("layers/extended/run/sha256:earlier/result", "")
			before := s.listing()
			hang(request)
			c := s.command("-output", "registry:"+r.host+"/extended:1")
			outcomeOf := start(t, c)
			select {
			case <-held:
			case <-time.After(patience):
				t.Fatal("the registry was not asked")
			}
			check(t, c.Process.Signal(syscall.SIGINT))
			if o := outcomeOf(patience); o.code != 130 {
				t.Errorf("wanted exit code 130: %v", o)
			}
			compareTrees(t, "before", before, "after", s.listing())
			if mounts := mountsBelow(t, e.state); len(mounts) > 0 {
				t.Errorf("mounts are left: %v", mounts)
			}
		})
	}
}

// A daemon that dies in the midst of a RUN is a failure that is told, at once.
func TestDaemonThatDies(t *testing.T) {
	e, daemon := startBuildkitd(t)
	s := startSleeper(t, e)
	check(t, daemon.Process.Kill())
	s.wait()
	if code := s.command.ProcessState.ExitCode(); code != 102 && code != 103 {
		t.Errorf("exit code %d, wanted 102 or 103", code)
	}
	if said := s.stderr.String(); !strings.HasPrefix(said, "ERROR: ") {
		t.Errorf("the error is %q", said)
	}
	s.checkUntouched()
	// The daemon could not end what it ran.
	endProcesses(t, s.mark)
}

// What a RUN leaves running ends with it.
func TestRunThatLeavesProcesses(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		mark := uniqueSeconds()
		s := newScene(t, "run", "oci:"+smallBase(t, nil), e)
		s.step("one", "RUN sleep "+mark+" & (sleep "+mark+" &) ; touch /tmp/x", "USER 7")
		if o := s.succeed(); o.took > patience { // they sleep for longer
			t.Errorf("it took %v", o.took)
		}
		if left := processesWith(t, "sleep\x00"+mark); len(left) > 0 {
			t.Errorf("processes are left: %v", left)
		}
	})
}

// The state directory may lie as deep as people like it.
func TestLongStateDirectory(t *testing.T) {
	state := filepath.Join(t.TempDir(), strings.Repeat("a long name/", 12), "state")
	s := newScene(t, "run", "oci:"+smallBase(t, nil), embeddedIn(t, state))
	s.step("one", "RUN touch /tmp/x", "USER 7")
	s.succeed()
}
