package dockerd

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/client"
)

// Load gives the daemon an archive as docker save writes it.
func Load(ctx context.Context, c *client.Client, archive io.Reader) error {
	answer, err := c.ImageLoad(ctx, archive, client.ImageLoadWithQuiet(true))
	if err != nil {
		return fmt.Errorf("give an image to the Docker daemon: %w", err)
	}
	return errors.Join(loaded(answer), answer.Close())
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

// Image is an image on its way to a daemon.
type Image struct {
	// Tag is its name there, with a tag.
	Tag string
	// Config is its configuration, as it is stored.
	Config []byte
	// Descriptors describe its layers, and Layers open them.
	Descriptors []v1.Descriptor
	Layers      []v1.Layer
}

// Give loads an image, by load. A daemon that keeps layers by what is in them needs only
// those that it does not have: so the lowest ones, of which it may have as many as likely
// says, are left out at first. They need not be read, and a daemon that turns out to lack
// them gets them the second time.
func (i Image) Give(ctx context.Context, likely int, load func(context.Context, io.Reader) error) error {
	if likely == 0 {
		return i.give(ctx, 0, load)
	}
	without := i.give(ctx, likely, load)
	if without == nil || ctx.Err() != nil {
		return without
	}
	if err := i.give(ctx, 0, load); err != nil {
		return fmt.Errorf("%w (without the lowest %d layers: %w)", err, likely, without)
	}
	return nil
}

func (i Image) give(ctx context.Context, lowest int, load func(context.Context, io.Reader) error) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := i.write(w, lowest)
		written <- err
		_ = w.CloseWithError(err) // never fails
	}()
	err := load(ctx, r)
	_ = r.Close() // what the daemon does not want need not be written
	if failed := <-written; failed != nil && !errors.Is(failed, io.ErrClosedPipe) {
		return failed
	}
	return err
}

// write writes what docker load reads, without the lowest layers.
func (i Image) write(to io.Writer, lowest int) error {
	digest, _, err := v1.SHA256(bytes.NewReader(i.Config))
	if err != nil {
		return err
	}
	config := digest.Hex + ".json"
	var names []string
	for _, desc := range i.Descriptors {
		names = append(names, desc.Digest.Hex+".tar")
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": config, "RepoTags": []string{i.Tag}, "Layers": names}})
	if err != nil {
		return err
	}
	w := tar.NewWriter(to)
	for name, data := range map[string][]byte{"manifest.json": manifest, config: i.Config} {
		if err := writeFile(w, name, int64(len(data)), bytes.NewReader(data)); err != nil {
			return err
		}
	}
	written := map[v1.Hash]bool{}
	for n, desc := range i.Descriptors {
		if n < lowest || written[desc.Digest] {
			continue
		}
		written[desc.Digest] = true
		layer, err := i.Layers[n].Compressed()
		if err == nil {
			err = errors.Join(writeFile(w, names[n], desc.Size, layer), layer.Close())
		}
		if err != nil {
			return fmt.Errorf("layer %d of %d (%s): %w", n+1, len(names), desc.Digest, err)
		}
	}
	return w.Close()
}

func writeFile(w *tar.Writer, name string, size int64, data io.Reader) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	_, err := io.Copy(w, data)
	return err
}
