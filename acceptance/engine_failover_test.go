package acceptance

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pair is two daemons.
type pair struct {
	engines [2]engine
	daemons [2]*exec.Cmd
}

func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{}
	for i := range p.engines {
		p.engines[i], p.daemons[i] = startBuildkitd(t)
	}
	return p
}

// addresses are those of both, as -buildkit takes them.
func (p *pair) addresses() string { return p.engines[0].address + "," + p.engines[1].address }

// used is the number of the daemon that solved.
func (p *pair) used(t *testing.T, o outcome) int {
	t.Helper()
	used, where := -1, -1
	for i, e := range p.engines {
		if at := strings.LastIndex(o.stdout, " at "+e.address+","); at > where {
			used, where = i, at // the last one that is named
		}
	}
	if used < 0 {
		t.Fatalf("no engine is named: %v", o)
	}
	return used
}

// Several addresses: the same application meets the same daemon, in
// whatever order they are listed; when it is gone the other one is used, with a warning;
// and when both are gone, that is told of both.
func TestSeveralDaemons(t *testing.T) {
	daemons := startPair(t)
	s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{address: daemons.addresses()})
	s.step("one", "RUN touch /tmp/x", "USER 7")
	s.env["CNB_APP_ID"] = "an application"
	first := daemons.used(t, s.succeed())
	turned := daemons.engines[1].address + ", " + daemons.engines[0].address
	if o := s.succeed("-buildkit", turned); daemons.used(t, o) != first || o.stderr != "" {
		t.Errorf("in another order it is another daemon: %v", o)
	} else if len(o.cached()) == 0 {
		t.Errorf("the second time is not from the cache: %v", o)
	}

	check(t, daemons.daemons[first].Process.Kill())
	_ = daemons.daemons[first].Wait() // killed
	o := s.succeed()
	if daemons.used(t, o) == first {
		t.Errorf("a dead daemon was used: %v", o)
	}
	if dead := daemons.engines[first].address; !strings.Contains(o.stderr, "Warning: the BuildKit engine at "+dead+" is passed over: no connection") {
		t.Errorf("no warning names %s: %v", dead, o)
	}
	check(t, daemons.daemons[1-first].Process.Kill())
	_ = daemons.daemons[1-first].Wait() // killed
	s.fail(103, "ERROR: none of the BuildKit engines can be used",
		"- "+daemons.engines[0].address+": no connection", "- "+daemons.engines[1].address+": no connection")
}

// A daemon that does not even refuse costs three seconds.
func TestSilentDaemonIsPassedOver(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, as far as the kernel is concerned
	check(t, err)
	defer silent.Close()
	e := buildkitd(t)
	passed := false
	for id := 0; !passed && id < 40; id++ {
		s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{address: "tcp://" + silent.Addr().String() + "," + e.address})
		s.step("one", "RUN touch /tmp/x", "USER 7")
		o := s.succeed("-app-id", fmt.Sprint(id))
		passed = strings.Contains(o.stderr, silent.Addr().String()+" is passed over: ")
		if passed && !strings.Contains(o.stderr, "no answer within 3s") {
			t.Errorf("it is not said how long it was waited for: %v", o)
		}
		if o.took > patience {
			t.Errorf("it took %v", o.took)
		}
	}
	if !passed {
		t.Error("the silent one was never tried")
	}
}

// meeting is where RUNs come by: the first one stays, the others may go at once. It
// tells what they brought.
func meeting(t *testing.T) (url string, arrived <-chan struct{}, brought func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	first, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		all = append(all, r.URL.RawQuery)
		n := len(all)
		mu.Unlock()
		if n == 1 {
			close(first)
			<-release
		}
		_, _ = io.WriteString(w, "go\n") // who has gone needs no answer
	}))
	t.Cleanup(func() { close(release); server.Close() })
	return server.URL, first, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// A build lost with its daemon is retried on the next, with the same
// build_id: with one that is killed, and with one that is told to end, which waits for
// the RUN and would take nothing after it.
func TestBuildLostWithItsDaemon(t *testing.T) {
	for name, end := range map[string]func(*exec.Cmd) error{
		"killed":      func(c *exec.Cmd) error { return c.Process.Kill() },
		"told to end": func(c *exec.Cmd) error { return c.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			daemons := startPair(t)
			url, arrived, brought := meeting(t)
			s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{address: daemons.addresses()})
			s.step("one", "ARG build_id", "RUN echo $build_id >/tmp/id; wget -q -O /dev/null "+url+"/?$build_id", "USER 7")
			probe := newScene(t, "run", s.base, engine{address: daemons.addresses()})
			probe.step("one", "RUN touch /tmp/x", "USER 7")
			s.env["CNB_APP_ID"], probe.env["CNB_APP_ID"] = "an application", "an application"
			first := daemons.used(t, probe.succeed())
			outcomeOf := start(t, s.command())
			select {
			case <-arrived:
			case <-time.After(patience):
				t.Fatal("nothing runs")
			}
			check(t, end(daemons.daemons[first]))
			o := outcomeOf(patience)
			ids := brought()
			if o.code != 0 || len(ids) != 2 || ids[0] != ids[1] || ids[0] == "" {
				t.Fatalf("build ids are %q: %v", ids, o)
			}
			if daemons.used(t, o) == first || !strings.Contains(o.stderr, "lost in the midst of the build") {
				t.Errorf("the other one is not used, or not with a warning: %v", o)
			}
			if id := s.files(openLayout(t, s.base[len("oci:"):]))["tmp/id"]; id != ids[0]+"\n" {
				t.Errorf("the image has the build id %q, and the RUN %q", id, ids[0])
			}
			endProcesses(t, url) // a killed daemon could not
		})
	}
}

// Without -app-id, an application is known by the repository that its image goes to,
// whatever the tag; and other applications have other daemons.
func TestDaemonByOutput(t *testing.T) {
	daemons := startPair(t)
	s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{address: daemons.addresses()})
	used := func(output string) int {
		t.Helper()
		return daemons.used(t, s.succeed("-preflight", "-output", output))
	}
	count := [2]int{}
	for n := 0; n < 16 || n < 60 && (count[0] == 0 || count[1] == 0); n++ { // which has which is chance
		repository := fmt.Sprintf("registry:registry.example.com/app-%d", n)
		first := used(repository + ":1")
		if second := used(repository + ":2"); second != first {
			t.Errorf("%s has daemon %d, and with another tag daemon %d", repository, first, second)
		}
		count[first]++
	}
	if count[0] == 0 || count[1] == 0 {
		t.Errorf("of all applications the daemons have %v", count)
	}
}
