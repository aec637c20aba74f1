package chain

import (
	"context"
	"io"
	"strings"
	"sync"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
)

// tailBytes and tailLines bound what is kept of one command's output for the
// case that it fails.
const (
	tailBytes = 16 << 10
	tailLines = 30
)

// output keeps the end of what each command of a build printed.
type output struct {
	mu    sync.Mutex
	tails map[string][]byte
}

// add takes what arrived.
func (o *output) add(status *client.SolveStatus) {
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

// watch shows the progress of one build and keeps output. The channel is for the
// build, which closes it; wait returns when everything is shown.
func (r *run) watch(ctx context.Context, keep *output) (ch chan *client.SolveStatus, wait func(), err error) {
	w, mode := r.Progress.Output, progressui.DisplayMode(r.Progress.Mode)
	if w == nil {
		w, mode = io.Discard, progressui.QuietMode
	}
	display, err := progressui.NewDisplay(w, mode)
	if err != nil {
		return nil, nil, err
	}
	ch = make(chan *client.SolveStatus)
	shown := make(chan *client.SolveStatus)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = display.UpdateFrom(ctx, shown)
	}()
	go func() {
		defer close(shown)
		for status := range ch {
			keep.add(status)
			select {
			case shown <- status:
			case <-gone:
			}
		}
	}()
	return ch, func() { <-gone }, nil
}
