//go:build linux

package inplace_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/opencontainers/go-digest"

	"github.com/graft-cnb/graft/dockerfile/engine/inplace"
)

// names lists what is in a layer.
func names(t *testing.T, layer []byte) []string {
	t.Helper()
	var all []string
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, hdr.Name)
	}
}

// sameTree compares two root filesystems by all that a layer can hold. What the engine
// keeps for itself, and the state directory, are no part of them.
func sameTree(t *testing.T, want, got string) {
	t.Helper()
	a, b := tree(t, want), tree(t, got)
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if a[name] != b[name] {
			t.Errorf("%s is\n\t%s, not\n\t%s", name, b[name], a[name])
		}
		delete(b, name)
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		t.Errorf("there is %s: %s", name, b[name])
	}
}

// tree describes every file of a root filesystem.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	links := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root)
		switch name {
		case "":
			return nil
		case "/kaniko", "/proc", "/dev":
			return filepath.SkipDir
		case "/.graft-root":
			return nil
		}
		files[name], err = describe(path, name, links)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// describe tells all about a file but the times of a directory: those of one in which
// something was made and removed again are in no layer. A layer has whole seconds.
func describe(path, name string, links map[uint64]string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.New("no stat")
	}
	text := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
	switch {
	case info.IsDir():
		return text, nil
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		return fmt.Sprintf("%s to %s", text, to), err
	}
	text += fmt.Sprintf(" %d %d", st.Nlink, info.ModTime().Unix())
	if st.Nlink > 1 {
		if first, ok := links[st.Ino]; ok {
			return text + " is " + first, nil
		}
		links[st.Ino] = name
	}
	if !info.Mode().IsRegular() {
		return text, nil
	}
	data, err := os.ReadFile(path)
	return fmt.Sprintf("%s %s", text, digest.FromBytes(data)), err
}

// nowhere looks for a text in every file of the container and of its cache.
func (c *container) nowhere(text string) {
	c.t.Helper()
	err := filepath.WalkDir(c.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			c.t.Errorf("%s holds %q", path, text)
		}
		return err
	})
	c.must(err)
}

// forward brings the container forward to what a solve has made.
func (c *container) forward(e *inplace.Engine, got solved) error {
	c.t.Helper()
	var ids []digest.Digest
	for _, layer := range got.layers {
		plain, err := compression.DecompressStream(bytes.NewReader(layer))
		c.must(err)
		data, err := io.ReadAll(plain)
		c.must(err)
		ids = append(ids, digest.FromBytes(data))
	}
	return e.FastForward(c.t.Context(), ids)
}
