package rootfs_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
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
// with their number. GRAFT_BENCH_TREE names a tree to walk instead of those made here.
func BenchmarkWalk(b *testing.B) {
	if tree := os.Getenv("GRAFT_BENCH_TREE"); tree != "" {
		benchWalk(b, tree)
		return
	}
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchWalk(b, manyFiles(b, n)) })
	}
}

func benchWalk(b *testing.B, root string) {
	mark := filepath.Join(b.TempDir(), "mark")
	check(b, os.WriteFile(mark, nil, 0o644))
	files := walk(b, root).Len() // brings the tree into the kernel's caches
	b.ResetTimer()
	var memory uint64
	own, find := inTurn(b.N, func() {}, func() {
		walk(b, root)
	}, func() {
		check(b, exec.Command("find", root, "-xdev", "-newer", mark).Run())
	})
	indexes := []*rootfs.Index{walk(b, root), walk(b, root)}
	memory = heap()
	runtime.KeepAlive(indexes)
	memory -= heap()
	b.ReportMetric(ratio(own, find), "times-find")
	b.ReportMetric(float64(median(own).Nanoseconds())/float64(files), "ns/file")
	b.ReportMetric(float64(memory)/float64(1<<20), "MB/two-indexes")
	b.ReportMetric(0, "ns/op")
}

// inTurn measures two things n times, one after the other, and not always the same one
// first. It prepares before each time.
func inTurn(n int, prepare, one, other func()) (ones, others []time.Duration) {
	for i := range n {
		prepare()
		begin := time.Now()
		if i%2 == 0 {
			one()
		} else {
			other()
		}
		first := time.Since(begin)
		begin = time.Now()
		if i%2 == 0 {
			other()
		} else {
			one()
		}
		second := time.Since(begin)
		if i%2 != 0 {
			first, second = second, first
		}
		ones, others = append(ones, first), append(others, second)
	}
	return ones, others
}

// ratio is the median of the ratios of what was measured one after the other.
func ratio(ones, others []time.Duration) float64 {
	ratios := make([]float64, len(ones))
	for n := range ones {
		ratios[n] = float64(ones[n]) / float64(others[n])
	}
	return median(ratios)
}

func median[T cmp.Ordered](all []T) T {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
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
	}{{"2000-files-of-4kB", 2_000, 4 << 10}, {"10-files-of-20MB", 10, 20 << 20}} {
		layer := filepath.Join(b.TempDir(), "layer.tar")
		check(b, os.WriteFile(layer, benchLayer(b, c.files, c.size), 0o644))
		for _, over := range []string{"nothing", "itself"} {
			b.Run(c.name+"-onto-"+over, func(b *testing.B) {
				ours, theirs := filepath.Join(b.TempDir(), "ours"), filepath.Join(b.TempDir(), "theirs")
				own, tar := inTurn(b.N+1, func() {
					for _, dir := range []string{ours, theirs} {
						if over == "nothing" {
							check(b, os.RemoveAll(dir))
						}
						check(b, os.MkdirAll(dir, 0o755))
					}
				}, func() {
					applyFile(b, ours, layer)
				}, func() {
					untar(b, theirs, layer)
				})
				own, tar = own[1:], tar[1:] // the first brings the layer into the kernel's caches
				b.ReportMetric(ratio(own, tar), "times-tar")
				b.ReportMetric(float64(median(own).Milliseconds()), "ms")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func applyFile(b *testing.B, dir, layer string) {
	in, err := os.Open(layer)
	check(b, err)
	defer in.Close()
	check(b, rootfs.Apply(context.Background(), dir, in, rootfs.ApplyOptions{}))
}

func untar(b *testing.B, dir, layer string) {
	check(b, exec.Command("tar", "-x", "--same-owner", "-p", "-C", dir, "-f", layer).Run())
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
