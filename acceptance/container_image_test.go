package acceptance

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// withLayer adds a layer to an image.
func withLayer(t *testing.T, image v1.Image, layer v1.Layer) v1.Image {
	t.Helper()
	image, err := mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "of the tests"}})
	check(t, err)
	return image
}

// layerOf is a layer of files of this machine, by their path in the image. They belong
// to root. Directories come with what is in them.
func layerOf(t *testing.T, files map[string]string) v1.Layer {
	t.Helper()
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for name, from := range files {
		check(t, filepath.WalkDir(from, func(file string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			below, err := filepath.Rel(from, file)
			if err != nil {
				return err
			}
			return addFile(w, path.Join(name, filepath.ToSlash(below)), file, entry)
		}))
	}
	check(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil })
	check(t, err)
	return layer
}

// addFile adds a file or an empty directory to an archive.
func addFile(w *tar.Writer, name, file string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	header, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	// The checkout's modes are its owner's affair.
	header.Name, header.Uid, header.Gid, header.Uname, header.Gname = name, 0, 0, "", ""
	header.Mode = 0o755
	if info.Mode().IsRegular() && info.Mode()&0o100 == 0 {
		header.Mode = 0o644
	}
	if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}

// builderImage is a builder: a base image with phases, modules and an order.
func builderImage(t *testing.T, base v1.Image, lifecycle string) v1.Image {
	t.Helper()
	runTOML := filepath.Join(t.TempDir(), "run.toml")
	check(t, os.WriteFile(runTOML, []byte("[[images]]\nimage = \"run\"\n"), 0o644))
	return withLayer(t, base, layerOf(t, map[string]string{
		"cnb/lifecycle":  lifecycle,
		"cnb/buildpacks": "../examples/buildpacks",
		"cnb/extensions": "../examples/extensions",
		"cnb/order.toml": "../examples/order.toml",
		"cnb/run.toml":   runTOML,
	}))
}
