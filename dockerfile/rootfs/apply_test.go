package rootfs_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/internal/needs"
	"github.com/graft-cnb/graft/dockerfile/rootfs"
)

func regular(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: content}
}

func directory(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }

func symlink(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}

func hardlink(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

// tree is what a root filesystem holds before a layer is applied to it.
var tree = map[string]string{
	"usr/bin/tool": "old", "usr/lib/a.so": "a", "etc/hosts": "mounted", "etc/conf": "old",
	"opt/deep/er/file": "old", "opt/other": "old", "workspace/app/source": "the user's",
	"home/cnb/app/source": "the user's", "home/cnb/rest": "old", "home/other": "old",
}

// What entries of a layer do to a tree (image-spec, layer.md, "Applying Changesets"),
// where /workspace, /home/cnb/app and /etc/hosts are left alone.
func TestApply(t *testing.T) {
	needs.Root(t)
	kept := map[string]string{"workspace/app/source": "the user's", "home/cnb/app/source": "the user's", "etc/hosts": "mounted"}
	for name, c := range map[string]struct {
		layer []tar.Header
		// want are contents, or "-> " and the target of a link; "" for what is not there.
		want map[string]string
	}{
		"whiteout of a file":           {[]tar.Header{regular("opt/.wh.other", "")}, map[string]string{"opt/other": "", "opt/deep/er/file": "old"}},
		"whiteout of a tree":           {[]tar.Header{regular(".wh.opt", "")}, map[string]string{"opt": ""}},
		"whiteout of nothing":          {[]tar.Header{regular("none/.wh.x", "")}, map[string]string{"none": ""}},
		"whiteout below a file":        {[]tar.Header{regular("opt/other/.wh.x", "")}, map[string]string{"opt/other": "old"}},
		"whiteout after its successor": {[]tar.Header{directory("opt/"), regular("opt/new", "new"), regular(".wh.opt", "")}, map[string]string{"opt/new": "new", "opt/other": "", "opt/deep": ""}},
		"opaque directory":             {[]tar.Header{regular("opt/.wh..wh..opq", ""), regular("opt/new", "new")}, map[string]string{"opt/new": "new", "opt/other": "", "opt/deep": ""}},
		"opaque marker at the end":     {[]tar.Header{regular("opt/deep/new", "new"), regular("opt/.wh..wh..opq", "")}, map[string]string{"opt/deep/new": "new", "opt/other": "", "opt/deep/er": ""}},
		"marker of an old file system": {[]tar.Header{regular("opt/.wh..wh.plnk", "")}, map[string]string{"opt/.wh..wh.plnk": "", "opt/other": "old"}},
		"file for a directory":         {[]tar.Header{regular("opt/deep", "new")}, map[string]string{"opt/deep": "new"}},
		"link for a directory":         {[]tar.Header{symlink("opt/deep", "../usr"), regular("opt/deep/bin/x", "new")}, map[string]string{"opt/deep": "-> ../usr", "usr/bin/x": "new"}},
		"directory for a file":         {[]tar.Header{directory("opt/other/"), regular("opt/other/in", "new")}, map[string]string{"opt/other/in": "new"}},
		"directory for a link":         {[]tar.Header{directory("bin/"), regular("bin/in", "new")}, map[string]string{"bin/in": "new", "usr/bin/in": ""}},
		"through a link":               {[]tar.Header{regular("bin/x", "new")}, map[string]string{"bin": "-> usr/bin", "usr/bin/x": "new"}},
		"through an absolute link":     {[]tar.Header{regular("abs/x", "new")}, map[string]string{"abs": "-> /usr/lib", "usr/lib/x": "new"}},
		"through a dangling link":      {[]tar.Header{regular("dangling/x", "new")}, map[string]string{"made/here/x": "new"}},
		"a link that leads upwards":    {[]tar.Header{regular("up/x", "new")}, map[string]string{"outside/x": "new"}},
		"a link becomes a file":        {[]tar.Header{regular("bin", "new")}, map[string]string{"bin": "new", "usr/bin/tool": "old"}},
		"a link to a file":             {[]tar.Header{regular("etc/link", "new")}, map[string]string{"etc/link": "new", "etc/conf": "old"}},
		"hard link":                    {[]tar.Header{regular("opt/one", "new"), hardlink("opt/two", "opt/one")}, map[string]string{"opt/two": "new"}},
		"hard link to what was there":  {[]tar.Header{hardlink("opt/other", "etc/conf")}, map[string]string{"opt/other": "old"}},
		"hard link to itself":          {[]tar.Header{regular("opt/one", "new"), hardlink("opt/one", "opt/one")}, map[string]string{"opt/one": "new"}},
		"hard link twice":              {[]tar.Header{regular("opt/one", "new"), hardlink("opt/two", "opt/one"), hardlink("opt/two", "opt/one")}, map[string]string{"opt/two": "new"}},
		"parents are made":             {[]tar.Header{regular("new/deep/x", "new")}, map[string]string{"new/deep/x": "new"}},
		"names of odd shapes":          {[]tar.Header{regular("/opt//./x", "new"), regular("./y", "new")}, map[string]string{"opt/x": "new", "y": "new"}},
		"the root itself":              {[]tar.Header{directory("./"), regular("x", "new")}, map[string]string{"x": "new"}},
		"in a place":                   {[]tar.Header{directory("workspace/"), regular("workspace/app/source", "new"), regular("workspace/new", "new"), regular("workspace/app/.wh.source", ""), regular("etc/hosts", "new")}, map[string]string{"workspace/new": ""}},
		"in a place behind a link":     {[]tar.Header{symlink("way", "workspace/app"), regular("way/source", "new"), regular("way/.wh.source", ""), regular("way/.wh..wh..opq", "")}, map[string]string{"way": "-> workspace/app"}},
		"whiteout of a place":          {[]tar.Header{regular(".wh.workspace", ""), regular("etc/.wh.hosts", "")}, nil},
		"whiteout above a place":       {[]tar.Header{regular(".wh.home", ""), regular(".wh.etc", "")}, map[string]string{"home/other": "", "home/cnb/rest": "", "etc/conf": ""}},
		"opaque above a place":         {[]tar.Header{regular("home/.wh..wh..opq", "")}, map[string]string{"home/other": "", "home/cnb/rest": ""}},
		"hard link out of a place":     {[]tar.Header{regular("workspace/made", "new"), hardlink("workspace/again", "workspace/made"), hardlink("opt/one", "workspace/made"), hardlink("opt/two", "workspace/again")}, map[string]string{"opt/one": "new", "opt/two": "new", "workspace/made": ""}},
		"hard link into a place":       {[]tar.Header{regular("opt/one", "new"), hardlink("workspace/two", "opt/one")}, map[string]string{"opt/one": "new", "workspace/two": ""}},
		"opaque root":                  {[]tar.Header{regular("workspace/made", "new"), regular(".wh..wh..opq", ""), hardlink("one", "workspace/made")}, map[string]string{"one": "new", "usr": "", "bin": ""}},
		"a name of each length":        {[]tar.Header{regular(strings.Repeat("d/", 1000)+strings.Repeat("n", 255), "new")}, map[string]string{strings.Repeat("d/", 1000) + strings.Repeat("n", 255): "new"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			write(t, root, tree)
			for name, to := range map[string]string{"bin": "usr/bin", "abs": "/usr/lib", "dangling": "made/here", "up": "../../../outside", "etc/link": "conf"} {
				check(t, os.Symlink(to, filepath.Join(root, name)))
			}
			check(t, apply(root, tarOf(t, c.layer...), "/workspace", "home/cnb/app/", "/etc/hosts", "/not/there"))
			for _, want := range []map[string]string{c.want, kept} {
				for name, content := range want {
					if got := contentAt(t, filepath.Join(root, name)); got != content {
						t.Errorf("%s is %q, wanted %q", name, got, content)
					}
				}
			}
			if left, _ := filepath.Glob(filepath.Join(root, "/.graft*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if around, err := os.ReadDir(filepath.Dir(root)); err != nil || len(around) != 1 {
				t.Errorf("around the root: %v %v", around, err)
			}
		})
	}
}

// contentAt is what a file holds, or where a link leads; empty when it is not there.
func contentAt(t *testing.T, name string) string {
	t.Helper()
	info, err := os.Lstat(name)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return ""
	}
	check(t, err)
	switch {
	case info.Mode()&os.ModeSymlink != 0:
		to, err := os.Readlink(name)
		check(t, err)
		return "-> " + to
	case info.IsDir():
		return "a directory"
	}
	data, err := os.ReadFile(name)
	check(t, err)
	return string(data)
}

// A layer that no builder of images makes is refused, and nothing outside of the root
// notices.
func TestApplyRefuses(t *testing.T) {
	needs.Root(t)
	for name, c := range map[string]struct {
		layer   []tar.Header
		damaged bool
		text    string
	}{
		"a name that leads upwards":         {[]tar.Header{regular("../x", "")}, true, "../x"},
		"a name that leads upwards later":   {[]tar.Header{regular("opt/../../x", "")}, true, "within a layer"},
		"a hard link that leads upwards":    {[]tar.Header{hardlink("x", "../canary")}, true, "../canary"},
		"a hard link to nothing":            {[]tar.Header{hardlink("x", "opt/none")}, true, "opt/none"},
		"a hard link to a directory":        {[]tar.Header{hardlink("x", "opt")}, true, "opt"},
		"a hard link to a place":            {[]tar.Header{hardlink("x", "workspace/app/source")}, true, "not in the image"},
		"a whiteout of nothing":             {[]tar.Header{regular("opt/.wh.", "")}, true, "marks no file"},
		"a whiteout of the directory":       {[]tar.Header{regular("opt/.wh..", "")}, true, "marks no file"},
		"a whiteout of the parent":          {[]tar.Header{regular("opt/.wh...", "")}, true, "marks no file"},
		"an owner that is none":             {[]tar.Header{{Typeflag: tar.TypeReg, Name: "x", Uid: -1}}, true, "owner"},
		"a name that is too long":           {[]tar.Header{regular(strings.Repeat("x", 300), "")}, false, "name too long"},
		"a path that is too long":           {[]tar.Header{regular(strings.Repeat("x/", 3000)+"x", "")}, false, "name too long"},
		"links in a circle":                 {[]tar.Header{symlink("a", "b"), symlink("b", "a"), regular("a/x", "")}, false, "too many levels"},
		"a file as a directory":             {[]tar.Header{regular("opt/other/x", "")}, false, "not a directory"},
		"a file for what a place is in":     {[]tar.Header{regular("home", "")}, false, "left alone"},
		"a file for a file's parent, twice": {[]tar.Header{symlink("l", "/"), regular("l/home", "")}, false, "left alone"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			root := filepath.Join(dir, "root")
			write(t, root, tree)
			write(t, dir, map[string]string{"canary": "sings"})
			err := apply(root, tarOf(t, c.layer...), "/workspace", "/home/cnb/app")
			if err == nil || errors.Is(err, rootfs.ErrDamaged) != c.damaged || !strings.Contains(err.Error(), c.text) {
				t.Errorf("the error is %v; wanted one with %q, and damaged %v", err, c.text, c.damaged)
			}
			if around, err := os.ReadDir(dir); err != nil || len(around) != 2 || contentAt(t, dir+"/canary") != "sings" {
				t.Errorf("around the root: %v %v", around, err)
			}
		})
	}
}

