package rootfs_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

// What changed in a tree, written as a layer and applied onto a copy of what it was
// before, makes the tree: type, mode, owner, size, link, time, hard links, capabilities
// and content, whatever was done to it.
func TestLayerOfRandomChangesMakesTheTree(t *testing.T) {
	needs.Root(t)
	manySeeds(t, func(t *testing.T, m *mess) {
		m.root = filepath.Join(t.TempDir(), "tree")
		check(t, os.Mkdir(m.root, 0o755))
		for range 60 {
			m.change(t)
		}
		checkClosure(t, m)
	})
}

// The same on an overlay, as the root of a container is: what is changed there is copied
// up first, names of one file come apart, and directories cannot be renamed.
func TestLayerOfRandomChangesMakesTheOverlay(t *testing.T) {
	needs.Root(t)
	if !inMountNamespace(t) {
		return
	}
	manySeeds(t, func(t *testing.T, m *mess) {
		dir := t.TempDir()
		for _, name := range []string{"lower", "upper", "work", "root"} {
			check(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		}
		m.root = filepath.Join(dir, "lower")
		for range 60 {
			m.change(t)
		}
		m.root = filepath.Join(dir, "root")
		options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)
		check(t, unix.Mount("overlay", m.root, "overlay", 0, options))
		defer func() { check(t, unix.Unmount(m.root, 0)) }()
		checkClosure(t, m)
	})
}

// seedVariable is the environment variable that repeats a failure.
const seedVariable = "GRAFT_TEST_SEED"

// manySeeds runs a test with random changes, each time others, or with those of the seed
// that the environment names.
func manySeeds(t *testing.T, test func(t *testing.T, m *mess)) {
	seeds := make([]uint64, 40)
	if testing.Short() {
		seeds = seeds[:10]
	}
	for n := range seeds {
		seeds[n] = rand.Uint64()
	}
	if given := os.Getenv(seedVariable); given != "" {
		seed, err := strconv.ParseUint(given, 10, 64)
		check(t, err)
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%s=%d repeats this", seedVariable, seed)
				}
			})
			test(t, &mess{random: rand.New(rand.NewPCG(seed, 0))})
		})
	}
}

// checkClosure changes a tree, and applies the layer of that onto a copy of what it was.
func checkClosure(t *testing.T, m *mess) {
	t.Helper()
	before := filepath.Join(t.TempDir(), "before")
	copyTree(t, m.root, before)
	index := walk(t, m.root)
	for range 1 + m.random.IntN(40) {
		m.change(t)
	}
	layer, names := layerOf(t, m.root, index)
	check(t, apply(before, layer))

	inLayer := map[string]bool{}
	for _, name := range names {
		inLayer[strings.TrimSuffix(name, "/")] = true
	}
	dated := func(name string) bool { return inLayer[name] }
	sameState(t, state(t, m.root, dated), state(t, before, dated))
	if t.Failed() {
		t.Logf("the layer holds %q", names)
	}
}

// mess changes a tree at random.
type mess struct {
	root   string
	random *rand.Rand
}

// any is a path that may be taken or not; there are few, so that they meet.
func (m *mess) any() string {
	path := m.root
	for range 1 + m.random.IntN(3) {
		path = filepath.Join(path, string(rune('a'+m.random.IntN(5))))
	}
	return path
}

// change does one thing, or, where something is in the way, nothing.
func (m *mess) change(t *testing.T) {
	path, other := m.any(), m.any()
	if real, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(real, filepath.Base(path)) // through links of the tree
	}
	info, err := os.Lstat(path)
	regular := err == nil && info.Mode().IsRegular()
	switch m.random.IntN(15) {
	case 0, 1:
		if err != nil || regular {
			_ = os.WriteFile(path, make([]byte, m.random.IntN(3)*m.random.IntN(9000)), 0o644)
		}
	case 2, 3:
		_ = os.Mkdir(path, 0o755)
	case 4:
		_ = os.Symlink(filepath.Base(other), path) // it never leads upwards
	case 5, 6:
		_ = os.Link(other, path)
	case 7:
		if err == nil {
			check(t, os.RemoveAll(path))
		}
	case 8:
		_ = os.Rename(other, path)
	case 9:
		if err == nil {
			_ = os.RemoveAll(path)
			_ = os.Rename(other, path)
		}
	case 10:
		if regular {
			check(t, os.Chmod(path, os.FileMode(m.random.IntN(0o1000))|os.ModeSetuid))
		}
	case 11:
		_ = os.Lchown(path, m.random.IntN(9), m.random.IntN(9))
	case 12:
		if regular {
			check(t, os.Chtimes(path, time.Time{}, time.Unix(int64(m.random.IntN(1e9)), 0)))
		}
	case 13:
		if regular && info.Size() > 0 {
			check(t, unix.Lsetxattr(path, capability, []byte(capNetRaw), 0))
		}
	case 14:
		_ = unix.Mknod(path, uint32([]int{unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK}[m.random.IntN(3)])|0o600, int(unix.Mkdev(7, 200)))
	}
}
