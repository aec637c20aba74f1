package damage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// smallBlob is the size, in bytes, up to which a blob is read each time.
const smallBlob = 1 << 20

// Blobs looks whether the small blobs in a directory hold what their names say, which are
// their SHA-256 digests: manifests and configurations, of which one that is wrong fails
// every build on that image. Layers are too large to be read each time. A directory that
// is not there has no damage.
func Blobs(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > smallBlob {
			continue
		}
		blob := filepath.Join(dir, entry.Name())
		content, err := os.ReadFile(blob)
		if err != nil {
			return err
		}
		if digest.FromBytes(content).Encoded() != entry.Name() {
			return fmt.Errorf("%s: it holds something else than its name says", blob)
		}
	}
	return nil
}