// A layer that ends in the midst is one that is damaged.
func TestApplyTruncated(t *testing.T) {
	needs.Root(t)
	layer := tarOf(t, regular("one", strings.Repeat("x", 2000)), regular("two", "2"))
	for _, size := range []int{100, 600, 2000, 2700, 3000} {
		root := t.TempDir()
		if err := apply(root, layer[:size]); !errors.Is(err, rootfs.ErrDamaged) {
			t.Errorf("with %d of %d bytes the error is %v", size, len(layer), err)
		}
		for name, size := range map[string]int{"one": 2000, "two": 1} {
			if content := contentAt(t, filepath.Join(root, name)); content != "" && len(content) != size {
				t.Errorf("half of %s is left", name)
			}
		}
	}
}

// A program that runs is replaced without being disturbed, and so is a file that is open.
func TestApplyReplacesWhatIsInUse(t *testing.T) {
	needs.Root(t)
	sleep, err := exec.LookPath("sleep")
	check(t, err)
	root := t.TempDir()
	copyTree(t, sleep, root+"/program")
	running := exec.Command(root+"/program", "60")
	check(t, running.Start())
	defer func() { _ = running.Process.Kill(); _ = running.Wait() }()
	write(t, root, map[string]string{"open": "old"})
	open, err := os.Open(root + "/open")
	check(t, err)
	defer open.Close()

	check(t, apply(root, tarOf(t, regular("program", "new"), regular("open", "new"))))
	old := make([]byte, 10)
	if n, _ := open.Read(old); string(old[:n]) != "old" || contentAt(t, root+"/open") != "new" || contentAt(t, root+"/program") != "new" {
		t.Errorf("the open file reads %q, the new one %q, the program is %q", old[:n], contentAt(t, root+"/open"), contentAt(t, root+"/program"))
	}
	check(t, running.Process.Signal(unix.Signal(0)))
}

