package chain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/result"
)

// Apply extends the base image of each application, all with one engine and side
// by side, and hands the results over to every destination (image_extension.md,
// "Phase: Extension"). What can be known without an engine is checked before one
// is opened. No result becomes visible before all are complete: when Apply fails,
// earlier results are as they were, but for references of a registry that were
// pushed already.
//
// There is one Applied for each application, in order; after a failure they tell how far
// it came. Errors about a Dockerfile are a *dockerfile.Error, and a *dockerfile.RunError when it
// was a command that failed. When ctx ends, its error is wrapped.
func (a *Applier) Apply(ctx context.Context, apps ...dockerfile.Application) ([]dockerfile.Applied, error) {
	b := &batch{Applier: a}
	var kinds []string
	for _, app := range apps {
		b.runs = append(b.runs, b.newRun(app))
		kinds = append(kinds, string(app.Kind))
	}
	err := b.apply(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("extend %s image: %w (%w)", strings.Join(kinds, " and "), ctx.Err(), err)
	}
	var applied []dockerfile.Applied
	for _, r := range b.runs {
		applied = append(applied, r.applied())
	}
	return applied, err
}

// batch is one Apply: images that are extended together.
type batch struct {
	*Applier
	runs []*run

	logMu sync.Mutex
}

func (b *batch) apply(ctx context.Context) error {
	for _, r := range b.runs {
		if err := r.prepare(ctx); err != nil {
			r.failed = true
			return err
		}
	}
	defer func() {
		for _, r := range b.runs {
			r.close()
		}
	}()
	for _, r := range b.runs {
		if err := r.openStage(); err != nil {
			r.failed = true
			return err
		}
	}
	if err := b.solve(ctx); err != nil {
		return err
	}
	if err := b.checkAccounts(ctx); err != nil {
		return err
	}
	deliveries := make([]*result.Delivery, len(b.runs))
	if err := b.deliveries(ctx, deliveries); err != nil {
		for _, d := range deliveries {
			if d != nil {
				d.Abort()
			}
		}
		return err
	}
	return result.Deliver(ctx, deliveries...)
}

// deliveries prepares the hand-over of every image.
func (b *batch) deliveries(ctx context.Context, to []*result.Delivery) error {
	return b.each(ctx, b.runs, func(ctx context.Context, n int) (err error) {
		to[n], err = b.runs[n].delivery(ctx)
		return err
	})
}

// solve has an engine make the layers of all images that get any. When the engine is lost
// meanwhile, what it has not finished starts again in another; what is solved stays the
// same, build_id included.
func (b *batch) solve(ctx context.Context) error {
	for {
		var pending []*run
		for _, r := range b.runs {
			switch {
			case r.solved:
			case r.plan.needsEngine():
				pending = append(pending, r)
			default:
				r.log(r.Debug, "No layer is added: no engine is needed")
			}
		}
		if len(pending) == 0 {
			return nil
		}
		if b.Engine == nil {
			return errors.New("the Dockerfiles add layers, and no engine to make them was given")
		}
		engine, err := b.Engine(ctx)
		if err != nil {
			return err
		}
		err = b.solveIn(ctx, engine, pending)
		if errors.Is(err, errCacheToBlame) {
			continue
		}
		if err == nil || ctx.Err() != nil || b.Lost == nil {
			return err
		}
		lost, again := b.Lost(ctx, engine)
		if lost == nil {
			return err
		}
		if !again {
			return fmt.Errorf("the BuildKit engine was lost in the midst of the build (%w): %w", lost, err)
		}
		b.log(b.Warn, "The BuildKit engine was lost in the midst of the build (%v); starting again with another", lost)
	}
}

// solveIn solves in one engine, and closes it.
func (b *batch) solveIn(ctx context.Context, engine Engine, pending []*run) error {
	defer func() {
		if err := engine.Close(); err != nil {
			b.log(b.Warn, "Close the BuildKit engine: %v", err)
		}
	}()
	done, err := setBase(ctx, engine, pending)
	if err != nil {
		return err
	}
	defer done()
	client, err := engine.Client(ctx)
	if err != nil {
		return err
	}
	show, err := b.openDisplay(ctx)
	if err != nil {
		return err
	}
	defer show.close()
	about := dockerfile.AppliedEngine{Description: engine.Description(), Isolation: engine.Isolation()}
	err = b.each(ctx, pending, func(ctx context.Context, n int) error {
		pending[n].store = storing(engine)
		pending[n].forgetful = forgets(engine)
		pending[n].keepTimes(engine)
		return pending[n].solve(ctx, about, client, show)
	})
	if err != nil {
		return err
	}
	return b.each(ctx, pending, func(ctx context.Context, n int) error {
		return pending[n].fastForward(ctx, engine)
	})
}

// forgets tells whether the engine is worth opening again after a failure.
func forgets(engine Engine) bool {
	f, ok := engine.(Forgetful)
	return ok && f.Forgets()
}

// each does something for several runs side by side. The first failure ends it for the
// others, too, and is the one that is returned.
func (b *batch) each(ctx context.Context, runs []*run, do func(ctx context.Context, n int) error) error {
	var first sync.Once
	group, ctx := errgroup.WithContext(ctx)
	for n, r := range runs {
		r.failed = false
		group.Go(func() error {
			err := do(ctx, n)
			if err != nil {
				first.Do(func() { r.failed = true })
			}
			return err
		})
	}
	return group.Wait()
}

// log writes a line where somebody listens, one at a time.
func (b *batch) log(to func(string, ...any), format string, args ...any) {
	if to == nil {
		return
	}
	b.logMu.Lock()
	defer b.logMu.Unlock()
	to(format, args...)
}
