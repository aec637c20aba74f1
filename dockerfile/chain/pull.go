package chain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/opencontainers/go-digest"
)

// defaultPullSilence is Applier.PullSilence unless it is set. The engine asks a registry
// again after failures, with pauses in which nothing arrives, so it is longer than that
// of our own requests.
const defaultPullSilence = time.Minute

// pull follows how an engine gets the base image. The zero value follows none.
type pull struct {
	// title is how the display's name of the step ends; layers are the base's.
	title  string
	layers []string

	mu     sync.Mutex
	steps  map[digest.Digest]bool
	active map[string]int64 // layers that arrive, by digest, and how much has
	moved  time.Time
}

// add takes what the engine tells of its progress.
func (p *pull) add(status *client.SolveStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.title == "" {
		return
	}
	for _, v := range status.Vertexes {
		if !strings.HasSuffix(v.Name, p.title) {
			continue
		}
		if p.steps == nil {
			p.steps, p.active = map[digest.Digest]bool{}, map[string]int64{}
		}
		p.steps[v.Digest] = true
	}
	for _, s := range status.Statuses {
		// The other statuses of such a step, like those of unpacking, may take as
		// long as they like.
		if !p.steps[s.Vertex] || digest.Digest(s.ID).Validate() != nil {
			continue
		}
		before, known := p.active[s.ID]
		switch {
		case s.Completed != nil:
			delete(p.active, s.ID)
			p.moved = time.Now()
		case !known || before != s.Current:
			p.active[s.ID] = s.Current
			p.moved = time.Now()
		}
	}
}

// silent tells for which layer nothing has come for so long, if that is so.
func (p *pull) silent(patience time.Duration) (layer string, silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.active) == 0 || time.Since(p.moved) < patience {
		return "", false
	}
	for id := range p.active {
		if layer == "" || id < layer {
			layer = id
		}
	}
	return layer, true
}

// failure is the failure to pull, if that is what an error of the solve comes from. The
// engine pulls late, and puts it down to the first instruction that needs the base: so it
// is told by the layer that it names. (It names none when one was too short.)
func (p *pull) failure(err error) error {
	var exit *gwpb.ExitError
	text := cause(err)
	named := strings.Contains(text, "short read: expected") ||
		slices.ContainsFunc(p.layers, func(layer string) bool { return strings.Contains(text, layer) })
	if !named || errors.As(err, &exit) {
		return nil
	}
	for _, prefix := range []string{"failed to compute cache key: ", "failed to copy: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return &engineError{text, err}
}

// watchPull ends the returned context when the registry of the base has been silent for
// too long to an engine that pulls by itself: engines wait for ever. stop ends the
// watch.
func (r *run) watchPull(ctx context.Context, p *pull) (_ context.Context, stop func()) {
	p.title = " FROM " + r.base.Source
	for _, l := range r.base.Manifest.Layers {
		p.layers = append(p.layers, l.Digest.String())
	}
	if !r.base.Pullable() {
		return ctx, func() {}
	}
	patience := r.PullSilence
	if patience == 0 {
		patience = defaultPullSilence
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(patience / 10)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if layer, silent := p.silent(patience); silent {
				cancel(fmt.Errorf("the registry does not answer the engine: nothing has come of layer %s for %v", layer, patience))
				return
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}
