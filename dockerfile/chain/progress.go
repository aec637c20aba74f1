package chain

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
)

// display shows the progress of the builds that one engine makes side by side, as
// one.
type display struct {
	shown  chan *client.SolveStatus
	builds sync.WaitGroup
	gone   chan struct{}
}

// openDisplay begins to show. The caller closes the display.
func (b *batch) openDisplay(ctx context.Context) (*display, error) {
	w, mode := b.Progress.Output, progressui.DisplayMode(b.Progress.Mode)
	if w == nil {
		w, mode = io.Discard, progressui.QuietMode
	}
	ui, err := progressui.NewDisplay(w, mode)
	if err != nil {
		return nil, err
	}
	d := &display{shown: make(chan *client.SolveStatus), gone: make(chan struct{})}
	go func() {
		defer close(d.gone)
		_, _ = ui.UpdateFrom(ctx, d.shown)
	}()
	return d, nil
}

// build gives one build a channel, which it closes; passed is closed once all of it has
// been seen and passed on. What see returns is shown.
func (d *display) build(see func(*client.SolveStatus) *client.SolveStatus) (ch chan *client.SolveStatus, passed <-chan struct{}) {
	ch = make(chan *client.SolveStatus)
	done := make(chan struct{})
	d.builds.Add(1)
	go func() {
		defer close(done)
		defer d.builds.Done()
		for status := range ch {
			select {
			case d.shown <- see(status):
			case <-d.gone:
			}
		}
	}()
	return ch, done
}

// close waits until everything is shown, but not for long for a build that was given up.
func (d *display) close() {
	ended := make(chan struct{})
	go func() {
		d.builds.Wait()
		close(d.shown)
		close(ended)
	}()
	select {
	case <-ended:
		<-d.gone
	case <-d.gone:
	case <-time.After(farewell):
	}
}
