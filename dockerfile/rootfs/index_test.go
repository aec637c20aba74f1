package rootfs_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/internal/needs"
	"github.com/graft-cnb/graft/dockerfile/rootfs"
)

// What counts as a change, and what only looks like one: overlays copy a file up when
// it is opened to be written, and programs leave traces in every directory they work in.
func TestWhatIsInALayer(t *testing.T) {
	needs.Root(t)
	for name, c := range map[string]struct {
		change func(root string) error
		want   []string
	}{
		"nothing":                      {func(string) error { return nil }, nil},
		"a file within the same tick":  {func(root string) error { return os.WriteFile(root+"/dir/file", []byte("fill"), 0o644) }, []string{"dir/", "dir/file"}},
		"a mode":                       {func(root string) error { return os.Chmod(root+"/dir/file", 0o600) }, []string{"dir/", "dir/file"}},
		"the mode of a directory":      {func(root string) error { return os.Chmod(root+"/dir", 0o700) }, []string{"dir/"}},
		"the owner of a directory":     {func(root string) error { return os.Chown(root+"/dir", 7, 7) }, []string{"dir/"}},
		"the time of a directory":      {func(root string) error { return os.Chtimes(root+"/dir", time.Time{}, time.Unix(9, 0)) }, nil},
		"a file that comes and goes":   {func(root string) error { return errors.Join(os.Mkdir(root+"/dir/x", 0o755), os.Remove(root+"/dir/x")) }, nil},
		"the mode of an empty file":    {func(root string) error { return os.Chmod(root+"/empty", 0o600) }, []string{"empty"}},
		"an empty file that is locked": {func(root string) error { return os.Chmod(root+"/empty", 0o644) }, nil},
		"a further name":               {func(root string) error { return os.Link(root+"/dir/file", root+"/z") }, []string{"dir/", "dir/file", "z"}},
		"a directory that goes":        {func(root string) error { return os.RemoveAll(root + "/dir") }, []string{".wh.dir"}},
		"a directory become a file": {func(root string) error {
			return errors.Join(os.RemoveAll(root+"/dir"), os.WriteFile(root+"/dir", nil, 0o644))
		}, []string{"dir"}},
		"a file become a directory": {func(root string) error {
			return errors.Join(os.Remove(root+"/empty"), os.MkdirAll(root+"/empty/in", 0o755))
		}, []string{"empty/", "empty/in/"}},
		"a socket": {func(root string) error { return unix.Mknod(root+"/socket", unix.S_IFSOCK|0o600, 0) }, nil},
		"a file become a socket": {func(root string) error {
			return errors.Join(os.Remove(root+"/empty"), unix.Mknod(root+"/empty", unix.S_IFSOCK|0o600, 0))
		}, []string{".wh.empty"}},
		"in a place that is skipped":         {func(root string) error { return os.WriteFile(root+"/skip/new", nil, 0o644) }, nil},
		"a place that is skipped, removed":   {func(root string) error { return os.RemoveAll(root + "/skip") }, nil},
		"a place behind a link":              {func(root string) error { return os.WriteFile(root+"/real/new", nil, 0o644) }, nil},
		"a place that comes":                 {func(root string) error { return os.Mkdir(root+"/later", 0o755) }, nil},
		"one whose name begins like a place": {func(root string) error { return os.WriteFile(root+"/skipped", nil, 0o644) }, []string{"skipped"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, map[string]string{"dir/file": "full", "empty": "", "skip/in": "", "real/place": ""})
			check(t, os.Symlink("real", root+"/link"))
			skip := []string{"/skip", "/link", "/later/"}
			before := walk(t, root, skip...)
			check(t, c.change(root))
			if _, names := layerOf(t, root, before, skip...); !slices.Equal(names, c.want) {
				t.Errorf("the layer holds %q, wanted %q", names, c.want)
			}
		})
	}
}

// A mount is told by the mount table, also one of the same file system, which has the
// same device number.
func TestMountsAreNotWalked(t *testing.T) {
	needs.Root(t)
	if !inMountNamespace(t) {
		return
	}
	root := t.TempDir()
	write(t, root, map[string]string{"a/mounted/": "", "a/file": "", "other/in": ""})
	check(t, os.WriteFile(root+"/outside", nil, 0o644))
	check(t, unix.Mount(root+"/other", root+"/a/mounted", "", unix.MS_BIND, ""))
	check(t, unix.Mount(root+"/outside", root+"/a/file", "", unix.MS_BIND, ""))
	before := walk(t, root)
	check(t, os.WriteFile(root+"/a/mounted/new", []byte("new"), 0o644))
	check(t, os.WriteFile(root+"/a/file", []byte("new"), 0o644))
	_, names := layerOf(t, root, before)
	if want := []string{"other/", "other/new", "outside"}; !slices.Equal(names, want) {
		t.Errorf("the layer holds %q, wanted %q", names, want)
	}
	check(t, unix.Unmount(root+"/a/mounted", 0))
	check(t, unix.Unmount(root+"/a/file", 0))
}

// A walk ends with its context.
func TestWalkIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := rootfs.Walk(ctx, t.TempDir(), rootfs.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// Files of an overlay lie on several file systems, and two of them can have the same
// inode number: that does not make them one.
func TestFilesOfSeveralFileSystemsAreNotLinked(t *testing.T) {
	needs.Root(t)
	if !inMountNamespace(t) {
		return
	}
	dir := t.TempDir()
	lower, upper := filepath.Join(dir, "lower"), filepath.Join(dir, "upper")
	for _, at := range []string{lower, upper} {
		check(t, os.Mkdir(at, 0o755))
		check(t, unix.Mount("tmpfs", at, "tmpfs", 0, ""))
		defer func() { check(t, unix.Unmount(at, 0)) }()
	}
	write(t, lower, map[string]string{"one": "1"})
	check(t, os.Link(lower+"/one", lower+"/one-again"))
	write(t, upper, map[string]string{"data/": "", "work/": "", "data/two": "2"})
	check(t, os.Link(upper+"/data/two", upper+"/data/two-again"))
	root := filepath.Join(dir, "root")
	check(t, os.Mkdir(root, 0o755))
	check(t, unix.Mount("overlay", root, "overlay", 0, "xino=off,lowerdir="+lower+",upperdir="+upper+"/data,workdir="+upper+"/work"))
	defer func() { check(t, unix.Unmount(root, 0)) }()

	layer, _ := layerOf(t, root, walk(t, t.TempDir()))
	copied := t.TempDir()
	check(t, apply(copied, layer))
	sameState(t, state(t, root, always), state(t, copied, always))
}

// inMountNamespace runs a test again, in a process whose mounts concern nobody else. It
// returns true in there.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	return again(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
}

// again runs a test again, in a process with other attributes. It returns true in there.
func again(t *testing.T, attributes *syscall.SysProcAttr) bool {
	t.Helper()
	const mark = "GRAFT_TEST_IS_AGAIN"
	if os.Getenv(mark) != "" {
		return true
	}
	c := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), mark+"=1")
	c.SysProcAttr = attributes
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}
