package remote

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// life follows the connections to a daemon that has answered once: one that ends
// without being closed on this side means that whatever was going on there is lost.
type life struct {
	mu      sync.Mutex
	started bool
	ended   error
}

// start says that from now on a connection's end counts.
func (l *life) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started = true
}

// end notes how a connection ended; the first one counts.
func (l *life) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started && l.ended == nil {
		l.ended = err
	}
}

func (l *life) lost() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// Watching a daemon: how often it is asked for a word, and how often in a row it has to
// be unreachable for that.
const (
	watchInterval = 2 * time.Second
	watchFailures = 2
)

// watch ends the engine's connection once the daemon takes no more requests, or has said
// nothing for too long. One that is told to end answers what it was asked before, which may
// take as long as a RUN does, and refuses all that would follow: the build is lost at once.
// One that is frozen, or cut off, keeps its connection.
func (e *Engine) watch(silence time.Duration) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	heard := time.Now()
	for failures := 0; failures < watchFailures; {
		select {
		case <-e.closed:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), watchInterval)
		_, err := e.client.ListWorkers(ctx)
		cancel()
		switch status.Code(err) {
		case codes.Unavailable:
			failures++
		case codes.DeadlineExceeded: // it may have no time to answer
			failures = 0
			if since := time.Since(heard); since > silence {
				failures = watchFailures
				e.life.end(fmt.Errorf("the daemon has said nothing for %v", since.Round(time.Second)))
			}
		default:
			failures = 0
			heard = time.Now()
		}
		if failures == watchFailures {
			e.life.end(fmt.Errorf("the daemon takes no more requests, as one does that is told to end: %w", err))
		}
	}
	_ = e.client.Close() // whoever waits for an answer is told so
}

// followed is a connection whose end is noted, unless this side closes it.
type followed struct {
	net.Conn
	life *life

	mu     sync.Mutex
	closed bool
}

func (c *followed) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.mu.Lock()
		closed := c.closed
		c.mu.Unlock()
		if !closed {
			c.life.end(err)
		}
	}
	return n, err
}

func (c *followed) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.Conn.Close()
}
