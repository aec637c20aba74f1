package rootfs

import (
	"context"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/continuity/fs"
)

// LayerOptions say what a layer may hold. The zero value allows all.
type LayerOptions struct {
	// Link is asked of each symbolic link that is new or has changed. Its error ends the
	// layer.
	Link func(name, target string) error
}

// WriteLayer writes what changed in the tree at root between two walks as an image
// layer: a tar file, not compressed, in an order that depends on nothing but the
// names. It tells whether anything changed; if not, the tar file holds nothing.
//
// A file counts as changed if its ctime did, whether or not its content differs; an
// empty file with one name only if mode, owner or mtime did. A directory counts by its mode
// and its owner, and is part of the layer also if something in it is. Of extended
// attributes the layer holds what containerd's writer does: file capabilities.
//
// The tree must be as it was in the second walk.
func WriteLayer(ctx context.Context, w io.Writer, root string, before, after *Index, opts LayerOptions) (changed bool, err error) {
	if root, err = openRoot(root); err != nil {
		return false, err
	}
	out := &cancelWriter{ctx, w}
	l := &layerWriter{root: root, opts: opts, tar: archive.NewChangeWriter(out, root), links: map[inode]uint64{}}
	if err := l.compare(ctx, "/", before.top, after.top); err != nil {
		return false, fmt.Errorf("write what changed in %s as a layer: %w", root, err)
	}
	if err := l.tar.Close(); err != nil {
		return false, fmt.Errorf("write what changed in %s as a layer: %w", root, err)
	}
	return l.changed, nil
}

// layerWriter writes one layer.
type layerWriter struct {
	root    string
	opts    LayerOptions
	tar     *archive.ChangeWriter
	changed bool
	// links numbers the files that have several names.
	links map[inode]uint64
}

// inode is a file, whatever its names.
type inode struct{ dev, ino uint64 }

var noEntries = &directory{}

// compare writes the differences of a directory, of which it may have been none before.
func (l *layerWriter) compare(ctx context.Context, dir string, before, after *directory) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if before == nil {
		before = noEntries
	}
	old, now := before.entries, after.entries
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(old) > 0 && old[0].name < now[0].name:
			if err := l.vanished(dir, &old[0]); err != nil {
				return err
			}
			old = old[1:]
		case len(old) == 0 || now[0].name < old[0].name:
			if err := l.exists(ctx, dir, nil, &now[0]); err != nil {
				return err
			}
			now = now[1:]
		default:
			if err := l.exists(ctx, dir, &old[0], &now[0]); err != nil {
				return err
			}
			old, now = old[1:], now[1:]
		}
	}
	return nil
}

// vanished writes that a file is no more.
func (l *layerWriter) vanished(dir string, old *entry) error {
	if old.leftAlone() {
		return nil
	}
	l.changed = true
	return l.tar.HandleChange(fs.ChangeKindDelete, path.Join(dir, old.name), nil, nil)
}

// exists writes a file that is new, with a nil entry for what it was before, or that
// may have changed.
func (l *layerWriter) exists(ctx context.Context, dir string, old, now *entry) error {
	if now.leftAlone() || old != nil && old.leftAlone() {
		return nil
	}
	name := path.Join(dir, now.name)
	if old == nil || now.differs(old) {
		kind := fs.ChangeKind(fs.ChangeKindModify)
		if old == nil {
			kind = fs.ChangeKindAdd
		}
		l.changed = true
		if err := l.write(kind, name); err != nil {
			return err
		}
	} else if !now.isDir() && now.nlink > 1 {
		// It may have got a further name, which would be a file of its own without it.
		if err := l.write(fs.ChangeKindUnmodified, name); err != nil {
			return err
		}
	}
	if !now.isDir() {
		return nil
	}
	var below *directory
	if old != nil {
		below = old.below
	}
	return l.compare(ctx, name, below, now.below)
}

// differs tells whether a file has changed.
func (e *entry) differs(old *entry) bool {
	if e.mode != old.mode || e.uid != old.uid || e.gid != old.gid {
		return true
	}
	switch {
	case e.isDir():
		return false
	case e.isEmpty() && old.isEmpty():
		// Programs that lock a file often touch it.
		return e.mtime != old.mtime
	}
	return e.ctime != old.ctime || e.size != old.size
}

// isEmpty tells whether it is a file without content, and without a further name by which
// one might matter.
func (e *entry) isEmpty() bool {
	return e.mode&syscall.S_IFMT == syscall.S_IFREG && e.size == 0 && e.nlink == 1
}

// write writes a file; one that is unmodified only if another name of it is written.
func (l *layerWriter) write(kind fs.ChangeKind, name string) error {
	info, err := os.Lstat(filepath.Join(l.root, name))
	if err != nil {
		return err
	}
	if l.opts.Link != nil && info.Mode()&iofs.ModeSymlink != 0 && kind != fs.ChangeKindUnmodified {
		target, err := os.Readlink(filepath.Join(l.root, name))
		if err == nil {
			err = l.opts.Link(name, target)
		}
		if err != nil {
			return err
		}
	}
	return l.tar.HandleChange(kind, name, l.numbered(info), nil)
}

// numbered gives a file that has several names an inode number that no other has:
// where several filesystems make one tree, as with overlays, two files may share one,
// and the writer would take them for the same.
func (l *layerWriter) numbered(info iofs.FileInfo) iofs.FileInfo {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Nlink < 2 || info.IsDir() {
		return info
	}
	id := inode{uint64(st.Dev), st.Ino}
	if l.links[id] == 0 {
		l.links[id] = uint64(len(l.links) + 1)
	}
	changed := *st
	changed.Ino = l.links[id]
	return renumbered{info, &changed}
}

// renumbered is a file with another inode number.
type renumbered struct {
	iofs.FileInfo
	stat *syscall.Stat_t
}

// Sys is a *syscall.Stat_t.
func (r renumbered) Sys() any { return r.stat }

// cancelWriter ends a long layer when the context does.
type cancelWriter struct {
	ctx context.Context //nolint:containedctx // lives as long as one layer
	w   io.Writer
}

func (c *cancelWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
