package result

import (
	"archive/tar"
	"context"
	"encoding/json"
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

// load gives the image to the Docker daemon under a name, as docker load does. A daemon
// that keeps layers by what is in them needs only those that it does not have, so the
// base's are left out at first: they need not be read, and one that turns out to lack them
// gets them the second time.
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
	below := len(i.manifest.Layers) - len(i.added)
	if below == 0 {
		return i.loadFrom(ctx, c, tag, 0)
	}
	without := i.loadFrom(ctx, c, tag, below)
	if without == nil || ctx.Err() != nil {
		return without
	}
	if err := i.loadFrom(ctx, c, tag, 0); err != nil {
		return fmt.Errorf("%w (without the layers of the base: %w)", err, without)
	}
	return nil
}

// loadFrom gives the daemon what it needs if it has the lowest layers, up to a number.
func (i *Image) loadFrom(ctx context.Context, c *client.Client, tag string, lowest int) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := i.writeDockerArchive(ctx, w, tag, lowest)
		written <- err
		_ = w.CloseWithError(err) // never fails
	}()
	answer, err := c.ImageLoad(ctx, r, client.ImageLoadWithQuiet(true))
	if err == nil {
		err = errors.Join(loaded(answer), answer.Close())
	}
	_ = r.Close() // what the daemon does not want need not be written
	if failed := <-written; failed != nil && !errors.Is(failed, io.ErrClosedPipe) {
		return failed
	}
	if err != nil {
		return err
	}
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

// loaded reads what the daemon says of loading: a failure is not told by the status.
func loaded(answer io.Reader) error {
	for d := json.NewDecoder(answer); ; {
		var message struct {
			Error string `json:"error"`
		}
		if err := d.Decode(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the Docker daemon's answer: %w", err)
		}
		if message.Error != "" {
			return fmt.Errorf("the Docker daemon says: %s", message.Error)
		}
	}
}

// writeDockerArchive writes what docker load reads, without the lowest layers.
func (i *Image) writeDockerArchive(ctx context.Context, to io.Writer, tag string, lowest int) error {
	layers, err := i.Layers()
	if err != nil {
		return err
	}
	config := i.manifest.Config.Digest.Hex + ".json"
	var names []string
	for _, desc := range i.manifest.Layers {
		names = append(names, desc.Digest.Hex+".tar")
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": config, "RepoTags": []string{tag}, "Layers": names}})
	if err != nil {
		return err
	}
	w := tar.NewWriter(to)
	if err := archiveBytes(w, "manifest.json", manifest); err != nil {
		return err
	}
	if err := archiveBytes(w, config, i.config); err != nil {
		return err
	}
	written := map[v1.Hash]bool{}
	for n, desc := range i.manifest.Layers {
		if n < lowest || written[desc.Digest] {
			continue
		}
		written[desc.Digest] = true
		if err := archiveLayer(ctx, w, names[n], desc, layers[n]); err != nil {
			return fmt.Errorf("layer %d of %d (%s): %w", n+1, len(layers), desc.Digest, err)
		}
	}
	return w.Close()
}
