package result

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// pendingExtended is a complete <extended>/<kind> in a stage, not yet in its
// place.
type pendingExtended struct {
	stage  *Stage
	staged string
	target string
}

// stageExtended writes the image, without the base's layers, as the only entry
// of a directory that can take the place of target (platform.md, "extended").
func (i *Image) stageExtended(ctx context.Context, stage *Stage, target string) (*pendingExtended, error) {
	if resolved, err := filepath.EvalSymlinks(target); err == nil {
		target = resolved
	}
	staged := filepath.Join(stage.path, "extended")
	dir := filepath.Join(staged, i.digest.String())
	if err := mkdir(filepath.Join(dir, ocispecs.ImageBlobsDir, i.digest.Algorithm)); err != nil {
		return nil, fmt.Errorf("stage extended image: %w", err)
	}
	for n := range i.added {
		to := blobPath(dir, i.added[n].Blob)
		if _, err := os.Stat(to); err == nil {
			continue // the same layer twice
		}
		if err := link(ctx, i.added[n].Path, to); err != nil {
			return nil, fmt.Errorf("stage extended image: %w", err)
		}
	}
	if err := i.writeMetadata(dir); err != nil {
		return nil, fmt.Errorf("stage extended image: %w", err)
	}
	return &pendingExtended{stage: stage, staged: staged, target: target}, nil
}

// writeMetadata writes everything of a layout but its layers, index.json last.
func (i *Image) writeMetadata(dir string) error {
	index, err := i.index()
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path string
		data []byte
	}{
		{filepath.Join(dir, ocispecs.ImageLayoutFile), []byte(layoutMarker)},
		{blobPath(dir, i.manifest.Config.Digest), i.config},
		{blobPath(dir, i.digest), i.rawManifest},
		{filepath.Join(dir, ocispecs.ImageIndexFile), index},
	} {
		if err := writeFile(f.path, f.data); err != nil {
			return err
		}
	}
	return nil
}

// commit puts the staged directory in the place of the target. Whoever looks
// sees the old result or the new one, never both; what was there ends in the
// stage, and disappears with it.
func (p *pendingExtended) commit() error {
	err := unix.Renameat2(unix.AT_FDCWD, p.staged, unix.AT_FDCWD, p.target, unix.RENAME_EXCHANGE)
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(p.staged, p.target); err != nil {
			return fmt.Errorf("hand over extended image as %s: %w", p.target, err)
		}
		return nil
	}
	return p.replace(err)
}

// replace does without the exchange, on file systems that do not have it: for a
// moment there is no result at all.
func (p *pendingExtended) replace(cause error) error {
	old := filepath.Join(p.stage.path, "replaced")
	switch err := os.Rename(p.target, old); {
	case err == nil:
	case errors.Is(err, unix.EXDEV):
		// A directory of a lower layer of an overlay cannot be moved, only
		// removed.
		if err := os.RemoveAll(p.target); err != nil {
			return fmt.Errorf("remove the earlier result %s: %w", p.target, err)
		}
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("hand over extended image: %s is a mount point and cannot be replaced; mount its parent directory instead: %w", p.target, err)
	default:
		return fmt.Errorf("hand over extended image: move %s aside: %w", p.target, errors.Join(err, cause))
	}
	if err := os.Rename(p.staged, p.target); err != nil {
		return fmt.Errorf("hand over extended image as %s: %w", p.target, errors.Join(err, os.Rename(old, p.target)))
	}
	return nil
}
