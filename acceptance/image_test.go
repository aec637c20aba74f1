package acceptance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// debian returns the layout of the real Debian base image.
func debian(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("GRAFT_TEST_BASE")
	need(t, dir != "", "GRAFT_TEST_BASE to name the layout of a Debian base image (hack/base-image.sh)")
	return dir
}

// applets are the commands of a small base image.
var applets = []string{
	"sh", "cat", "chmod", "chown", "cp", "echo", "env", "false", "grep", "hostname", "id", "ln", "ls",
	"mkdir", "mv", "rm", "sed", "sleep", "sort", "stat", "test", "touch", "tr", "true",
}

// smallImage is an image of two layers: busybox with a few accounts, and a file.
// Nothing in it depends on the machine but busybox itself. It is user 1001:1000
// unless change says otherwise.
func smallImage(t *testing.T, change func(*v1.Config)) v1.Image {
	t.Helper()
	path, err := exec.LookPath("busybox")
	need(t, err == nil, "the program busybox, linked statically (Debian: busybox-static)")
	busybox, err := os.ReadFile(path)
	check(t, err)
	programs := []tar.Header{{Name: "bin/busybox", Mode: 0o755, Size: int64(len(busybox))}}
	contents := map[string]string{
		"bin/busybox": string(busybox),
		"etc/passwd":  "root:x:0:0:root:/root:/bin/sh\ndaemon:x:7:8:d:/:/bin/sh\ncnb:x:1001:1000:c:/home/cnb:/bin/sh\n",
		"etc/group":   "root:x:0:\ndaemon:x:8:\nstaff:x:50:\ncnb:x:1000:\n",
	}
	for _, name := range applets {
		programs = append(programs, tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777})
	}
	for _, dir := range []string{"etc/", "root/", "home/", "data/", "data/old/", "proc/", "sys/", "dev/"} {
		programs = append(programs, tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755})
	}
	programs = append(programs, tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777})
	for _, name := range []string{"etc/passwd", "etc/group"} {
		programs = append(programs, tar.Header{Name: name, Mode: 0o644, Size: int64(len(contents[name]))})
	}
	contents["data/old/file"] = "of the base\n"
	files := []tar.Header{{Name: "data/old/file", Mode: 0o644, Size: int64(len(contents["data/old/file"]))}}

	image := empty.Image
	for i, headers := range [][]tar.Header{programs, files} {
		image, err = mutate.Append(image, mutate.Addendum{
			Layer:   tarLayer(t, headers, contents),
			History: v1.History{CreatedBy: fmt.Sprintf("base layer %d", i+1)},
		})
		check(t, err)
	}
	config, err := image.ConfigFile()
	check(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", goarch
	config.History = slices.Insert(config.History, 1, v1.History{CreatedBy: "ENV of the base", EmptyLayer: true})
	config.Config = v1.Config{User: "1001:1000", Env: []string{"PATH=/bin", "FROM_BASE=yes"}, Labels: map[string]string{"of": "base"}}
	if change != nil {
		change(&config.Config)
	}
	image, err = mutate.ConfigFile(image, config)
	check(t, err)
	return image
}

// smallBase writes the small image as a layout, and returns its directory.
func smallBase(t *testing.T, change func(*v1.Config)) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	writeLayout(t, dir, smallImage(t, change))
	return dir
}

func writeLayout(t *testing.T, dir string, image v1.Image) {
	t.Helper()
	path, err := layout.Write(dir, empty.Index)
	check(t, err)
	check(t, path.AppendImage(image))
}

func tarLayer(t *testing.T, headers []tar.Header, contents map[string]string) v1.Layer {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, h := range headers {
		check(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := io.WriteString(w, contents[h.Name])
			check(t, err)
		}
	}
	check(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil
	})
	check(t, err)
	return layer
}

