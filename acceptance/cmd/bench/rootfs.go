package main

import (
	"fmt"
	"strconv"
	"strings"
)

// walks compares looking at every file of a container's root filesystem with find.
func (b inPlace) walks() error {
	many, err := b.many.benchmark("Walk")
	if err != nil {
		return err
	}
	some, err := b.some.benchmark("Walk")
	if err != nil {
		return err
	}
	one, other := many["BenchmarkWalk"], some["BenchmarkWalk"]
	row("a walk of a container's / on 100,000 files / find / -xdev -newer", "%5.2f  (want at most 1)", one["times-find"])
	row("a walk for each file, on 100,000 files / on 10,000", "%5.2f  (%.0f ns and %.0f; want at most 1.1)", one["ns/file"]/other["ns/file"], one["ns/file"], other["ns/file"])
	row("memory of two walks' results, on 100,000 files", "%5.0f MB", one["MB/two-indexes"])
	return nil
}

// layers compares applying layers in a container with tar. It does so in memory: on a disk
// both wait for the file system for most of the time, and each in its own way.
func (b inPlace) layers() error {
	results, err := b.some.benchmark("Apply")
	if err != nil {
		return err
	}
	for _, layer := range []struct{ key, name string }{
		{"2000-files-of-4kB-onto-nothing", "2,000 files of 4 kB"},
		{"2000-files-of-4kB-onto-itself", "2,000 files of 4 kB, over the same files,"},
		{"10-files-of-20MB-onto-nothing", "10 files of 20 MB"},
		{"10-files-of-20MB-onto-itself", "10 files of 20 MB, over the same files,"},
	} {
		row("applying a layer of "+layer.name+" in memory / tar -x", "%5.2f  (want at most 1.5)", results["BenchmarkApply/"+layer.key]["times-tar"])
	}
	return nil
}

// benchmark runs one of dockerfile/rootfs in the container, and returns what it reports by
// its full name and by the unit.
func (c *container) benchmark(name string) (map[string]map[string]float64, error) {
	cmd := c.command([]string{"--tmpfs", "/tmp", "--env", "GRAFT_BENCH_TREE=/"}, "/cnb/lifecycle/rootfs",
		"-test.run=^$", "-test.bench=^Benchmark"+name+"$", "-test.benchtime="+strconv.Itoa(containerRuns)+"x")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	results := map[string]map[string]float64{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(line, "Benchmark") {
			continue
		}
		values := map[string]float64{}
		for n := 2; n+1 < len(fields); n += 2 { // after the name and the number of runs
			if values[fields[n+1]], err = strconv.ParseFloat(fields[n], 64); err != nil {
				return nil, fmt.Errorf("the benchmark %s says %q: %w", name, line, err)
			}
		}
		// The number of processors comes after a dash.
		results[strings.TrimSuffix(strings.TrimRight(fields[0], "0123456789"), "-")] = values
	}
	return results, nil
}
