package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/graft-cnb/graft/acceptance/internal/dockerd"
)

// How often what happens in containers is measured.
const containerRuns = 7

// benchInPlace measures the extender where platforms start it: in a container in which
// nothing is allowed, with the builder after it.
func benchInPlace(t tools) (err error) {
	if t.builder == "" {
		fmt.Println("extender in a container: not measured")
		return nil
	}
	dir, err := os.MkdirTemp(t.work, "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	options := dockerd.Options{Path: os.Getenv("PATH"), Data: filepath.Join(t.work, "docker")}
	if options.Dockerd, err = exec.LookPath("dockerd"); err != nil {
		return err
	}
	if options.Docker, err = exec.LookPath("docker"); err != nil {
		return err
	}
	d, err := dockerd.Start(options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	b := inPlace{}
	if b.many, err = newContainer(t, d, filepath.Join(dir, "many"), t.many, fiveSteps()...); err != nil {
		return err
	}
	if b.some, err = newContainer(t, d, filepath.Join(dir, "some"), t.some, fiveSteps()...); err != nil {
		return err
	}
	for _, rows := range []func() error{b.speed, b.handover, b.memory, b.walks, b.layers} {
		if err := rows(); err != nil {
			return err
		}
	}
	return nil
}

// fiveSteps is five Dockerfiles with a short RUN each.
func fiveSteps() []string {
	var lines []string
	for i := range 5 {
		lines = append(lines, "RUN echo "+strconv.Itoa(i)+" >/file-"+strconv.Itoa(i))
	}
	return lines
}

// inPlace is five short RUNs on either base.
type inPlace struct{ many, some *container }

// speed measures runs with nothing cached and with everything, beside docker run alone,
// in turn: how fast a machine starts containers varies.
func (b inPlace) speed() error {
	var start, cold, warm, small []time.Duration
	for i := range containerRuns + 1 {
		for _, c := range []*container{b.many, b.some} {
			if err := c.forget(); err != nil {
				return err
			}
		}
		alone, err := measure(b.many.start())
		if err != nil {
			return err
		}
		first, err := b.many.extend(false)
		if err != nil {
			return err
		}
		again, err := b.many.extend(true)
		if err != nil {
			return err
		}
		other, err := b.some.extend(false)
		if err != nil {
			return err
		}
		if i == 0 { // warms the page cache
			continue
		}
		start, cold, warm, small = append(start, alone), append(cold, first), append(warm, again), append(small, other)
	}
	beside := fmt.Sprintf("; docker run of true: %.2f", median(start).Seconds())
	row("extender in a default container, nothing cached, docker run included", "%5.2f s (want less than 3%s)", median(cold).Seconds(), beside)
	row("extender in a default container, all cached, docker run included", "%5.2f s (want less than 0.5%s)", median(warm).Seconds(), beside)
	return b.linear("time", "s", (median(cold) - median(start)).Seconds(), (median(small) - median(start)).Seconds())
}

// linear compares what one more file costs with what the smaller base costs for each of
// its own.
func (b inPlace) linear(what, unit string, many, some float64) error {
	filesOfMany, err := b.many.files()
	if err != nil {
		return err
	}
	filesOfSome, err := b.some.files()
	if err != nil {
		return err
	}
	row(fmt.Sprintf("%s for each file in place, of %d files / of %d", what, filesOfMany, filesOfSome), "%5.2f  (%.2f %s and %.2f; want at most 1.1)",
		many/float64(filesOfMany)/(some/float64(filesOfSome)), many, unit, some)
	return nil
}

// memory measures runs with nothing cached.
func (b inPlace) memory() error {
	var peaks [2][]int64
	for range 3 {
		for n, c := range []*container{b.many, b.some} {
			if err := c.forget(); err != nil {
				return err
			}
			peak, err := c.memory()
			if err != nil {
				return err
			}
			peaks[n] = append(peaks[n], peak)
		}
	}
	many, some := slices.Max(peaks[0]), slices.Max(peaks[1])
	row("memory of the extender in place, with its RUNs, on 100,000 files", "%5d MB (want less than 150)", many>>20)
	return b.linear("memory", "MB", float64(many>>20), float64(some>>20))
}

// handover measures from the last file of the last layer that is applied to the first
// instructions of the builder, all cached, and <layers> with 1,000 files that are not yet
// the builder's own.
func (b inPlace) handover() error {
	script := "stat --format %.9Z /file-4 >/layers/applied\n"
	if err := os.WriteFile(filepath.Join(b.many.dir, "workspace/build.sh"), []byte(script), 0o644); err != nil {
		return err
	}
	var times []time.Duration
	for range containerRuns {
		if err := giveAway(filepath.Join(b.many.dir, "layers/many"), 1000); err != nil {
			return err
		}
		if out, err := b.many.extender().CombinedOutput(); err != nil {
			return fmt.Errorf("extender: %w\n%s", err, out)
		}
		text, err := os.ReadFile(filepath.Join(b.many.dir, "layers/applied"))
		if err != nil {
			return err
		}
		seconds, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		if err != nil {
			return err
		}
		started, err := b.many.built()
		if err != nil {
			return err
		}
		times = append(times, started.Sub(time.UnixMicro(int64(seconds*1e6))))
	}
	row("from the last layer applied to the builder's first instructions, all cached", "%5.1f ms (want less than 50)", ms(median(times)))
	return nil
}

// giveAway makes n files of root's in a directory.
func giveAway(dir string, n int) error {
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("dir-%d/file-%d", i/100, i))
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644), os.Chown(path, 0, 0))
		if err != nil {
			return err
		}
	}
	return nil
}

func median(times []time.Duration) time.Duration {
	times = slices.Sorted(slices.Values(times))
	return times[len(times)/2]
}
