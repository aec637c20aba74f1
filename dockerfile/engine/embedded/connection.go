//go:build linux

package embedded

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// socketPair returns two ends of a connection that has no name anywhere.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "engine"), os.NewFile(uintptr(fds[1]), "engine"), nil
}

// fileConn turns a descriptor into a connection, and closes the descriptor.
func fileConn(f *os.File) (net.Conn, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("using the socket pair: %w", err)
	}
	return conn, nil
}

// listener accepts the one connection that there is, and tells when it has ended.
type listener struct {
	conn   net.Conn
	ended  chan struct{}
	accept sync.Once
	end    sync.Once
}

var _ net.Listener = (*listener)(nil)

func newListener(conn net.Conn) *listener {
	return &listener{conn: conn, ended: make(chan struct{})}
}

// Accept returns the connection the first time, and blocks until it has ended the
// second time.
func (l *listener) Accept() (net.Conn, error) {
	var first bool
	l.accept.Do(func() { first = true })
	if first {
		return &watched{Conn: l.conn, closed: l.markEnded}, nil
	}
	<-l.ended
	return nil, net.ErrClosed
}

func (l *listener) Close() error {
	l.markEnded()
	return nil
}

func (l *listener) Addr() net.Addr { return l.conn.LocalAddr() }

func (l *listener) markEnded() { l.end.Do(func() { close(l.ended) }) }

// watched is a connection that tells when it is closed.
type watched struct {
	net.Conn
	closed func()
}

func (w *watched) Close() error {
	defer w.closed()
	return w.Conn.Close()
}

// errEnded is what a dialer answers that has given away its only connection.
var errEnded = errors.New("the engine has ended")
