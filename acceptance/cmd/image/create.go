package main

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/urfave/cli/v2"
)

// The labels with which a base image names its distribution (platform.md,
// "Target Data").
const (
	labelDistroName    = "io.buildpacks.base.distro.name"
	labelDistroVersion = "io.buildpacks.base.distro.version"
)

// base says what a base image is made of.
type base struct {
	// RootFS is a directory, or a tar file (may be compressed with gzip).
	RootFS string
	// Layout is the directory of the OCI image layout to write; it must not exist.
	Layout string
	// Arch is the architecture of the programs in RootFS, spelled as in Go.
	Arch string
	// UID and GID are the image's user; neither may be root.
	UID, GID int
	// Distro and DistroVersion are ID and VERSION_ID of its /etc/os-release.
	Distro, DistroVersion string
}

func createCommand() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "make a base image, an OCI image layout with one layer, from a root file system",
		ArgsUsage: "ROOTFS LAYOUT",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "arch", Value: runtime.GOARCH, Usage: "architecture of the root file system"},
			&cli.IntFlag{Name: "uid", Value: 1001, Usage: "the image's user"},
			&cli.IntFlag{Name: "gid", Value: 1000, Usage: "the image's group"},
			&cli.StringFlag{Name: "distro", Usage: "name of the distribution, as ID in /etc/os-release"},
			&cli.StringFlag{Name: "distro-version", Usage: "its version, as VERSION_ID in /etc/os-release"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "ROOTFS", "LAYOUT")
			if err != nil {
				return err
			}
			return create(c.Context, base{
				RootFS: args[0], Layout: args[1], Arch: c.String("arch"),
				UID: c.Int("uid"), GID: c.Int("gid"),
				Distro: c.String("distro"), DistroVersion: c.String("distro-version"),
			})
		},
	}
}

// create writes the image layout that b describes.
func create(ctx context.Context, b base) error {
	if b.UID == 0 || b.GID == 0 {
		return errors.New("making a base image: its user must not be root: give -uid and -gid")
	}
	return publish(b.Layout, b.Arch, func(work string) (v1.Image, error) {
		tarFile, err := rootTar(ctx, b.RootFS, work)
		if err != nil {
			return nil, err
		}
		img, err := baseImage(tarFile, b)
		if err != nil {
			return nil, fmt.Errorf("making a base image of %s: %w", b.RootFS, err)
		}
		return img, nil
	})
}

// publish writes the image that is made with the help of a working directory to a
// layout, whose directory appears under its name only when it is complete.
func publish(name, arch string, make func(work string) (v1.Image, error)) error {
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("making an image: %s is there already: remove it, or name another directory", name)
	}
	work, err := os.MkdirTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return fmt.Errorf("making an image: %w", err)
	}
	defer os.RemoveAll(work)
	img, err := make(work)
	if err != nil {
		return err
	}
	staged := filepath.Join(work, "layout")
	dir, err := layout.Write(staged, empty.Index)
	if err != nil {
		return fmt.Errorf("writing the image layout %s: %w", name, err)
	}
	platform := v1.Platform{OS: "linux", Architecture: arch}
	if err := dir.AppendImage(img, layout.WithPlatform(platform)); err != nil {
		return fmt.Errorf("writing the image layout %s: %w", name, err)
	}
	if err := share(staged); err != nil {
		return fmt.Errorf("writing the image layout %s: %w", name, err)
	}
	if err := os.Rename(staged, name); err != nil {
		return fmt.Errorf("writing the image layout %s: %w", name, err)
	}
	return nil
}

// share lets every user read what is below dir. The layout's writer stages large
// blobs in private files and leaves their mode as it is.
func share(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
}

// rootTar returns rootfs when it is a file, and else the path of a tar file
// with what the directory holds, written into work.
func rootTar(ctx context.Context, rootfs, work string) (string, error) {
	info, err := os.Stat(rootfs)
	if err != nil {
		return "", fmt.Errorf("reading the root file system: %w", err)
	}
	if !info.IsDir() {
		return rootfs, nil
	}
	file, err := os.Create(filepath.Join(work, "rootfs.tar"))
	if err != nil {
		return "", fmt.Errorf("packing the root file system: %w", err)
	}
	defer file.Close()
	// A difference to nothing: owners, links and extended attributes included.
	if err := archive.WriteDiff(ctx, file, "", rootfs); err != nil {
		return "", fmt.Errorf("packing the root file system %s: %w", rootfs, err)
	}
	if err := file.Close(); err != nil {
		return "", fmt.Errorf("packing the root file system %s: %w", rootfs, err)
	}
	return file.Name(), nil
}

// baseImage returns an image with the one layer tarFile and the configuration
// that a base image of buildpacks has (platform.md, "Build Image", "Run Image").
func baseImage(tarFile string, b base) (v1.Image, error) {
	layer, err := tarball.LayerFromFile(tarFile,
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{
		Layer: layer, MediaType: types.OCILayer,
		// One time for all: the same root file system gives the same image.
		History: v1.History{CreatedBy: "image create", Created: v1.Time{Time: time.Unix(0, 0).UTC()}},
	})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", b.Arch
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	uid, gid := strconv.Itoa(b.UID), strconv.Itoa(b.GID)
	config.Config = v1.Config{
		User: uid + ":" + gid,
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"CNB_USER_ID=" + uid,
			"CNB_GROUP_ID=" + gid,
		},
		Labels: map[string]string{},
	}
	if b.Distro != "" {
		config.Config.Labels[labelDistroName] = b.Distro
	}
	if b.DistroVersion != "" {
		config.Config.Labels[labelDistroVersion] = b.DistroVersion
	}
	return mutate.ConfigFile(img, config)
}
