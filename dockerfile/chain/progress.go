package chain

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
)

// tailBytes and tailLines bound what is kept of one command's output for the
// case that it fails.
const (
	tailBytes = 16 << 10
	tailLines = 30
)

// output keeps the end of what each command of a build printed, and how the base
// arrives.
type output struct {
	pull  pull
	mu    sync.Mutex
	tails map[string][]byte
}

// add takes what arrived.
func (o *output) add(status *client.SolveStatus) {
	o.pull.add(status)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range status.Logs {
		if o.tails == nil {
			o.tails = map[string][]byte{}
		}
		key := l.Vertex.String()
		tail := append(o.tails[key], l.Data...)
		if over := len(tail) - tailBytes; over > 0 {
			tail = append([]byte(nil), tail[over:]...)
		}
		o.tails[key] = tail
	}
}

// tail is the end of what the command behind a vertex printed, whole lines.
func (o *output) tail(vertex string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	tail := o.tails[vertex]
	text := strings.TrimRight(strings.ToValidUTF8(string(tail), "?"), "\r\n")
	if len(tail) == tailBytes {
		if _, after, ok := strings.Cut(text, "\n"); ok {
			text = after // the first line is only the end of one
		}
	}
	lines := strings.Split(text, "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return strings.Join(lines, "\n")
}

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
