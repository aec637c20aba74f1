package rootfs

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What names in a layer mean (image-spec, layer.md, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh."
)

// ErrDamaged is wrapped when a layer cannot be what a builder of images made.
var ErrDamaged = errors.New("layer is damaged")

// ApplyOptions say how a layer is applied. The zero value keeps off mounts only.
type ApplyOptions struct {
	// Skip are absolute paths, seen from the root, that nothing happens to, nor to
	// anything below them. They need not be there.
	Skip []string
	// Archive says that it is no layer but any tar file, which is unpacked as in a root
	// directory of its own: marks of removal are files like others, and a path that leads
	// upwards ends at the root.
	Archive bool
	// Owner, if there is one, owns all files instead of whom the headers name.
	Owner *Owner
	// Warn gets what this system cannot hold, and is left out: a device in a user
	// namespace, or an attribute that the file system does not have. Nil: dropped.
	Warn func(format string, args ...any)
}

// Owner is a user and a group, by number.
type Owner struct{ UID, GID int }

// Apply applies an image layer, a tar file that is not compressed, onto the tree at
// root (image-spec, layer.md, "Applying Changesets"). It reads the layer to its end.
//
// A file that is there is replaced by a rename, so that programs that run from it, or
// have it open, go on with what they had. Links in the tree are followed to the
// directories in which entries belong, within root; never by an entry itself. What
// stands at a mount or at a path of Skip is not touched, not even where a directory
// above it is removed.
//
// A layer that is not one wraps ErrDamaged. Whatever the error, the tree is then
// between two states.
func Apply(ctx context.Context, root string, layer io.Reader, opts ApplyOptions) error {
	root, err := openRoot(root)
	if err != nil {
		return err
	}
	p, err := leaveAlone(root, opts.Skip)
	if err != nil {
		return err
	}
	a := &applier{
		ctx: ctx, places: p, warn: opts.Warn, archive: opts.Archive, owner: opts.Owner,
		written: map[string]bool{}, dates: map[string]dates{},
		buffer: make([]byte, 256<<10),
	}
	if a.dirs, err = openDirs(root, p); err != nil {
		return err
	}
	defer a.dirs.close()
	in := bufio.NewReaderSize(&cancelReader{ctx, layer}, 1<<20)
	err = a.apply(tar.NewReader(in))
	err = errors.Join(err, a.removeAside())
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	if err != nil {
		return fmt.Errorf("apply a layer to %s: %w", root, err)
	}
	return nil
}

// applier applies one layer.
type applier struct {
	ctx    context.Context //nolint:containedctx // lives as long as one layer
	places *places
	dirs   *dirs
	warn   func(format string, args ...any)
	// archive and owner are those of ApplyOptions.
	archive bool
	owner   *Owner
	tar     *tar.Reader
	buffer  []byte
	// written are the paths that the layer holds, so far. Whiteouts do not concern them.
	written map[string]bool
	// dates are what directories are dated to at the end.
	dates map[string]dates
	aside aside
	temps int
}

// dates are when a file was last read and changed.
type dates struct{ access, change time.Time }

func datesOf(hdr *tar.Header) dates {
	d := dates{hdr.AccessTime, hdr.ModTime}
	if d.access.Before(d.change) {
		d.access = d.change
	}
	return d
}

func (a *applier) apply(in *tar.Reader) error {
	a.tar = in
	for {
		hdr, err := in.Next()
		if errors.Is(err, io.EOF) {
			return a.date()
		}
		if err == nil {
			err = a.entry(hdr)
			if err != nil {
				err = fmt.Errorf("%s: %w", shown(hdr.Name), err)
			}
		} else if a.ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if err != nil {
			return err
		}
	}
}

// shown is a name from a layer as it appears in messages.
func shown(name string) string {
	if len(name) > 200 {
		name = name[:200] + "..."
	}
	return fmt.Sprintf("%q", name)
}

// clean is the name of an entry, or the target of a hard link, as an absolute path. No
// builder of images writes a name that leads upwards.
func (a *applier) clean(name string) (string, error) {
	if len(name) >= unix.PathMax {
		return "", unix.ENAMETOOLONG
	}
	if strings.ContainsRune(name, 0) || !a.archive && slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("%w: the path %s is not one within a layer", ErrDamaged, shown(name))
	}
	return path.Clean("/" + name), nil
}

// entry does what an entry of the layer says.
func (a *applier) entry(hdr *tar.Header) error {
	a.dirs.trim()
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if hdr.Typeflag == tar.TypeGNUSparse {
		hdr.Typeflag = tar.TypeReg // the reader fills the holes
	}
	if a.owner != nil {
		hdr.Uid, hdr.Gid = a.owner.UID, a.owner.GID
	}
	name, err := a.clean(hdr.Name)
	if err != nil || name == "/" {
		return err
	}
	base := path.Base(name)
	if strings.HasPrefix(base, whiteoutPrefix) && !a.archive {
		return a.whiteout(path.Dir(name), base)
	}
	if hdr.Uid < 0 || hdr.Gid < 0 || int64(hdr.Uid) >= math.MaxUint32 || int64(hdr.Gid) >= math.MaxUint32 {
		return fmt.Errorf("%w: the owner %d:%d is none", ErrDamaged, hdr.Uid, hdr.Gid)
	}
	parent, err := a.dirs.find(path.Dir(name), true)
	if err != nil {
		return err
	}
	target := path.Join(parent.path, base)
	if parent.alone || a.places.exact[target] {
		return a.setAside(name, hdr)
	}
	a.written[target] = true
	if hdr.Typeflag != tar.TypeDir {
		delete(a.dates, target)
	}
	return a.put(file{parent, base}, hdr)
}

// whiteout removes what earlier layers have, as a marker in a directory says.
func (a *applier) whiteout(dirName, marker string) error {
	if marker != whiteoutOpaque && strings.HasPrefix(marker, whiteoutMeta) {
		return nil // of a file system that is no more
	}
	hidden := strings.TrimPrefix(marker, whiteoutPrefix)
	if hidden == "" || hidden == "." || hidden == ".." {
		return fmt.Errorf("%w: it marks no file as removed", ErrDamaged)
	}
	dir, err := a.dirs.find(dirName, false)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil || dir.alone {
		return err
	}
	if marker == whiteoutOpaque {
		return a.removeBelow(dir.path, true)
	}
	return a.remove(path.Join(dir.path, hidden), true)
}

// date gives directories their times, which work in them has changed.
func (a *applier) date() error {
	for _, name := range slices.Sorted(maps.Keys(a.dates)) {
		a.dirs.trim()
		parent, err := a.dirs.find(path.Dir(name), false)
		if err == nil && parent.path == path.Dir(name) {
			err = setDates(parent.fd, path.Base(name), a.dates[name])
		}
		// A later entry may have put something else in its place.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			return fmt.Errorf("%s: %w", shown(name), err)
		}
	}
	return nil
}

// cancelReader ends a long layer when the context does.
type cancelReader struct {
	ctx context.Context //nolint:containedctx // lives as long as one layer
	r   io.Reader
}

func (c *cancelReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
