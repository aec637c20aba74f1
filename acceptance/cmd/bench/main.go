// Command bench measures what the programs cost beside the work that they
// cannot avoid, as ratios of medians, since machines differ and are noisy.
//
//	bench -programs bin [-only container]
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	programs := flag.String("programs", "bin", "directory with the programs")
	pairs := flag.Int("pairs", 21, "number of runs of each side")
	var t tools
	flag.StringVar(&t.buildkitd, "buildkitd", "", "buildkitd; without it the extender is not measured")
	flag.StringVar(&t.buildctl, "buildctl", "", "buildctl")
	flag.StringVar(&t.base, "base", "", "layout of a Debian base image")
	flag.StringVar(&t.some, "some", "", "layout of the same with 10,000 files more")
	flag.StringVar(&t.many, "many", "", "layout of the same with 100,000 files more")
	flag.StringVar(&t.work, "work", "", "directory for what is made, on the disk of the images")
	flag.StringVar(&t.builder, "builder", "", "acceptance/cmd/builder, static; without it the extender is not measured in containers")
	flag.StringVar(&t.rootfs, "rootfs", "", "test program of dockerfile/rootfs, static")
	only := flag.String("only", "", "measure this alone: detector, generator, extender or container")
	flag.Parse()
	if err := run(*programs, *pairs, t, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(programs string, pairs int, t tools, only string) error {
	extender, err := filepath.Abs(filepath.Join(programs, "extender"))
	if err != nil {
		return err
	}
	t.extender = extender
	for _, bench := range []struct {
		what string
		run  func() error
	}{
		{"detector", func() error { return benchDetector(programs, pairs) }},
		{"generator", func() error { return benchGenerator(programs, pairs) }},
		{"extender", func() error { return benchExtender(t) }},
		{"container", func() error { return benchInPlace(t) }},
	} {
		if only != "" && only != bench.what {
			continue
		}
		if err := bench.run(); err != nil {
			return err
		}
	}
	return nil
}

// benchDetector measures what the detector takes beside starting the same scripts.
func benchDetector(programs string, pairs int) error {
	detector, err := filepath.Abs(filepath.Join(programs, "detector"))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "graft-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	const modules = 50
	scene, err := newScene(dir, modules)
	if err != nil {
		return err
	}
	defer os.RemoveAll(scene.memory)
	for _, shell := range []string{"bash", "sh"} {
		if _, err := exec.LookPath(shell); err != nil {
			continue
		}
		for _, row := range []struct{ name, line string }{
			{"a plan and a log for each", ": >%[2]s; %[1]s ../platform %[2]s >%[2]s.log 2>&1 &\n"},
			{"without plans and logs", "%[1]s ../platform /dev/null &\n"},
		} {
			ratios, err := compare(pairs, scene.detector(detector), scene.shell(shell, row.line))
			if err != nil {
				return err
			}
			fmt.Printf("%-80s %5.2f  (quartiles %.2f to %.2f; want at most 1.3)\n",
				fmt.Sprintf("detector with %d trivial modules / the same from %s, %s", modules, shell, row.name),
				ratios[len(ratios)/2], ratios[len(ratios)/4], ratios[len(ratios)*3/4])
		}
	}
	return nil
}

// compare runs two commands in turn and gives the ratios of their times, pair by
// pair and sorted.
func compare(pairs int, a, b func() *exec.Cmd) ([]float64, error) {
	var ratios []float64
	for i := range pairs + 1 {
		timeA, err := measure(a())
		if err != nil {
			return nil, err
		}
		timeB, err := measure(b())
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first pair warms the caches
			ratios = append(ratios, float64(timeA)/float64(timeB))
		}
	}
	slices.Sort(ratios)
	return ratios, nil
}

func measure(cmd *exec.Cmd) (time.Duration, error) {
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return time.Since(start), nil
}

// scene is an order of trivial buildpacks, and the means to run it.
type scene struct {
	dir   string
	paths []string
	// id is the user that modules run as, or -1 for this one.
	id int
	// memory is a directory in memory, where there is one: the detector keeps
	// plans there, so the shell may.
	memory string
}

func newScene(dir string, modules int) (*scene, error) {
	s := &scene{dir: dir, id: -1}
	if os.Geteuid() == 0 {
		s.id = 12345
	}
	var order strings.Builder
	order.WriteString("[[order]]\n")
	files := map[string]string{"platform/env/X": "1", "app/file": ""}
	for i := range modules {
		id := "bp" + strconv.Itoa(i)
		fmt.Fprintf(&order, "[[order.group]]\nid = %q\nversion = \"1.0.0\"\n", id)
		files["buildpacks/"+id+"/1.0.0/buildpack.toml"] = fmt.Sprintf("api = \"0.10\"\n[buildpack]\nid = %q\nversion = \"1.0.0\"\n", id)
		script := "buildpacks/" + id + "/1.0.0/bin/detect"
		files[script] = "#!/bin/sh\nexit 0\n"
		s.paths = append(s.paths, filepath.Join(dir, script))
	}
	files["order.toml"] = order.String()
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			return nil, err
		}
	}
	var err error
	if s.memory, err = os.MkdirTemp("/dev/shm", "graft-bench-"); err != nil {
		s.memory, err = os.MkdirTemp("", "graft-bench-")
	}
	return s, errors.Join(err, os.Mkdir(filepath.Join(dir, "layers"), 0o777))
}

func (s *scene) detector(path string) func() *exec.Cmd {
	return func() *exec.Cmd {
		args := []string{"-app", "app", "-order", "order.toml", "-buildpacks", "buildpacks", "-platform", "platform", "-layers", "layers"}
		if s.id >= 0 {
			args = append(args, "-uid", strconv.Itoa(s.id), "-gid", strconv.Itoa(s.id))
		}
		cmd := exec.Command(path, args...)
		cmd.Dir = s.dir
		cmd.Env = append(os.Environ(), "CNB_PLATFORM_API=0.13")
		return cmd
	}
}

// shell starts the same scripts side by side and waits for them; the line starts
// one, given its path and that of a plan.
func (s *scene) shell(shell, line string) func() *exec.Cmd {
	var script strings.Builder
	script.WriteString("cd app\n")
	for i, path := range s.paths {
		fmt.Fprintf(&script, line, path, filepath.Join(s.memory, strconv.Itoa(i)))
	}
	script.WriteString("wait\n")
	return func() *exec.Cmd {
		cmd := exec.Command(shell, "-c", script.String())
		cmd.Dir = s.dir
		return cmd
	}
}
