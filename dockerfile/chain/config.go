package chain

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/result"
)

type history = ocispecs.History

// config is the configuration of the extended image, as it is stored: the
// plan's, with one history entry per layer and fixed times. It depends on
// nothing but the plan and the added layers.
func (r *run) config(p *plan, added []result.Layer) ([]byte, error) {
	if len(added) != len(p.layers) {
		return nil, fmt.Errorf("%d instructions add a layer, and %d layers were added", len(p.layers), len(added))
	}
	img := r.imageConfig(p)
	img.RootFS = ocispecs.RootFS{Type: "layers", DiffIDs: append([]digest.Digest{}, r.base.Config.RootFS.DiffIDs...)}
	for _, l := range added {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, digest.Digest(l.DiffID.String()))
	}
	data, err := json.Marshal(struct {
		dockerspec.DockerOCIImage
		inlineCache
	}{img, r.inlineCache})
	if err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return data, nil
}

// inlineCache is the part of a configuration by which BuildKit takes an image for a
// cache. It counts layers by their position and does not depend on their form.
type inlineCache struct {
	Cache json.RawMessage `json:"moby.buildkit.cache.v0,omitempty"`
}

// imageConfig is the configuration but for the layers that are added.
func (r *run) imageConfig(p *plan) dockerspec.DockerOCIImage {
	img := p.image
	// The base's platform stays, letter by letter.
	img.Platform = r.base.Platform()
	img.Created = &r.epoch
	img.History = r.history(p)
	if r.app.Kind == dockerfile.KindRun && len(r.steps) > 0 {
		labels := maps.Clone(img.Config.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels[rebasableLabel] = strconv.FormatBool(p.rebasable)
		img.Config.Labels = labels
	}
	return img
}

// history has one entry per layer: the base's without those that belong to no
// layer, and for each added layer the instruction and the extension.
func (r *run) history(p *plan) []history {
	var out []history
	for _, h := range r.base.Config.History {
		if !h.EmptyLayer && len(out) < len(r.base.Config.RootFS.DiffIDs) {
			out = append(out, h)
		}
	}
	for len(out) < len(r.base.Config.RootFS.DiffIDs) {
		// A base whose history says less than it has layers.
		out = append(out, history{Created: &r.epoch, CreatedBy: "unknown"})
	}
	for _, l := range p.layers {
		out = append(out, history{
			Created:   &r.epoch,
			CreatedBy: fmt.Sprintf("Layer: '%s', Created by extension: %s", l.instruction, l.step.Extension),
		})
	}
	return out
}
