package base

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
)

// breaks are the pauses before a registry is asked again for what it has cut off.
var breaks = []time.Duration{200 * time.Millisecond, time.Second, 3 * time.Second}

// cutOff tells whether an answer has ended before its end. Requests that fail from the
// beginning are made again by go-containerregistry, and one who is silent has had time.
func cutOff(err error) bool {
	var request *url.Error
	var timeout net.Error
	if err == nil || errors.As(err, &request) || errors.As(err, &timeout) && timeout.Timeout() {
		return false
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return true
	}
	// These have no other name: HTTP/2, and what verifies an answer of unknown length.
	for _, text := range []string{"stream error: ", "http2: ", "error verifying size"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// pause waits before the n-th attempt after the first, and tells whether there is one; there
// is none once ended is closed.
func pause(ended <-chan struct{}, n int) bool {
	if n >= len(breaks) {
		return false
	}
	select {
	case <-ended:
		return false
	case <-time.After(breaks[n]):
		return true
	}
}

// openSteadily is openRegistry, with all metadata read although the registry cuts it off now
// and then.
func openSteadily(ctx context.Context, source string, opts Options) (*Image, error) {
	for n := 0; ; n++ {
		img, err := openRegistry(ctx, source, opts)
		if err == nil {
			img.ended = ctx.Done()
			err = img.load()
		}
		if !cutOff(err) || !pause(ctx.Done(), n) {
			return img, err
		}
	}
}

// steadyLayer is a layer of a registry that is read to its end although the registry cuts it
// off now and then.
type steadyLayer struct {
	v1.Layer
	digest v1.Hash
	size   int64
	ended  <-chan struct{}
}

var _ partial.CompressedLayer = (*steadyLayer)(nil)

// newSteadyLayer makes a layer steady.
func newSteadyLayer(l v1.Layer, ended <-chan struct{}) (v1.Layer, error) {
	digest, err := l.Digest()
	if err != nil {
		return nil, err
	}
	size, err := l.Size()
	if err != nil {
		return nil, err
	}
	return partial.CompressedToLayer(&steadyLayer{Layer: l, digest: digest, size: size, ended: ended})
}

// Descriptor is that of the layer in its manifest.
func (l *steadyLayer) Descriptor() (*v1.Descriptor, error) { return partial.Descriptor(l.Layer) }

// Exists tells whether the registry has the layer.
func (l *steadyLayer) Exists() (bool, error) { return partial.Exists(l.Layer) }

// Compressed reads the layer as it is stored.
func (l *steadyLayer) Compressed() (io.ReadCloser, error) {
	r, err := l.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	// The parts may be of several answers, each of which is verified only as a whole.
	return verify(&steady{ReadCloser: r, open: l.Layer.Compressed, ended: l.ended}, l.digest, l.size), nil
}

// steady is a stream that is opened again when it is cut off, and read on from there.
type steady struct {
	io.ReadCloser
	open   func() (io.ReadCloser, error)
	ended  <-chan struct{}
	done   int64 // bytes that were passed on
	breaks int
}

// Read reads on, if need be from a new stream.
func (s *steady) Read(p []byte) (int, error) {
	for {
		n, err := s.ReadCloser.Read(p)
		s.done += int64(n)
		if !cutOff(err) {
			return n, err
		}
		if n > 0 {
			return n, nil // the next one fails again
		}
		if !s.reopen() {
			return 0, err
		}
	}
}

// reopen goes to where the stream was cut off, and tells whether it could.
func (s *steady) reopen() bool {
	for pause(s.ended, s.breaks) {
		s.breaks++
		r, err := s.open()
		if err != nil {
			return false
		}
		if _, err = io.CopyN(io.Discard, r, s.done); err == nil {
			s.ReadCloser.Close()
			s.ReadCloser = r
			return true
		}
		r.Close()
		if !cutOff(err) {
			return false
		}
	}
	return false
}
