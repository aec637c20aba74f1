package rootfs_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What changed in a tree, written as a layer and applied onto a copy of what it was
// before, makes the tree: type, mode, owner, size, link, time, hard links, capabilities
// and content, whatever was done to it.
func TestLayerOfRandomChangesMakesTheTree(t *testing.T) {
	needRoot(t)
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := t.TempDir()
			tree, before := filepath.Join(dir, "tree"), filepath.Join(dir, "before")
			check(t, os.Mkdir(tree, 0o755))
			m := &mess{root: tree, random: rand.New(rand.NewPCG(seed, uint64(round)))}
			for range 60 {
				m.change(t)
			}
			copyTree(t, tree, before)
			index := walk(t, tree)
			for range 1 + m.random.IntN(40) {
				m.change(t)
			}
			layer, names := layerOf(t, tree, index)
			check(t, apply(before, layer))

			inLayer := map[string]bool{}
			for _, name := range names {
				inLayer[strings.TrimSuffix(name, "/")] = true
			}
			dated := func(name string) bool { return inLayer[name] }
			sameState(t, state(t, tree, dated), state(t, before, dated))
			if t.Failed() {
				t.Logf("the layer holds %q", names)
			}
		})
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
