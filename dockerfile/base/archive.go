package base

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Prefixes of bases (and outputs) that are files: an OCI image layout as a tar
// file, and what `docker save` writes.
const (
	OCIArchivePrefix    = "oci-archive:"
	DockerArchivePrefix = "docker-archive:"
)

// maxMetadata bounds what is read into memory of an archive: a manifest, an index
// or a configuration.
const maxMetadata = 16 << 20

// archive is a tar file, read where its members lie and never unpacked.
type archive struct {
	path    string
	members map[string]member
	// file is the tar file where it has no path, only something that stands for it in
	// messages. Nil: it is opened by its path.
	file *os.File
}

// member is a regular file in the archive, or a link to one.
type member struct {
	offset, size int64
	link         string
}

// openArchive finds the members of a tar file.
func openArchive(file string) (*archive, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a := &archive{path: file, members: map[string]member{}}
	return a, a.scan(f)
}

// scan finds the members of a tar file.
func (a *archive) scan(f *os.File) error {
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s is no tar file (a compressed one has to be unpacked first, with gunzip or zstd -d): %w", a.path, err)
		}
		// The reader takes no more of the file than the header.
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			a.members[name] = member{offset: offset, size: h.Size}
		case tar.TypeSymlink:
			a.members[name] = member{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			a.members[name] = member{link: path.Clean(h.Linkname)}
		}
	}
}

// find follows a link, as archives have for a layer that is in two images.
func (a *archive) find(name string) (member, error) {
	m, ok := a.members[path.Clean(name)]
	if ok && m.link != "" {
		m, ok = a.members[m.link]
	}
	if !ok || m.link != "" {
		return member{}, fmt.Errorf("%s has no file %s", a.path, name)
	}
	return m, nil
}

// open opens a member. The caller closes it.
func (a *archive) open(name string) (io.ReadCloser, error) {
	m, err := a.find(name)
	if err != nil {
		return nil, err
	}
	if a.file != nil {
		return io.NopCloser(io.NewSectionReader(a.file, m.offset, m.size)), nil
	}
	f, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, m.offset, m.size), f}, nil
}

// read reads a member that is metadata.
func (a *archive) read(name string) ([]byte, error) {
	m, err := a.find(name)
	if err != nil {
		return nil, err
	}
	if m.size > maxMetadata {
		return nil, fmt.Errorf("%s in %s has %d bytes, too many for metadata", name, a.path, m.size)
	}
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s in %s: %w", name, a.path, err)
	}
	return data, nil
}

// fromImage is the base that an image of an archive makes.
func fromImage(image v1.Image) (*Image, error) {
	raw, err := image.RawManifest()
	if err != nil {
		return nil, err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return &Image{Name: layoutName + "@" + digest.String(), Digest: digest, image: image}, nil
}