// Everything that a header says of a file arrives: dates to the nanosecond, modes with
// setuid, attributes of every kind that the file system has, device numbers.
func TestApplyMetadata(t *testing.T) {
	needs.Root(t)
	root := t.TempDir()
	date := time.Unix(1234567890, 987654321)
	xattrs := map[string]string{"SCHILY.xattr.user.color": "blue\x00green", "SCHILY.xattr." + capability: capNetRaw, "SCHILY.xattr.trusted.overlay.opaque": "y"}
	layer := tarOf(t,
		tar.Header{Typeflag: tar.TypeReg, Name: "file", Linkname: "x", Mode: 0o6751, Uid: 1234, Gid: 5678, ModTime: date, PAXRecords: xattrs, Format: tar.FormatPAX},
		tar.Header{Typeflag: tar.TypeDir, Name: "dir", Mode: 0o3770, Uid: 1, Gid: 2, ModTime: date, Format: tar.FormatPAX},
		regular("dir/late", ""),
		tar.Header{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o620},
		tar.Header{Typeflag: tar.TypeReg, Name: "old", ModTime: time.Unix(-5, 0), Format: tar.FormatPAX},
	)
	check(t, apply(root, layer))
	got := state(t, root, always)
	for name, want := range map[string]string{
		"file": "ugrwxr-x--x 1234:5678 @1234567890 ",
		"dir":  "dgtrwxrwx--- 1:2 @1234567890",
		"null": "Dcrw-rw-rw- 0:0 ",
		"fifo": "prw--w---- 0:0 ",
		"old":  "-rwxr-xr-x 0:0 @-5 ",
	} {
		if !strings.HasPrefix(got[name], want) {
			t.Errorf("%s is %q, wanted %q", name, got[name], want)
		}
	}
	info, err := os.Stat(root + "/file")
	check(t, err)
	if !info.ModTime().Equal(date) {
		t.Errorf("the file is of %v, wanted %v", info.ModTime(), date)
	}
	for attribute, want := range map[string]string{"user.color": "blue\x00green", capability: capNetRaw, "trusted.overlay.opaque": ""} {
		value := make([]byte, 64)
		n, err := unix.Lgetxattr(root+"/file", attribute, value)
		if n = max(n, 0); string(value[:n]) != want {
			t.Errorf("%s is %q (%v), wanted %q", attribute, value[:n], err, want)
		}
	}
}

