package acceptance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"golang.org/x/sys/unix"
)

// layerTree describes the entries of a layer by path: type, mode, owner, extended
// attributes, device, what a link leads to, which other names a file has, and the
// digest of its content; whiteouts are entries like others. Times are left out: two
// runs of a command differ in them.
func layerTree(t *testing.T, layer v1.Layer) map[string]string {
	t.Helper()
	stream, err := layer.Uncompressed()
	check(t, err)
	defer stream.Close()
	tree := map[string]string{}
	names := map[string][]string{} // of a file with several, by the one that has the content
	for r := tar.NewReader(stream); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		check(t, err)
		path := strings.Trim(h.Name, "/")
		if _, ok := tree[path]; ok {
			t.Errorf("%s is twice in a layer", path)
		}
		if h.Typeflag == tar.TypeLink {
			target := strings.Trim(h.Linkname, "/")
			names[target] = append(names[target], path)
			tree[path] = "" // described with the others
			continue
		}
		tree[path] = entryText(t, h, r)
	}
	for first, others := range names {
		all := append(others, first)
		slices.Sort(all)
		text := tree[first]
		for _, name := range all {
			tree[name] = fmt.Sprintf("%s same file: %q", text, all)
		}
	}
	return tree
}

// entryText describes an entry that is no hard link.
func entryText(t *testing.T, h *tar.Header, content io.Reader) string {
	t.Helper()
	hash := sha256.New()
	size, err := io.Copy(hash, content)
	check(t, err)
	kind := h.Typeflag
	if kind == '\x00' {
		kind = tar.TypeReg
	}
	text := fmt.Sprintf("type %c mode %04o owner %d:%d", kind, h.Mode&0o7777, h.Uid, h.Gid)
	switch kind {
	case tar.TypeReg:
		text += fmt.Sprintf(" %d bytes %x", size, hash.Sum(nil)[:8])
	case tar.TypeSymlink:
		text += " -> " + h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		text += fmt.Sprintf(" device %d,%d", h.Devmajor, h.Devminor)
	}
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			text += fmt.Sprintf(" %s=%x", name, h.PAXRecords[key])
		}
	}
	return text
}

// configText is what a container gets of a configuration. The label with which the
// extender says whether the image can be rebased is left out: no other client sets it.
func configText(t *testing.T, image v1.Image) string {
	t.Helper()
	config := configOf(t, image).Config
	config.Labels = maps.Clone(config.Labels)
	delete(config.Labels, "io.buildpacks.rebasable")
	text, err := json.MarshalIndent(config, "", " ")
	check(t, err)
	return string(text)
}

// appendLayer puts a layer on an image.
func appendLayer(t *testing.T, image v1.Image, layer v1.Layer) v1.Image {
	t.Helper()
	image, err := mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "another layer"}})
	check(t, err)
	return image
}

// A value of security.capability that gives CAP_NET_RAW, as setcap writes it.
const netRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// goldenBaseLayer has further commands, a file of several names, one with a capability,
// one that is setuid, and a link to a directory.
func goldenBaseLayer(t *testing.T) v1.Layer {
	t.Helper()
	headers := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "shared/", Mode: 0o755},
		{Name: "shared/one", Mode: 0o644, Size: 7},
		{Typeflag: tar.TypeLink, Name: "shared/two", Linkname: "shared/one", Mode: 0o644},
		{Typeflag: tar.TypeSymlink, Name: "data/link", Linkname: "../link-target", Mode: 0o777},
		{Typeflag: tar.TypeDir, Name: "link-target/", Mode: 0o755},
		{Name: "suid", Mode: 0o4755, Size: 4},
		{Name: "capable", Mode: 0o700, Size: 8, PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": netRaw, "SCHILY.xattr.user.of": "the base"}},
	}
	for _, applet := range []string{"dd", "find", "mkfifo", "mknod", "printf", "pwd", "rmdir", "tar", "wc", "head"} {
		headers = append(headers, tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777})
	}
	return tarLayer(t, headers, map[string]string{"shared/one": "shared\n", "suid": "suid", "capable": "capable\n"})
}

