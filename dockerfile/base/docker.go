package base

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"

	"github.com/graft-cnb/graft/dockerfile/internal/dockerd"
)

// DockerPrefix marks a base (or an output) that is an image in a Docker daemon, by name
// or id.
const DockerPrefix = "docker:"

// openDocker opens an image of a Docker daemon. The daemon has no way to tell the
// configuration of one, byte by byte, but to save the image: it is written to a file in
// opts.Temp, which has no name there and is gone with this process.
func openDocker(ctx context.Context, name string, opts Options) (*Image, error) {
	c, err := dockerd.Connect(ctx, "")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	info, err := c.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%w: the Docker daemon at %s has no image %s; look at docker images, or pull it there first: %w",
			ErrNotFound, c.DaemonHost(), name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the Docker daemon at %s for the image %s: %w", c.DaemonHost(), name, err)
	}
	// By id, so that it is the same image whatever becomes of the name.
	saved, err := dockerd.Saved(ctx, c, info.ID)
	if err != nil {
		return nil, err
	}
	defer saved.Close()
	img, err := ReadSaved(saved, opts.Temp)
	if err != nil {
		return nil, fmt.Errorf("save the image %s of the Docker daemon at %s: %w", name, c.DaemonHost(), err)
	}
	return img, nil
}

// ReadSaved opens the one image of a stream as docker save writes it. All of it is kept
// in a file in temp (empty: the system's directory for temporary files), which has no
// name there and is gone with the image, or at the latest with this process.
func ReadSaved(saved io.Reader, temp string) (*Image, error) {
	f, err := spool(saved, temp)
	if err != nil {
		return nil, err
	}
	a := &archive{path: "what the Docker daemon has saved", members: map[string]member{}, file: f}
	img, err := a.savedIn(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return img, nil
}

// savedIn is the one image of an archive whose members are in f.
func (a *archive) savedIn(f *os.File) (*Image, error) {
	if err := a.scan(f); err != nil {
		return nil, err
	}
	img, err := a.onlySaved()
	if err != nil {
		return nil, err
	}
	return img, img.load()
}

// spool writes a stream to a file without a name, which is there as long as it is open,
// and returns it at its beginning.
func spool(from io.Reader, dir string) (*os.File, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	f, err := os.CreateTemp(dir, ".graft-docker-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := io.Copy(f, from); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