// openLayout opens the only image of a layout, which may lack layers.
func openLayout(t *testing.T, dir string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	check(t, err)
	manifest, err := index.IndexManifest()
	check(t, err)
	if n := len(manifest.Manifests); n != 1 {
		t.Fatalf("the layout %s has %d images", dir, n)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	check(t, err)
	return image
}

func configOf(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	check(t, err)
	return config
}

func manifestOf(t *testing.T, image v1.Image) *v1.Manifest {
	t.Helper()
	manifest, err := image.Manifest()
	check(t, err)
	return manifest
}

// layerEntries reads the tar of one layer: the entries by name, and the contents
// of the regular files.
func layerEntries(t *testing.T, layer v1.Layer) (map[string]*tar.Header, map[string]string) {
	t.Helper()
	stream, err := layer.Uncompressed()
	check(t, err)
	defer stream.Close()
	headers, contents := map[string]*tar.Header{}, map[string]string{}
	for r := tar.NewReader(stream); ; {
		h, err := r.Next()
		if err == io.EOF {
			return headers, contents
		}
		check(t, err)
		name := strings.Trim(h.Name, "/")
		headers[name] = h
		data, err := io.ReadAll(r)
		check(t, err)
		contents[name] = string(data)
	}
}

// unpack applies the layers, one over the other, to a new directory.
func unpack(t *testing.T, image v1.Image) string {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to unpack an image with its owners")
	dir := t.TempDir()
	layers, err := image.Layers()
	check(t, err)
	for _, layer := range layers {
		stream, err := layer.Uncompressed()
		check(t, err)
		_, err = archive.Apply(t.Context(), dir, stream)
		check(t, err)
		check(t, stream.Close())
	}
	return dir
}

// fileTree describes every file below dir by path: type, mode, owner, what it
// links to or which file it is the same as, and the digest of its content.
func fileTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	same := map[uint64]string{}
	check(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d", info.Mode(), stat.Uid, stat.Gid)
		switch mode := info.Mode(); {
		case mode&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + target
		case mode&fs.ModeDevice != 0:
			text += fmt.Sprintf(" device %d", stat.Rdev)
		case mode.IsRegular():
			if first, ok := same[stat.Ino]; ok && stat.Nlink > 1 {
				text += " is " + first
				break
			}
			same[stat.Ino] = rel
			digest, err := digestOf(path)
			if err != nil {
				return err
			}
			text += " " + digest
		}
		tree[rel] = text
		return nil
	}))
	return tree
}

func digestOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// compareTrees tells every difference between two trees.
func compareTrees(t *testing.T, nameA string, a map[string]string, nameB string, b map[string]string) {
	t.Helper()
	paths := map[string]bool{}
	for path := range a {
		paths[path] = true
	}
	for path := range b {
		paths[path] = true
	}
	for path := range paths {
		if a[path] != b[path] {
			t.Errorf("%s differs:\n  %s: %q\n  %s: %q", path, nameA, a[path], nameB, b[path])
		}
	}
}

// gunzip returns what data says when it is not compressed.
func gunzip(t *testing.T, data []byte) []byte {
	t.Helper()
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	check(t, err)
	plain, err := io.ReadAll(r)
	check(t, err)
	return plain
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// validateImage reads a whole image and compares every layer with what manifest
// and config say of it. (The full validation of go-containerregistry unpacks every
// layer with gzip, whatever its media type says it is: it cannot read one that is a plain
// tar file.)
func validateImage(t *testing.T, image v1.Image) {
	t.Helper()
	check(t, validate.Image(image, validate.Fast))
	layers, err := image.Layers()
	check(t, err)
	diffIDs := configOf(t, image).RootFS.DiffIDs
	for i, desc := range manifestOf(t, image).Layers {
		stored, err := layers[i].Compressed()
		check(t, err)
		digest, size, err := v1.SHA256(stored)
		check(t, err)
		check(t, stored.Close())
		plain, err := layers[i].Uncompressed()
		check(t, err)
		diffID, _, err := v1.SHA256(plain)
		check(t, err)
		check(t, plain.Close())
		if digest != desc.Digest || size != desc.Size || diffID != diffIDs[i] {
			t.Errorf("layer %d is %v of %d bytes with diffID %v; manifest %v, config %v", i, digest, size, diffID, desc, diffIDs[i])
		}
	}
}
