package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/urfave/cli/v2"
)

// assembly says what an application's image is made of.
type assembly struct {
	// Base is the run image in a registry, before it was extended.
	Base string
	// Extended is <extended>/run, which holds one entry.
	Extended string
	// App is the application's directory; Workspace is where the image has it.
	App, Workspace string
	// Command is what the image runs, in Workspace.
	Command []string
	// Target is the image's name in a registry.
	Target string
}

func assembleCommand() *cli.Command {
	return &cli.Command{
		Name:      "assemble",
		Usage:     "push the image of an application, of a run image that was extended, as a platform's exporter does",
		ArgsUsage: "EXTENDED TARGET",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "base", Usage: "the run image as it was, in a registry", Required: true},
			&cli.StringFlag{Name: "app", Usage: "the application's directory", Required: true},
			&cli.StringFlag{Name: "workspace", Value: "/workspace", Usage: "where the image has it"},
			&cli.StringSliceFlag{Name: "command", Usage: "what the image runs there, a word for each flag"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "EXTENDED", "TARGET")
			if err != nil {
				return err
			}
			return assemble(c.Context, assembly{
				Base: c.String("base"), App: c.String("app"), Workspace: c.String("workspace"),
				Command: c.StringSlice("command"), Extended: args[0], Target: args[1],
			})
		},
	}
}

// assemble makes the image of what is in the layout and, for the layers that are not,
// of the base in its registry; and pushes it.
func assemble(ctx context.Context, a assembly) error {
	src, err := open(ctx, a.Base)
	if err != nil {
		return err
	}
	entry, err := onlyEntry(a.Extended)
	if err != nil {
		return err
	}
	extended, err := openLayout(entry)
	if err != nil {
		return err
	}
	img, err := onBase(src.Image, extended, entry)
	if err != nil {
		return fmt.Errorf("assembling an image of %s: %w", entry, err)
	}
	if img, err = withApp(img, a); err != nil {
		return fmt.Errorf("adding the application %s: %w", a.App, err)
	}
	target, err := name.ParseReference(a.Target)
	if err != nil {
		return err
	}
	if err := remote.Write(target, img, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("pushing %s: %w", a.Target, err)
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	fmt.Println(target.Context().Digest(digest.String()))
	return nil
}

// onlyEntry returns the directory in dir. Exporters refuse two.
func onlyEntry(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("finding the extended image: %w", err)
	}
	if len(entries) != 1 {
		return "", fmt.Errorf("finding the extended image: %s holds %d entries, and one is expected", dir, len(entries))
	}
	return filepath.Join(dir, entries[0].Name()), nil
}

// onBase puts the layers that a layout has on those of the base that it lacks, and gives
// the image the layout's configuration.
func onBase(base, extended v1.Image, dir string) (v1.Image, error) {
	manifest, err := extended.Manifest()
	if err != nil {
		return nil, err
	}
	below, err := base.Manifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Layers) < len(below.Layers) {
		return nil, fmt.Errorf("it has %d layers, and its base %d", len(manifest.Layers), len(below.Layers))
	}
	for i, layer := range below.Layers {
		if manifest.Layers[i].Digest != layer.Digest {
			return nil, fmt.Errorf("its layer %d is %s, and the base's is %s", i, manifest.Layers[i].Digest, layer.Digest)
		}
	}
	img := base
	for _, described := range manifest.Layers[len(below.Layers):] {
		layer, err := tarball.LayerFromFile(filepath.Join(dir, "blobs", described.Digest.Algorithm, described.Digest.Hex),
			tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer}); err != nil {
			return nil, err
		}
	}
	config, err := extended.ConfigFile()
	if err != nil {
		return nil, err
	}
	made, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	for i, id := range made.RootFS.DiffIDs {
		if i >= len(config.RootFS.DiffIDs) || config.RootFS.DiffIDs[i] != id {
			return nil, fmt.Errorf("its layer %d holds %s, which is not what its configuration says", i, id)
		}
	}
	return mutate.ConfigFile(img, config)
}

// withApp adds a layer with the application, and what the image runs.
func withApp(img v1.Image, a assembly) (v1.Image, error) {
	content, err := appTar(a.App, a.Workspace)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer, History: v1.History{CreatedBy: "image assemble"}})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Config.WorkingDir, config.Config.Entrypoint, config.Config.Cmd = a.Workspace, a.Command, nil
	return mutate.ConfigFile(img, config)
}

// appTar packs the application's files.
func appTar(app, workspace string) ([]byte, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	err := filepath.WalkDir(app, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(app, file)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		header.Name = path.Join(workspace, filepath.ToSlash(below))[1:]
		if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err != nil {
		return nil, err
	}
	return packed.Bytes(), w.Close()
}
