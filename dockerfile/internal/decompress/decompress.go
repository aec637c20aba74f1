// Package decompress reads compressed tar files in this process. Libraries that do it
// otherwise call a program when they find one: a RUN could put it there, and would be
// given whatever this process has in its environment.
package decompress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Beginnings of what compression does not know.
var (
	bzip2Magic = []byte("BZh")
	xzMagic    = []byte("\xfd7zXZ\x00")
)

// Stream gives what in holds, decompressed if it is gzip, zstd, bzip2 or xz, and as it is
// otherwise. To close it ends the decompression and leaves in alone.
func Stream(in io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(in, 32<<10)
	begin, err := buffered.Peek(10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(begin, bzip2Magic):
		return io.NopCloser(bzip2.NewReader(buffered)), nil
	case bytes.HasPrefix(begin, xzMagic):
		return closing(xz.NewReader(buffered))
	}
	switch compression.DetectCompression(begin) {
	case compression.Gzip:
		return closing(gzip.NewReader(buffered))
	case compression.Zstd:
		out, err := zstd.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		return out.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// closing is a reader that a library gave, if it did.
func closing[R io.Reader](out R, err error) (io.ReadCloser, error) {
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return io.NopCloser(out), nil
}

// WithoutPrograms keeps the libraries that BuildKit uses in this process from calling
// programs to decompress. It has to come before they decompress anything.
func WithoutPrograms() error {
	for _, name := range []string{"CONTAINERD_DISABLE_IGZIP", "CONTAINERD_DISABLE_PIGZ", "MOBY_DISABLE_PIGZ"} {
		if err := os.Setenv(name, "true"); err != nil {
			return fmt.Errorf("decompress without programs: %w", err)
		}
	}
	return nil
}
