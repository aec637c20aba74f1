package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/urfave/cli/v2"
)

// filesPerDirectory is about what package managers make of it.
const filesPerDirectory = 50

func growCommand() *cli.Command {
	return &cli.Command{
		Name:      "grow",
		Usage:     "make an image with many files more, an OCI image layout, from a smaller one",
		ArgsUsage: "oci:DIR|REFERENCE LAYOUT",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "files", Value: 100_000, Usage: "number of files to add, below /opt/files"},
			&cli.Int64Flag{Name: "bytes", Value: 1_500_000_000, Usage: "their size, all together"},
		},
		Description: "The files are in one layer, compressed with gzip, and the same each time. Their content is\n" +
			"about as compressible as that of programs.",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "IMAGE", "LAYOUT")
			if err != nil {
				return err
			}
			return grow(c.Context, args[0], args[1], c.Int("files"), c.Int64("bytes"))
		},
	}
}

// grow writes the image at location with so many more files to a new layout.
func grow(ctx context.Context, location, name string, files int, size int64) error {
	src, err := open(ctx, location)
	if err != nil {
		return err
	}
	config, err := src.Image.ConfigFile()
	if err != nil {
		return fmt.Errorf("reading the configuration of %s: %w", location, err)
	}
	return publish(name, config.Architecture, func(work string) (v1.Image, error) {
		file := filepath.Join(work, "layer.tar.gz")
		if err := writeFiles(file, files, size); err != nil {
			return nil, fmt.Errorf("making a layer of %d files: %w", files, err)
		}
		layer, err := tarball.LayerFromFile(file, tarball.WithMediaType(types.DockerLayer))
		if err != nil {
			return nil, fmt.Errorf("reading the layer of %d files: %w", files, err)
		}
		return mutate.Append(src.Image, mutate.Addendum{
			Layer:   layer,
			History: v1.History{CreatedBy: fmt.Sprintf("image grow -files %d -bytes %d", files, size), Created: v1.Time{Time: time.Unix(0, 0).UTC()}},
		})
	})
}

// writeFiles writes the layer.
func writeFiles(path string, files int, size int64) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	packed, err := gzip.NewWriterLevel(file, gzip.BestSpeed)
	if err != nil {
		return err
	}
	w := tar.NewWriter(packed)
	random := rand.New(rand.NewPCG(1, 2))
	each := size / int64(max(files, 1))
	for i := range files {
		if i%filesPerDirectory == 0 {
			name := fmt.Sprintf("opt/files/%d/", i/filesPerDirectory)
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
				return err
			}
		}
		name := fmt.Sprintf("opt/files/%d/%d", i/filesPerDirectory, i)
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: each, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
		if _, err := w.Write(content(random, each)); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), packed.Close())
}

// content is so many bytes, of which no two files have the same: something random, and
// that again and again.
func content(random *rand.Rand, size int64) []byte {
	const part = 2048
	block := make([]byte, 0, part)
	for len(block) < part {
		block = binary.LittleEndian.AppendUint64(block, random.Uint64())
	}
	return bytes.Repeat(block, int(size/part+1))[:size]
}
