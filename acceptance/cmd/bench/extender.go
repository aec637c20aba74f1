package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Numbers of runs: warm ones are short, cold ones are not.
const (
	warmPairs = 9
	coldPairs = 4
)

// benchExtender measures the extender beside buildctl.
func benchExtender(t tools) (err error) {
	if t.buildkitd == "" {
		fmt.Println("extender: not measured")
		return nil
	}
	dir, err := os.MkdirTemp(t.work, "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, err := t.startDaemon()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	w := &warm{tools: t, dir: dir, daemon: d}
	for _, rows := range []func() error{w.prepare, w.speed, w.cached, w.memory, w.wire, w.preflight} {
		if err := rows(); err != nil {
			return err
		}
	}
	return t.cold(dir)
}

// row prints what was measured.
func row(name, format string, args ...any) {
	fmt.Printf("%-80s %s\n", name, fmt.Sprintf(format, args...))
}

// ratioRow prints sorted ratios.
func ratioRow(name string, ratios []float64, want string) {
	row(name, "%5.2f  (quartiles %.2f to %.2f%s)", ratios[len(ratios)/2], ratios[len(ratios)/4], ratios[len(ratios)*3/4], want)
}

// fiveRuns is five Dockerfiles with a short RUN each, that a build_id invalidates.
func fiveRuns() []string {
	var lines []string
	for i := range 5 {
		lines = append(lines, "ARG build_id\nRUN echo $build_id >/file-"+strconv.Itoa(i))
	}
	return lines
}

// warm are the measurements in engines that have the bases.
type warm struct {
	tools
	dir    string
	daemon *daemon
	state  string
	// many and some are five short RUNs on either base.
	many, some extending
	// pulling is the memory that the embedded engine took to get the large base.
	pulling int64
}

// prepare brings the bases into the daemon and into an embedded engine.
func (w *warm) prepare() (err error) {
	w.state = filepath.Join(w.dir, "state")
	for _, of := range []struct {
		x    *extending
		name string
		base string
	}{{&w.some, "some", w.tools.some}, {&w.many, "many", w.tools.many}} {
		if *of.x, err = w.newExtending(filepath.Join(w.dir, of.name), of.base, fiveRuns()...); err != nil {
			return err
		}
		if w.pulling, err = peakMemory(of.x.withExtender("", w.state)()); err != nil {
			return err
		}
		if _, err := measure(of.x.withExtender(w.daemon.address, "")()); err != nil {
			return err
		}
	}
	return nil
}

// speed compares with buildctl, and with a smaller base.
func (w *warm) speed() error {
	buildctl, err := w.many.withBuildctl(w.daemon.address)
	if err != nil {
		return err
	}
	for _, way := range []struct {
		name, address, want string
	}{{"a daemon", w.daemon.address, "; want at most 1.3"}, {"the embedded engine, start included,", "", ""}} {
		extender := w.many.withExtender(way.address, w.state)
		ratios, err := compare(warmPairs, extender, buildctl)
		if err != nil {
			return err
		}
		ratioRow("extender with "+way.name+" / buildctl, five RUNs on 100,000 files", ratios, way.want)
		if ratios, err = compare(warmPairs, extender, w.some.withExtender(way.address, w.state)); err != nil {
			return err
		}
		ratioRow("extender with "+way.name+" on 100,000 files / on 10,000", ratios, "; want at most 1.2")
	}
	return nil
}

// cached measures a run in which all is cached.
func (w *warm) cached() error {
	x, err := w.newExtending(filepath.Join(w.dir, "cached"), w.tools.many, fiveSteps()...)
	if err != nil {
		return err
	}
	var times []time.Duration
	for i := range warmPairs + 1 {
		took, err := measure(x.withExtender("", w.state)())
		if err != nil {
			return err
		}
		if i > 0 { // the first fills the cache
			times = append(times, took)
		}
	}
	row("extender with the embedded engine, all cached, on 100,000 files", "%5.2f s (want less than 0.5)", median(times).Seconds())
	return nil
}

// memory measures what the extender needs at most.
func (w *warm) memory() error {
	embedded, err := peakMemory(w.many.withExtender("", w.state)())
	if err != nil {
		return err
	}
	row("memory of the extender and its engine, on 100,000 files, the base known", "%5d MB (want less than 300)", embedded>>20)
	row("memory of the extender and its engine, on 100,000 files, getting the base", "%5d MB (want less than 300)", w.pulling>>20)
	remote, err := peakMemory(w.many.withExtender(w.daemon.address, "")())
	if err != nil {
		return err
	}
	row("memory of the extender with a daemon, on 100,000 files", "%5d MB (want less than 80)", remote>>20)
	return nil
}

// wire counts what comes from a daemon when 50 MB are added.
func (w *warm) wire() (err error) {
	x, err := w.newExtending(filepath.Join(w.dir, "wire"), w.tools.many, "ARG build_id\nRUN echo $build_id; head -c 50000000 /dev/urandom >/random")
	if err != nil {
		return err
	}
	m, err := newMeter(w.daemon)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.stop()) }()
	if _, err := measure(x.withExtender(m.address(), "")()); err != nil {
		return err
	}
	added, err := x.addedBytes()
	if err != nil {
		return err
	}
	row("bytes from a daemon / bytes of added layers", "%5.2f  (want at most 1.05)", float64(m.received.Load())/float64(added))
	return nil
}