// goldenExtras make the files of a case that a checkout cannot hold, in its directory
// of generated files.
var goldenExtras = map[string]func(t *testing.T, generated string){
	"add": func(t *testing.T, generated string) {
		contents := map[string]string{"sub/file": "in a tar\n"}
		archive := tarFile(t, []tar.Header{
			{Typeflag: tar.TypeDir, Name: "sub/", Mode: 0o750, Uid: 3, Gid: 4},
			{Name: "sub/file", Mode: 0o640, Uid: 5, Gid: 6, Size: int64(len(contents["sub/file"]))},
			{Typeflag: tar.TypeLink, Name: "sub/hard", Linkname: "sub/file", Mode: 0o640},
			{Typeflag: tar.TypeSymlink, Name: "soft", Linkname: "sub/file", Mode: 0o777},
			{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o600},
		}, contents)
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, err := w.Write(archive)
		check(t, err)
		check(t, w.Close())
		check(t, os.WriteFile(filepath.Join(generated, "ext/context/plain.tar"), archive, 0o644))
		check(t, os.WriteFile(filepath.Join(generated, "ext/context/packed.tar.gz"), packed.Bytes(), 0o644))
	},
	"xattrs": func(t *testing.T, generated string) {
		context := filepath.Join(generated, "ext/context")
		check(t, os.MkdirAll(context, 0o755))
		contents := map[string]string{"user": "u", "capable": "c"}
		check(t, os.WriteFile(filepath.Join(context, "attributes.tar"), tarFile(t, []tar.Header{
			{Name: "user", Mode: 0o644, Size: 1, PAXRecords: map[string]string{"SCHILY.xattr.user.one": "1", "SCHILY.xattr.user.two": "a=b"}},
			{Name: "capable", Mode: 0o755, Size: 1, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": netRaw}},
			{Typeflag: tar.TypeDir, Name: "dir/", Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.user.dir": "yes"}},
		}, contents), 0o644))
		file := filepath.Join(context, "attributed")
		check(t, os.WriteFile(file, []byte("with attributes\n"), 0o644))
		err := unix.Setxattr(file, "user.golden", []byte("value"), 0)
		need(t, err == nil, "a temporary directory with extended attributes")
	},
}

// tarFile is a tar archive.
func tarFile(t *testing.T, headers []tar.Header, contents map[string]string) []byte {
	t.Helper()
	stream, err := tarLayer(t, headers, contents).Uncompressed()
	check(t, err)
	defer stream.Close()
	data, err := io.ReadAll(stream)
	check(t, err)
	return data
}

// differentEntries are layers with one file each that differ in one respect.
func differentEntries() map[string][]tar.Header {
	file := tar.Header{Name: "f", Mode: 0o644, Size: 3}
	change := func(f func(*tar.Header)) []tar.Header {
		h := file
		f(&h)
		return []tar.Header{h}
	}
	return map[string][]tar.Header{
		"a file":              {file},
		"nothing":             nil,
		"a mode":              change(func(h *tar.Header) { h.Mode = 0o4644 }),
		"an owner":            change(func(h *tar.Header) { h.Uid = 1 }),
		"a group":             change(func(h *tar.Header) { h.Gid = 1 }),
		"content":             {{Name: "g", Mode: 0o644, Size: 3}},
		"an attribute":        change(func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "b"} }),
		"another attribute":   change(func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "c"} }),
		"a directory":         {{Typeflag: tar.TypeDir, Name: "f/", Mode: 0o644}},
		"a link":              {{Typeflag: tar.TypeSymlink, Name: "f", Linkname: "a", Mode: 0o644}},
		"another link":        {{Typeflag: tar.TypeSymlink, Name: "f", Linkname: "b", Mode: 0o644}},
		"a fifo":              {{Typeflag: tar.TypeFifo, Name: "f", Mode: 0o644}},
		"a device":            {{Typeflag: tar.TypeChar, Name: "f", Mode: 0o644, Devmajor: 1, Devminor: 3}},
		"another device":      {{Typeflag: tar.TypeChar, Name: "f", Mode: 0o644, Devmajor: 1, Devminor: 5}},
		"a whiteout":          {{Name: ".wh.f", Mode: 0o644}},
		"a second name":       {file, {Typeflag: tar.TypeLink, Name: "h", Linkname: "f", Mode: 0o644}},
		"two alike":           {file, {Name: "h", Mode: 0o644}},
		"a directory and 'f'": {{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755}, file},
	}
}

// exists tells whether there is a file.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