// Nothing is written below a mount, whoever made it.
func TestApplyKeepsOffMounts(t *testing.T) {
	needs.Root(t)
	if !inMountNamespace(t) {
		return
	}
	root := t.TempDir()
	write(t, root, map[string]string{"a/mounted/": "", "a/file": "old"})
	check(t, unix.Mount("tmpfs", root+"/a/mounted", "tmpfs", 0, ""))
	write(t, root, map[string]string{"a/mounted/in": "old"})
	err := apply(root, tarOf(t, regular("a/mounted/in", "new"), regular("a/mounted/other", "new"), regular(".wh.a", "")))
	got := fmt.Sprint(contentAt(t, root+"/a/mounted/in"), contentAt(t, root+"/a/mounted/other"), contentAt(t, root+"/a/file"))
	check(t, unix.Unmount(root+"/a/mounted", 0))
	check(t, err)
	if got != "old" {
		t.Errorf("in the mount, and beside it: %q", got)
	}
}

// Where no devices can be made, a layer is applied without them, and says so.
func TestApplyWithoutDevices(t *testing.T) {
	needs.Root(t)
	root := []syscall.SysProcIDMap{{Size: 1}}
	if !again(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: root, GidMappings: root}) {
		return
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{"taken": "old"})
	layer := tarOf(t, tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3},
		tar.Header{Typeflag: tar.TypeBlock, Name: "taken", Devmajor: 7, Devminor: 3}, regular("file", "new"))
	var warnings []string
	check(t, rootfs.Apply(context.Background(), dir, bytes.NewReader(layer), rootfs.ApplyOptions{
		Warn: func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) },
	}))
	entries, err := os.ReadDir(dir)
	check(t, err)
	if len(entries) != 2 || contentAt(t, dir+"/file") != "new" || contentAt(t, dir+"/taken") != "old" {
		t.Errorf("there are %v", entries)
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "/null") || !strings.Contains(warnings[1], "/taken") {
		t.Errorf("the warnings are %q", warnings)
	}
}

