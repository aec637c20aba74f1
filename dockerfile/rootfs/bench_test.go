package rootfs_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/graft-cnb/graft/dockerfile/rootfs"
)

// manyFiles makes a tree of n small files, 50 in a directory.
func manyFiles(b *testing.B, n int) string {
	b.Helper()
	root := b.TempDir()
	for i := range n {
		dir := filepath.Join(root, fmt.Sprint(i/2500), fmt.Sprint(i/50))
		if i%50 == 0 {
			check(b, os.MkdirAll(dir, 0o755))
		}
		check(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%d.txt", i)), []byte("x"), 0o644))
	}
	return root
}

// BenchmarkWalk compares a walk with what find takes to look at every file, in the same
// run, and tells what two indexes take in memory. The time for each file must not grow
// with their number.
func BenchmarkWalk(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			root := manyFiles(b, n)
			mark := filepath.Join(b.TempDir(), "mark")
			check(b, os.WriteFile(mark, nil, 0o644))
			b.ResetTimer()
			var find, took time.Duration
			for range b.N {
				begin := time.Now()
				first := walk(b, root)
				took += time.Since(begin)
				begin = time.Now()
				check(b, exec.Command("find", root, "-xdev", "-newer", mark).Run())
				find += time.Since(begin)
				second := walk(b, root)
				memory := heap()
				runtime.KeepAlive(first)
				runtime.KeepAlive(second)
				b.ReportMetric(float64(memory-heap())/float64(1<<20), "MB/two-indexes")
			}
			b.ReportMetric(took.Seconds()/find.Seconds(), "times-find")
			b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*n), "ns/file")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// heap is what is in use, in bytes.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkApply compares applying a layer with tar, in the same run: many small files,
// and few large ones, onto nothing and over the files that are there already.
func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		name        string
		files, size int
	}{{"5000-files-of-4kB", 5_000, 4 << 10}, {"10-files-of-20MB", 10, 20 << 20}} {
		layer := filepath.Join(b.TempDir(), "layer.tar")
		check(b, os.WriteFile(layer, benchLayer(b, c.files, c.size), 0o644))
		for _, over := range []string{"nothing", "itself"} {
			b.Run(c.name+"-onto-"+over, func(b *testing.B) {
				var own, tar time.Duration
				for range b.N {
					ours, theirs := b.TempDir(), b.TempDir()
					if over == "itself" {
						check(b, applyFile(ours, layer))
						check(b, untar(theirs, layer))
					}
					begin := time.Now()
					check(b, untar(theirs, layer))
					tar += time.Since(begin)
					begin = time.Now()
					check(b, applyFile(ours, layer))
					own += time.Since(begin)
					check(b, os.RemoveAll(ours))
					check(b, os.RemoveAll(theirs))
				}
				b.ReportMetric(own.Seconds()/tar.Seconds(), "times-tar")
				b.ReportMetric(float64(own.Milliseconds())/float64(b.N), "ms")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func applyFile(dir, layer string) error {
	in, err := os.Open(layer)
	if err != nil {
		return err
	}
	defer in.Close()
	return rootfs.Apply(context.Background(), dir, in, rootfs.ApplyOptions{})
}

func untar(dir, layer string) error {
	return exec.Command("tar", "-x", "--same-owner", "-p", "-C", dir, "-f", layer).Run()
}

func benchLayer(b *testing.B, files, size int) []byte {
	b.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	content := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	for i := range files {
		if i%50 == 0 {
			check(b, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprintf("dir-%d/", i/50), Mode: 0o755, ModTime: time.Unix(1e9, 0)}))
		}
		check(b, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("dir-%d/file-%d", i/50, i), Mode: 0o644, Size: int64(size), ModTime: time.Unix(1e9, 0), Uid: 1000, Gid: 1000}))
		_, err := w.Write(content)
		check(b, err)
	}
	check(b, w.Close())
	return out.Bytes()
}
