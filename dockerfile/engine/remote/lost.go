package remote

import (
	"net"
	"sync"
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
