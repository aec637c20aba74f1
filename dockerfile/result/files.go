package result

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutMarker is the content of the file that makes a directory a layout.
const layoutMarker = `{"imageLayoutVersion":"` + ocispecs.ImageLayoutVersion + `"}`

// blobPath is where a layout keeps a blob.
func blobPath(dir string, h v1.Hash) string {
	return filepath.Join(dir, ocispecs.ImageBlobsDir, h.Algorithm, h.Hex)
}

// writeFile writes a file beside its target and renames it, readable for
// everybody.
func writeFile(path string, data []byte) error {
	return place(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// place lets write fill a temporary file and renames it to path when that went
// well; otherwise nothing is left.
func place(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), stagePrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// link gives a file a second name, or copies it where that cannot be.
func link(ctx context.Context, from, to string) error {
	if err := os.Link(from, to); err == nil {
		return os.Chmod(to, 0o644)
	}
	return copyFile(ctx, from, to)
}

// copyFile copies a file to a name that does not exist, or replaces it.
func copyFile(ctx context.Context, from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	err = place(to, func(w io.Writer) error {
		_, err := io.Copy(w, &cancelReader{ctx, f})
		return err
	})
	if err != nil {
		return fmt.Errorf("copy %s to %s: %w", from, to, err)
	}
	return nil
}
