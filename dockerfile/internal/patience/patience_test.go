package patience_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graft-cnb/graft/dockerfile/internal/patience"
)

// dial connects with patience to a server that does something with each connection.
func dial(t *testing.T, silence time.Duration, serve func(net.Conn)) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		if conn, err := l.Accept(); err == nil {
			serve(conn)
		}
	}()
	conn, err := patience.Limit((&net.Dialer{}).DialContext, silence)(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A connection on which nothing comes is given up, with an error that nobody takes for
// one that goes away.
func TestSilenceEndsAConnection(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	conn := dial(t, 100*time.Millisecond, func(c net.Conn) { <-hold; c.Close() })
	_, err := conn.Read(make([]byte, 1))
	var silent *patience.SilentError
	if !errors.As(err, &silent) || !silent.Timeout() || silent.Temporary() || !strings.Contains(err.Error(), conn.RemoteAddr().String()) {
		t.Errorf("error %v", err)
	}
}

// A transfer may take as long as it likes, if only something moves.
func TestSlowIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // with a clock of its own
		const silence, parts = time.Minute, 8
		here, there := net.Pipe()
		pipe := func(context.Context, string, string) (net.Conn, error) { return here, nil }
		conn, err := patience.Limit(pipe, silence)(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() {
			defer there.Close()
			for range parts {
				time.Sleep(silence - time.Second)
				if _, err := there.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		data, err := io.ReadAll(conn)
		if err != nil || len(data) != parts {
			t.Errorf("%d bytes, error %v", len(data), err)
		}
	})
}
