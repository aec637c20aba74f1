package rootfs_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/rootfs"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes files below root: a name that ends in a slash is a directory.
func write(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		full := filepath.Join(root, name)
		check(t, os.MkdirAll(filepath.Dir(full), 0o755))
		if strings.HasSuffix(name, "/") {
			check(t, os.MkdirAll(full, 0o755))
		} else {
			check(t, os.WriteFile(full, []byte(files[name]), 0o644))
		}
	}
}

// state is everything about the files below root that a layer tells, by path. The time
// of a directory counts where dated says so.
func state(t testing.TB, root string, dated func(name string) bool) map[string]string {
	t.Helper()
	all := map[string]string{}
	first := map[[2]uint64]string{}
	check(t, filepath.WalkDir(root, func(full string, _ fs.DirEntry, err error) error {
		if err != nil || full == root {
			return err
		}
		name := strings.TrimPrefix(full, root+"/")
		info, err := os.Lstat(full)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
		if !info.IsDir() || dated(name) {
			text += fmt.Sprintf(" @%d", st.Mtim.Sec)
		}
		if !info.IsDir() {
			id := [2]uint64{uint64(st.Dev), st.Ino}
			if first[id] == "" {
				first[id] = name
			}
			text += " is " + first[id]
		}
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(full)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d bytes %x", len(data), sha256.Sum256(data))
		case fs.ModeSymlink:
			link, err := os.Readlink(full)
			if err != nil {
				return err
			}
			text += " -> " + link
		case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
			text += fmt.Sprintf(" device %x", st.Rdev)
		}
		value := make([]byte, 64)
		if n, err := unix.Lgetxattr(full, capability, value); err == nil {
			text += fmt.Sprintf(" capability %x", value[:n])
		}
		all[name] = text
		return nil
	}))
	return all
}

const capability = "security.capability"

// capNetRaw is a file capability as the kernel stores it.
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func always(string) bool { return true }

func sameState(t testing.TB, want, got map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s\n is     %q\n wanted %q", name, got[name], want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is there, and should not: %q", name, got[name])
		}
	}
}

// walk makes an index.
func walk(t testing.TB, root string, skip ...string) *rootfs.Index {
	t.Helper()
	index, err := rootfs.Walk(context.Background(), root, rootfs.Options{Skip: skip})
	check(t, err)
	return index
}

// layerOf is what changed since an index, and the names in it.
func layerOf(t testing.TB, root string, before *rootfs.Index, skip ...string) (layer []byte, names []string) {
	t.Helper()
	var out bytes.Buffer
	changed, err := rootfs.WriteLayer(context.Background(), &out, root, before, walk(t, root, skip...), rootfs.LayerOptions{})
	check(t, err)
	for in := tar.NewReader(bytes.NewReader(out.Bytes())); ; {
		hdr, err := in.Next()
		if err != nil {
			break
		}
		names = append(names, hdr.Name)
	}
	if changed != (len(names) > 0) {
		t.Errorf("it is said that changed is %v, and the layer holds %q", changed, names)
	}
	return out.Bytes(), names
}

// tarOf is a layer with these entries; the content of a file is its link.
func tarOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, hdr := range entries {
		content := ""
		if hdr.Typeflag == tar.TypeReg {
			content, hdr.Linkname = hdr.Linkname, ""
			hdr.Size = int64(len(content))
		}
		if hdr.Mode == 0 {
			hdr.Mode = 0o755
		}
		check(t, w.WriteHeader(&hdr))
		_, err := w.Write([]byte(content))
		check(t, err)
	}
	check(t, w.Close())
	return out.Bytes()
}

func apply(root string, layer []byte, skip ...string) error {
	return rootfs.Apply(context.Background(), root, bytes.NewReader(layer), rootfs.ApplyOptions{Skip: skip})
}

// copyTree copies a tree with all that belongs to it.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}
