package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// meter is a socket that passes everything on to a daemon's and counts what comes back.
type meter struct {
	net.Listener
	dir      string
	received atomic.Int64
}

func newMeter(d *daemon) (*meter, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	m := &meter{dir: dir}
	if m.Listener, err = net.Listen("unix", filepath.Join(dir, "sock")); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go func() {
		for {
			client, err := m.Accept()
			if err != nil {
				return
			}
			go m.pass(client, strings.TrimPrefix(d.address, "unix://"))
		}
	}()
	return m, nil
}

func (m *meter) address() string { return "unix://" + m.Addr().String() }

func (m *meter) pass(client net.Conn, socket string) {
	defer client.Close()
	server, err := net.Dial("unix", socket)
	if err != nil {
		return // whoever is measured finds out
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client) // until either side ends
		server.Close()
	}()
	_, _ = io.Copy(client, counted{server, &m.received})
}

// stop closes the socket.
func (m *meter) stop() error { return errors.Join(m.Close(), os.RemoveAll(m.dir)) }

type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// addedBytes is the size of the layers that the last run added: the blobs of
// <extended>, but for manifest and configuration.
func (x extending) addedBytes() (int64, error) {
	blobs, err := filepath.Glob(filepath.Join(x.dir, "layers/extended/run/*/blobs/sha256/*"))
	if err != nil {
		return 0, err
	}
	var size int64
	for _, blob := range blobs {
		info, err := os.Stat(blob)
		if err != nil {
			return 0, err
		}
		if info.Size() > 100<<10 {
			size += info.Size()
		}
	}
	return size, nil
}
