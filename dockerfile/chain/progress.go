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
	redact func(string) string // nil for none
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
	d := &display{shown: make(chan *client.SolveStatus), gone: make(chan struct{}), redact: b.Progress.Redact}
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
			case d.shown <- d.redacted(see(status)):
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

// redacted is a status without what nobody should see. The one that it is given stays as it
// is, since others look at it. (A secret that comes in two parts is seen: engines pass on
// what a command writes as it writes it.)
func (d *display) redacted(status *client.SolveStatus) *client.SolveStatus {
	if d.redact == nil {
		return status
	}
	out := *status
	out.Vertexes, out.Statuses, out.Logs, out.Warnings = nil, nil, nil, nil
	for _, v := range status.Vertexes {
		shown := *v
		shown.Name, shown.Error = d.redact(v.Name), d.redact(v.Error)
		out.Vertexes = append(out.Vertexes, &shown)
	}
	for _, s := range status.Statuses {
		shown := *s
		shown.ID, shown.Name = d.redact(s.ID), d.redact(s.Name)
		out.Statuses = append(out.Statuses, &shown)
	}
	for _, l := range status.Logs {
		shown := *l
		shown.Data = []byte(d.redact(string(l.Data)))
		out.Logs = append(out.Logs, &shown)
	}
	for _, w := range status.Warnings {
		shown := *w
		shown.Short = []byte(d.redact(string(w.Short)))
		shown.Detail = nil
		for _, line := range w.Detail {
			shown.Detail = append(shown.Detail, []byte(d.redact(string(line))))
		}
		out.Warnings = append(out.Warnings, &shown)
	}
	return &out
}
