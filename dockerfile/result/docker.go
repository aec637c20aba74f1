package result

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/client"

	"github.com/graft-cnb/graft/dockerfile/base"
	"github.com/graft-cnb/graft/dockerfile/internal/dockerd"
)

const dockerPrefix = base.DockerPrefix

// dockerTag is a name that an image in a Docker daemon can have, with its tag.
func dockerTag(tag string) (string, error) {
	named, err := reference.ParseNormalizedNamed(tag)
	if err == nil {
		if _, digested := named.(reference.Digested); digested {
			err = errors.New("an image that is loaded cannot be named by a digest; write NAME or NAME:TAG")
		}
	}
	if err != nil {
		return "", fmt.Errorf("output %s%s: %w", dockerPrefix, tag, err)
	}
	return reference.FamiliarString(reference.TagNameOnly(named)), nil
}

// load gives the image to the Docker daemon under a name, as docker load does. Layers of
// the base that the daemon has are not read.
func (i *Image) load(ctx context.Context, tag string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("load image as %s%s: %w", dockerPrefix, tag, err)
		}
	}()
	c, err := dockerd.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer c.Close()
	layers, err := i.Layers()
	if err != nil {
		return err
	}
	image := dockerd.Image{Tag: tag, Config: i.config, Descriptors: i.manifest.Layers, Layers: layers}
	return image.Give(ctx, len(layers)-len(i.added), func(ctx context.Context, archive io.Reader) error {
		if err := dockerd.Load(ctx, c, archive); err != nil {
			return err
		}
		return i.checkLoaded(ctx, c, tag)
	})
}

// checkLoaded demands that the daemon has the image's layers under a name.
func (i *Image) checkLoaded(ctx context.Context, c *client.Client, tag string) error {
	info, err := c.ImageInspect(ctx, tag)
	if err != nil {
		return fmt.Errorf("look at what was loaded: %w", err)
	}
	config, err := i.ConfigFile()
	if err != nil {
		return err
	}
	same := func(got string, want v1.Hash) bool { return got == want.String() }
	if !slices.EqualFunc(info.RootFS.Layers, config.RootFS.DiffIDs, same) {
		return errors.New("the Docker daemon has loaded something else")
	}
	return nil
}
