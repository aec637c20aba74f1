package acceptance

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"
)

// diskUsage is the number of bytes that the files below dir take.
func diskUsage(t *testing.T, dir string) int64 {
	t.Helper()
	var total int64
	check(t, filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	}))
	return total
}

// The local state is pruned by size, explicitly. It stays small however
// many builds there are, and what was used last stays in it.
func TestCacheSize(t *testing.T) {
	const megabyte = 1 << 20
	e := embeddedIn(t, t.TempDir())
	base := "oci:" + smallBase(t, nil)
	build := func(n int, args ...string) outcome {
		s := newScene(t, "run", base, e)
		s.step("one", fmt.Sprintf("RUN dd if=/dev/urandom of=/tmp/%d bs=1M count=10 2>/dev/null", n), "USER 7")
		return s.succeed(args...)
	}
	// Without a limit it grows.
	for n := range 6 {
		build(n)
	}
	if used := diskUsage(t, e.state); used < 60*megabyte {
		t.Fatalf("six builds of 10 MB are kept in %d bytes", used)
	}
	for n := range 4 {
		build(10+n, "-cache-size", "35MB")
		if used := diskUsage(t, e.state); used > 40*megabyte {
			t.Errorf("after build %d the cache has %d MB", n, used/megabyte)
		}
	}
	if o := build(13, "-cache-size", "35MB"); len(o.cached()) == 0 {
		t.Errorf("what was used last is not in the cache: %v", o)
	}
	// A limit that nothing fits in leaves a cache that works.
	for range 2 {
		build(20, "-cache-size", "1KB")
	}
	if used := diskUsage(t, e.state); used > 5*megabyte {
		t.Errorf("nothing should be left, and the cache has %d MB", used/megabyte)
	}
}
