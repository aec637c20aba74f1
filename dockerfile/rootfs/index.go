package rootfs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Options say what of a root filesystem belongs to the image. The zero value:
// everything but mounts.
type Options struct {
	// Skip are absolute paths, seen from the root, that do not belong to it, nor does
	// anything below them. They need not be there.
	Skip []string
}

// Index is what was in a root filesystem at one moment: enough of every file to tell
// later whether it has changed, about 100 bytes for each. It is read only, and may be
// used from several goroutines.
type Index struct {
	top   *directory
	files int64
}

// Len is the number of files and directories that it holds.
func (i *Index) Len() int { return int(i.files) }

// directory is what a directory holds, sorted by name.
type directory struct{ entries []entry }

// entry is a file. One that is left alone has a name and a mode of zero.
type entry struct {
	name                  string
	mode, uid, gid, nlink uint32
	size, mtime, ctime    int64
	// below is what is in it, if it is a directory.
	below *directory
}

func (e *entry) leftAlone() bool { return e.mode == 0 }
func (e *entry) isDir() bool     { return e.mode&unix.S_IFMT == unix.S_IFDIR }

// walker makes an index.
type walker struct {
	ctx    context.Context //nolint:containedctx // lives as long as one walk
	places *places
	group  *errgroup.Group
	files  atomic.Int64

	mu     sync.Mutex
	newest int64
}

// Walk makes an index of the tree at root. Sockets are left out, since no layer can
// hold one. It returns once the clock that files are dated by has passed the newest
// change in the tree: whatever changes after that is seen to have changed.
func Walk(ctx context.Context, root string, opts Options) (*Index, error) {
	root, err := openRoot(root)
	if err != nil {
		return nil, err
	}
	p, err := leaveAlone(root, opts.Skip)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("look what is in %s: %w", root, err)
	}
	w := &walker{places: p}
	w.group, w.ctx = errgroup.WithContext(ctx)
	w.group.SetLimit(runtime.GOMAXPROCS(0))
	top := &directory{}
	w.group.Go(func() error { return w.read(fd, "/", top) })
	if err := w.group.Wait(); err != nil {
		return nil, fmt.Errorf("look what is in %s: %w", root, err)
	}
	if err := passed(ctx, w.newest); err != nil {
		return nil, err
	}
	return &Index{top: top, files: w.files.Load()}, nil
}

// listing is what a directory's names are read into.
type listing struct {
	block []byte
	names []byte
	ends  []int
}

var listings = sync.Pool{New: func() any { return &listing{block: make([]byte, 32<<10)} }}

// read fills a directory, given as a descriptor, which it closes, and as a path from
// the root. Directories in it are read at the same time where a processor is idle.
func (w *walker) read(fd int, name string, into *directory) error {
	defer unix.Close(fd)
	if err := w.ctx.Err(); err != nil {
		return err
	}
	l := listings.Get().(*listing)
	if err := l.read(fd); err != nil {
		listings.Put(l)
		return fmt.Errorf("read directory %s: %w", name, err)
	}
	newest, err := into.fill(fd, l, w.places.names[name])
	listings.Put(l)
	if err != nil {
		return fmt.Errorf("in directory %s: %w", name, err)
	}
	w.files.Add(int64(len(into.entries)))
	w.mu.Lock()
	w.newest = max(w.newest, newest)
	w.mu.Unlock()

	for n := range into.entries {
		e := &into.entries[n]
		if !e.isDir() {
			continue
		}
		e.below = &directory{}
		sub := path.Join(name, e.name)
		child, err := unix.Openat(fd, e.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open directory %s: %w", sub, err)
		}
		if w.group.TryGo(func() error { return w.read(child, sub, e.below) }) {
			continue
		}
		if err := w.read(child, sub, e.below); err != nil {
			return err
		}
	}
	return nil
}

// fill looks at every file of the listing of a directory. It returns the newest time of
// a change, in nanoseconds.
func (d *directory) fill(fd int, l *listing, skip map[string]bool) (newest int64, err error) {
	names := string(l.names)
	d.entries = make([]entry, 0, len(l.ends))
	begin := 0
	for _, end := range l.ends {
		e := entry{name: names[begin:end]}
		begin = end
		if skip[e.name] {
			d.entries = append(d.entries, e)
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstatat(fd, e.name, &st, unix.AT_SYMLINK_NOFOLLOW); errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return 0, fmt.Errorf("look at %s: %w", e.name, err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			continue
		}
		e.mode, e.uid, e.gid, e.nlink = st.Mode, st.Uid, st.Gid, uint32(st.Nlink)
		e.size, e.mtime, e.ctime = st.Size, st.Mtim.Nano(), st.Ctim.Nano()
		newest = max(newest, e.ctime)
		d.entries = append(d.entries, e)
	}
	slices.SortFunc(d.entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return newest, nil
}

// passed waits until the clock that files are dated by has passed a time, since two
// changes within one tick cannot be told apart. A time that lies further ahead than a
// tick was set by another clock, and is nothing to wait for.
func passed(ctx context.Context, newest int64) error {
	const tick = 20 * time.Millisecond
	for {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
			return fmt.Errorf("read the clock that files are dated by: %w", err)
		}
		if now.Nano() > newest || newest-now.Nano() > int64(tick) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
