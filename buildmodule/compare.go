package buildmodule

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// fileState is what a change of a file or a directory shows in. The time of the
// inode's change cannot be set, so a change that resets the other times is found
// too.
type fileState struct {
	mode, uid, gid     uint32
	size, mtime, ctime int64
	inode, links       uint64
	link               string
}

// runCompared runs the program and looks for changes of the app afterwards.
func (c confined) runCompared(ctx context.Context) (int, error) {
	c.say("the app is protected by %s", ByCompare)
	before, err := stateOf(c.app)
	if err != nil {
		return -1, err
	}
	waitForClock(before)
	code, err := c.process.run(ctx)
	if err != nil || code != 0 {
		return code, err
	}
	after, err := stateOf(c.app)
	if err != nil {
		return code, err
	}
	if changed := difference(c.app, before, after); changed != nil {
		return code, changed
	}
	return code, nil
}

// clockTick is longer than the kernel takes from one time that it gives to
// changes to the next.
const clockTick = 20 * time.Millisecond

// waitForClock waits until a change of any of these files is sure to get another
// time than the one that the file has.
func waitForClock(states map[string]fileState) {
	now, newest := time.Now(), int64(0)
	for _, state := range states {
		newest = max(newest, state.ctime)
	}
	if wait := clockTick - now.Sub(time.Unix(0, newest)); wait > 0 && wait <= clockTick {
		time.Sleep(wait)
	}
}

// stateOf looks at everything in a directory and follows no link.
func stateOf(dir string) (map[string]fileState, error) {
	states := map[string]fileState{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		state := fileState{
			mode: stat.Mode, uid: stat.Uid, gid: stat.Gid, size: stat.Size,
			mtime: stat.Mtim.Nano(), ctime: stat.Ctim.Nano(), inode: stat.Ino, links: uint64(stat.Nlink),
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			if state.link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		states[path] = state
		return nil
	})
	return states, err
}

// difference is the first change, by name. That of a directory is told only if
// nothing in it explains it.
func difference(app string, before, after map[string]fileState) *AppChangedError {
	var changes []AppChangedError
	for path, was := range before {
		is, there := after[path]
		switch {
		case !there:
			changes = append(changes, AppChangedError{path, "was removed"})
		case is != was:
			changes = append(changes, AppChangedError{path, "was changed"})
		}
	}
	for path := range after {
		if _, there := before[path]; !there {
			changes = append(changes, AppChangedError{path, "was made"})
		}
	}
	if len(changes) == 0 {
		return nil
	}
	slices.SortFunc(changes, func(a, b AppChangedError) int {
		isDir := func(c AppChangedError) int {
			if before[c.Path].mode&syscall.S_IFMT == syscall.S_IFDIR && c.What == "was changed" {
				return 1
			}
			return 0
		}
		if order := isDir(a) - isDir(b); order != 0 {
			return order
		}
		return strings.Compare(a.Path, b.Path)
	})
	first := changes[0]
	if rel, err := filepath.Rel(app, first.Path); err == nil {
		first.Path = rel
	}
	return &first
}
