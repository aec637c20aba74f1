package rootfs_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/graft-cnb/graft/dockerfile/internal/needs"
	"github.com/graft-cnb/graft/dockerfile/rootfs"
)

// FuzzApply applies layers that nobody would make: whatever they hold, nothing beside the
// root changes, nor anything at a place that is left alone, and it ends. An entry is a
// line: its type, its name and what it links to. Names are made of few parts, so that
// they meet; outside lies beside the root.
func FuzzApply(f *testing.F) {
	needs.Root(f)
	for _, seed := range []string{
		"f a\nd b\nf b/c x\nl b/d b/c\ns e b\nf e/f x",
		"s a ../../outside\nf a/canary x\nf a/.wh.canary\nd a\nl a/b a/canary",
		"s a /\nf a/keep/in x\nf a/.wh.keep\nf a/.wh..wh..opq\nl b a/keep/in",
		"s keepers keep\nf keepers/in x\ns keep /a\nd keep\nf .wh.keep\nf .wh..wh..opq",
		"s a b\ns b a\nf a/b x\nd a/../b\nf ../outside/canary x\nl x ../outside/canary",
		"d a\ns a/b ..\nf a/b/a x\nf a/b/.wh.a\nd a/b/a/b\nc a/null\np a/fifo\nf a/fifo x",
		"f .wh.\nf .wh..\nf a/.wh...\nf a/.wh..wh.x\ng x\nf \x00\nf " + strings.Repeat("a/", 500),
		"d a\nd a/b\ns a outside\nd a/b\ns a/b /outside",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		dir := t.TempDir()
		root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
		write(t, root, map[string]string{"keep/in": "kept", "deep/keep/in": "kept", "deep/other": "x", "a/b": "x"})
		write(t, outside, map[string]string{"canary": "sings"})
		before := state(t, outside, always)

		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		err := rootfs.Apply(ctx, root, bytes.NewReader(hostileLayer(string(lines))), rootfs.ApplyOptions{Skip: []string{"/keep", "/deep/keep"}})
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("it does not end")
		}
		sameState(t, before, state(t, outside, always))
		for _, kept := range []string{"keep/in", "deep/keep/in"} {
			if got := contentAt(t, filepath.Join(root, kept)); got != "kept" {
				t.Errorf("%s is %q", kept, got)
			}
		}
		if around, err := os.ReadDir(dir); err != nil || len(around) != 2 {
			t.Errorf("around the root: %v %v", around, err)
		}
		// What is there now can be walked, and written as a layer.
		now, err := rootfs.Walk(ctx, root, rootfs.Options{})
		if err == nil {
			_, err = rootfs.WriteLayer(ctx, io.Discard, root, walk(t, outside), now, rootfs.LayerOptions{})
		}
		check(t, err)
	})
}

// hostileLayer makes a layer of what can be written into one at all.
func hostileLayer(lines string) []byte {
	types := map[string]byte{
		"f": tar.TypeReg, "d": tar.TypeDir, "s": tar.TypeSymlink, "l": tar.TypeLink,
		"c": tar.TypeChar, "b": tar.TypeBlock, "p": tar.TypeFifo, "g": tar.TypeXGlobalHeader, "?": 'Z',
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for line := range strings.Lines(lines) {
		kind, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		name, to, _ := strings.Cut(rest, " ")
		hdr := tar.Header{Typeflag: types[kind], Name: name, Mode: 0o755, Linkname: to, Format: tar.FormatPAX}
		switch hdr.Typeflag {
		case 0:
			continue
		case tar.TypeReg:
			hdr.Linkname, hdr.Size = "", int64(len(to))
		case tar.TypeChar, tar.TypeBlock:
			hdr.Devmajor, hdr.Devminor = 1, 3 // the null device
		case tar.TypeXGlobalHeader:
			hdr = tar.Header{Typeflag: hdr.Typeflag, PAXRecords: map[string]string{"comment": name + to}}
		}
		if w.WriteHeader(&hdr) != nil {
			return out.Bytes() // an archive that ends in the midst
		}
		if hdr.Typeflag == tar.TypeReg {
			_, _ = io.WriteString(w, to) // into a buffer
		}
	}
	_ = w.Close() // with an entry that is not complete
	return out.Bytes()
}