// preflight measures how long it takes to say which engine would be used, and what a
// daemon costs that does not answer.
func (w *warm) preflight() (err error) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nobody answers
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, silent.Close()) }()
	address := "tcp://" + silent.Addr().String()
	for _, c := range []struct {
		name, address, want string
		code                int
		args                []string
	}{
		{"extender -preflight, with the embedded engine", "", "less than 1", 0, []string{"-preflight"}},
		{"extender -preflight, with a daemon that does not answer", address, "less than 1", 103, []string{"-preflight"}},
		{"extender with a daemon that does not answer, until it is given up", address, "3 at most, and start", 103, nil},
	} {
		var times []time.Duration
		for range 3 {
			cmd := w.many.withExtender(c.address, w.state)()
			cmd.Args = append(cmd.Args, c.args...)
			start := time.Now()
			out, _ := cmd.CombinedOutput() // its exit code says more than the error
			times = append(times, time.Since(start))
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				return fmt.Errorf("%s: exit code %d, wanted %d\n%s", cmd, code, c.code, out)
			}
		}
		slices.Sort(times)
		row(c.name, "%5.2f s (want %s)", times[1].Seconds(), c.want)
	}
	return nil
}

// cold compares with buildctl where nothing is cached, and the daemon that buildctl
// uses runs already.
func (t tools) cold(dir string) error {
	x, err := t.newExtending(filepath.Join(dir, "cold"), t.base, fiveRuns()...)
	if err != nil {
		return err
	}
	times := map[string][]time.Duration{}
	for i := range coldPairs {
		state := filepath.Join(dir, "cold-state-"+strconv.Itoa(i))
		took, err := measure(x.withExtender("", state)())
		if err := errors.Join(err, os.RemoveAll(state)); err != nil {
			return err
		}
		times["embedded"] = append(times["embedded"], took)
		for _, with := range []string{"extender", "buildctl"} {
			took, err := t.coldDaemon(x, with)
			if err != nil {
				return err
			}
			times[with] = append(times[with], took)
		}
	}
	for _, with := range []struct{ key, name string }{{"extender", "a daemon"}, {"embedded", "the embedded engine, start included,"}} {
		var ratios []float64
		for i, took := range times[with.key] {
			ratios = append(ratios, float64(took)/float64(times["buildctl"][i]))
		}
		slices.Sort(ratios)
		ratioRow("extender with "+with.name+" / buildctl, nothing cached", ratios, "; want at most 1.1")
	}
	return nil
}

// coldDaemon measures one run with a new daemon.
func (t tools) coldDaemon(x extending, with string) (took time.Duration, err error) {
	d, err := t.startDaemon()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	command := x.withExtender(d.address, "")
	if with == "buildctl" {
		if err := os.RemoveAll(filepath.Join(x.dir, "out")); err != nil {
			return 0, err
		}
		var make func() *exec.Cmd
		if make, err = x.withBuildctl(d.address); err != nil {
			return 0, err
		}
		command = make
	}
	return measure(command())
}