// An archive is no layer: marks of removal are files, and a path that leads upwards ends
// at the root, as in a root directory of its own. A link in it leads nowhere else either:
// the finding was that ADD in place followed one out of its destination.
func TestApplyAnArchive(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	write(t, root, map[string]string{"opt/kept": "old", "etc/place": "mounted"})
	write(t, dir, map[string]string{"outside/file": "old"})
	archive := tarOf(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o700, Uid: 5, Gid: 5},
		regular("opt/.wh.kept", "a mark"), regular("opt/.wh..wh..opq", "another"),
		symlink("way", dir+"/outside"), regular("way/evil", "new"), regular("way/file", "new"),
		symlink("up", "../outside"), regular("up/evil", "new"),
		regular("../above", "new"), regular("opt/../../beside", "new"), hardlink("hard", "../../above"),
		regular("etc/place", "new"),
		tar.Header{Typeflag: tar.TypeReg, Name: "owned", Uid: 99, Gid: 99},
		regular("first", "new"), tar.Header{Typeflag: tar.TypeLink, Name: "again", Linkname: "first", Mode: 0o4711},
	)
	check(t, rootfs.Apply(t.Context(), root, bytes.NewReader(archive), rootfs.ApplyOptions{
		Archive: true, Owner: &rootfs.Owner{UID: 12, GID: 34}, Skip: []string{"/etc/place"},
	}))
	for name, want := range map[string]string{
		"opt/kept": "old", "opt/.wh.kept": "a mark", "opt/.wh..wh..opq": "another", "above": "new", "beside": "new", "hard": "new",
		"way": "-> " + dir + "/outside", "outside/evil": "new", "etc/place": "mounted",
	} {
		if got := contentAt(t, filepath.Join(root, name)); got != want {
			t.Errorf("%s is %q, wanted %q", name, got, want)
		}
	}
	if evil, old := contentAt(t, dir+"/outside/evil"), contentAt(t, dir+"/outside/file"); evil != "" || old != "old" {
		t.Errorf("outside there are %q and %q", evil, old)
	}
	if around, err := os.ReadDir(dir); err != nil || len(around) != 2 {
		t.Errorf("around the root: %v %v", around, err)
	}
	all := state(t, root, always)
	for name, owner := range map[string]string{"owned": " 12:34 ", "above": " 12:34 ", "opt/kept": " 0:0 ", "first": "urwx--x--x 12:34 "} {
		if !strings.Contains(all[name], owner) {
			t.Errorf("%s is %q, wanted the owner%s", name, all[name], owner)
		}
	}
}

// Names of a layer may come twice, also at places that are left alone: a further name of
// one has its content, and not another's.
func TestApplyLinksToTheRightFileOfAPlace(t *testing.T) {
	needs.Root(t)
	root := t.TempDir()
	check(t, apply(root, tarOf(t, regular("place/a", "first"), regular("place/a", "second"), regular("place/b", "b"),
		hardlink("out", "place/a"), hardlink("other", "place/b")), "/place"))
	if out, other := contentAt(t, root+"/out"), contentAt(t, root+"/other"); out != "second" || other != "b" {
		t.Errorf("the links are to %q and %q", out, other)
	}
}

// Applying ends with its context.
func TestApplyIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := rootfs.Apply(ctx, t.TempDir(), bytes.NewReader(tarOf(t, regular("x", ""))), rootfs.ApplyOptions{})
	if !errors.Is(err, context.Canceled) || errors.Is(err, rootfs.ErrDamaged) {
		t.Errorf("the error is %v", err)
	}
}
