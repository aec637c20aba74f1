package decompress_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"testing"

	containerd "github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/klauspost/compress/zstd"
	moby "github.com/moby/go-archive/compression"
	"github.com/ulikunitz/xz"

	"github.com/graft-cnb/graft/dockerfile/internal/decompress"
)

const plain = "what is in it\n"

// compressed is plain in every form. Nothing in Go writes bzip2.
func compressed(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"plain": []byte(plain), "empty": nil}
	for name, open := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		"xz":   func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
	} {
		var to bytes.Buffer
		w, err := open(&to)
		if err == nil {
			_, err = io.WriteString(w, plain)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		all[name] = to.Bytes()
	}
	bzip2, err := base64.StdEncoding.DecodeString("QlpoOTFBWSZTWX5aYlsAAAbRgAAQQAAgYQyAIAAxBkxBAGajdNCkkPF3JFOFCQflpiWw")
	if err != nil {
		t.Fatal(err)
	}
	all["bzip2"] = bzip2
	return all
}

// Every form is read, and none with a program, whatever stands in PATH: the finding was
// that an unpigz which a RUN had made was called with the credentials of its caller.
func TestStream(t *testing.T) {
	programs := t.TempDir()
	t.Setenv("PATH", programs)
	called := filepath.Join(programs, "called")
	for _, name := range []string{"unpigz", "pigz", "igzip", "xz", "bzip2", "zstd"} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\n: >"+called+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range compressed(t) {
		want := plain
		if name == "empty" {
			want = ""
		}
		r, err := decompress.Stream(bytes.NewReader(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: closing: %v", name, err)
		}
	}
	if _, err := os.Stat(called); err == nil {
		t.Error("a program of PATH was called")
	}
}

// BuildKit's own libraries call none either, once they are told.
func TestWithoutPrograms(t *testing.T) {
	programs := t.TempDir()
	t.Setenv("PATH", programs)
	for _, name := range []string{"unpigz", "igzip"} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\necho a program\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"CONTAINERD_DISABLE_IGZIP", "CONTAINERD_DISABLE_PIGZ", "MOBY_DISABLE_PIGZ"} {
		t.Setenv(name, "") // and back to what it was
	}
	if err := decompress.WithoutPrograms(); err != nil {
		t.Fatal(err)
	}
	data := compressed(t)["gzip"]
	for name, open := range map[string]func(io.Reader) (io.ReadCloser, error){
		"containerd": func(r io.Reader) (io.ReadCloser, error) { return containerd.DecompressStream(r) },
		"moby":       moby.DecompressStream,
	} {
		r, err := open(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != plain {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// What only begins like a compressed file is an error, at the latest when it is read.
func TestStreamOfDamagedFiles(t *testing.T) {
	for name, data := range compressed(t) {
		if name == "plain" || name == "empty" {
			continue
		}
		for _, size := range []int{6, 11, len(data) - 1} {
			r, err := decompress.Stream(bytes.NewReader(data[:size]))
			if err == nil {
				_, err = io.ReadAll(r)
			}
			if err == nil {
				t.Errorf("%s: %d of %d bytes are no error", name, size, len(data))
			}
		}
	}
}
