package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containerd/containerd/v2/pkg/archive"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v2"
)

func unpackCommand() *cli.Command {
	return &cli.Command{
		Name:      "unpack",
		Usage:     "unpack a whole image, all its layers one over the other, into a new directory",
		ArgsUsage: "oci:DIR|REFERENCE DIRECTORY",
		Description: "As root, owners are those of the image. Any other user becomes the owner of all files, and\n" +
			"device files are left out.",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "IMAGE", "DIRECTORY")
			if err != nil {
				return err
			}
			return unpack(c.Context, args[0], args[1])
		},
	}
}

// unpack writes the file tree of the image at location to dir, which must be
// empty or not there: what another image left would be taken for this one's.
func unpack(ctx context.Context, location, dir string) error {
	src, err := open(ctx, location)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unpacking %s: %w", location, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("unpacking %s: %s is not empty: remove it, or name another directory", location, dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("unpacking %s: %w", location, err)
	}
	layers, err := src.Image.Layers()
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", location, err)
	}
	for i, layer := range layers {
		if err := unpackLayer(ctx, layer, dir); err != nil {
			return fmt.Errorf("unpacking layer %d of %d of %s: %w", i+1, len(layers), location, err)
		}
	}
	return nil
}

// unpackLayer applies one layer, whiteouts included, to dir.
func unpackLayer(ctx context.Context, layer v1.Layer, dir string) (err error) {
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	_, err = archive.Apply(ctx, dir, content, ownership()...)
	return err
}

// ownership says how layers are applied: as they are by root, and by an
// ordinary user without what only root may make.
func ownership() []archive.ApplyOpt {
	if os.Geteuid() == 0 {
		return nil
	}
	return []archive.ApplyOpt{
		archive.WithNoSameOwner(),
		archive.WithFilter(func(h *tar.Header) (bool, error) {
			return h.Typeflag != tar.TypeChar && h.Typeflag != tar.TypeBlock, nil
		}),
	}
}
