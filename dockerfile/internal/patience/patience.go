// Package patience gives up network connections on which nothing moves. It never
// limits how long a transfer takes as long as there is one, and never tries again.
package patience

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Dial opens a network connection, as net.Dialer's DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// SilentError says that the other side of a connection has neither sent nor taken
// anything for some time. It is a timeout, and none that goes away by asking again.
type SilentError struct {
	// Peer is the address of the other side, Silence how long it was waited for.
	Peer    string
	Silence time.Duration
}

var _ net.Error = (*SilentError)(nil)

// Error names the address and the time.
func (e *SilentError) Error() string {
	return fmt.Sprintf("%s has accepted a connection and is silent for %v", e.Peer, e.Silence)
}

// Timeout is true.
func (e *SilentError) Timeout() bool { return true }

// Temporary is false: whoever sees true here tries several times more, with the same
// patience each time.
func (e *SilentError) Temporary() bool { return false }

// Limit opens connections with dial that end with a *SilentError once nothing has
// moved for the time given.
func Limit(dial Dial, silence time.Duration) Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c, silence: silence}, nil
	}
}

type conn struct {
	net.Conn
	silence time.Duration
}

// Read fails when nothing comes.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.extend(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	return n, c.explain(err)
}

// Write fails when nothing is taken. While something is, the answer may wait.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.extend(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	return n, c.explain(err)
}

func (c *conn) extend() error { return c.SetDeadline(time.Now().Add(c.silence)) }

func (c *conn) explain(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &SilentError{Peer: c.RemoteAddr().String(), Silence: c.silence}
	}
	return err
}
