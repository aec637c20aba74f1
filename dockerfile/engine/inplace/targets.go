//go:build linux

package inplace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	continuity "github.com/containerd/continuity/fs"
	bkexecutor "github.com/moby/buildkit/executor"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
)

// targets are the mounts of a RUN, made without mount(2): each is a link that leads to
// where the files are. What stands at the target is set aside meanwhile.
type targets struct {
	root  string
	state string
	// recursive: directories that had to be made for a mount are removed after it.
	recursive bool
	log       logs.Func

	made []*target
	// tmp are directories that live as long as the RUN.
	tmp      []string
	releases []func() error
}

// target is one place where something is mounted.
type target struct {
	// path is the place, from the root directory of this process.
	path string
	// aside is where what stood there is, if anything did.
	aside *aside
	// dirs are the directories that were made to hold it, outermost first.
	dirs []string
	// parent and its times, which the link must not change.
	parent string
	times  fs.FileInfo
}

// mountAll makes the mounts of a RUN: outer ones before those in them.
func (t *targets) mountAll(ctx context.Context, mounts []bkexecutor.Mount, secrets []secretFile) error {
	for _, m := range mounts {
		source, err := t.source(ctx, m)
		if err != nil {
			return fmt.Errorf("mount at %s: %w", m.Dest, err)
		}
		if err := t.link(m.Dest, source); err != nil {
			return fmt.Errorf("mount at %s: %w", m.Dest, err)
		}
	}
	if len(secrets) == 0 {
		return nil
	}
	dir, err := t.memoryDir()
	if err != nil {
		return fmt.Errorf("make a place for secrets: %w", err)
	}
	for n, s := range secrets {
		source := filepath.Join(dir, fmt.Sprint(n))
		if err := s.write(source); err != nil {
			return fmt.Errorf("secret %s: %w", s.id, err)
		}
		if err := t.link(s.dest, source); err != nil {
			return fmt.Errorf("mount of secret %s at %s: %w", s.id, s.dest, err)
		}
	}
	return nil
}

// source finds the directory or file that is to be seen at a mount's target.
func (t *targets) source(ctx context.Context, m bkexecutor.Mount) (string, error) {
	ref, err := m.Src.Mount(ctx, m.Readonly)
	if err != nil {
		return "", err
	}
	mounts, release, err := ref.Mount()
	if err != nil {
		return "", err
	}
	if release != nil {
		t.releases = append(t.releases, release)
	}
	if len(mounts) != 1 {
		return "", errors.New("it is not one directory")
	}
	switch mounts[0].Type {
	case "tmpfs":
		return t.tmpfs()
	case "bind", "rbind":
		source, err := selected(mounts[0], m.Selector)
		if err == nil && m.Readonly {
			return t.copied(source)
		}
		return source, err
	}
	return "", fmt.Errorf("a mount of type %s cannot be made in place", mounts[0].Type)
}

// selected is the part of a mount that is asked for.
func selected(m mount.Mount, selector string) (string, error) {
	if selector == "" {
		return m.Source, nil
	}
	return continuity.RootPath(m.Source, selector)
}

// copied is a copy of a directory that is not to be changed: nothing else keeps a command
// from that.
func (t *targets) copied(source string) (string, error) {
	dir, err := os.MkdirTemp(tmpDir(t.state), "copy-")
	if err != nil {
		return "", err
	}
	t.tmp = append(t.tmp, dir)
	info, err := os.Stat(source)
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, "it")
	if info.IsDir() {
		err = continuity.CopyDir(to, source)
	} else {
		err = continuity.CopyFile(to, source)
	}
	return to, errors.Join(err, os.Chmod(dir, 0o711))
}

// tmpfs is an empty directory that everybody may write to.
func (t *targets) tmpfs() (string, error) {
	dir, err := os.MkdirTemp(tmpDir(t.state), "tmpfs-")
	if err != nil {
		return "", err
	}
	t.tmp = append(t.tmp, dir)
	return dir, os.Chmod(dir, os.ModeSticky|0o777)
}

// link puts a link at a target.
func (t *targets) link(dest, source string) error {
	path, err := continuity.RootPath(t.root, dest)
	if err != nil {
		return err
	}
	if path == t.root {
		return errors.New("the root directory cannot be a target")
	}
	if !within(source, t.root) {
		return fmt.Errorf("%s is not in the root filesystem %s", source, t.root)
	}
	at := &target{path: path}
	t.made = append(t.made, at)
	if err := at.makeDirs(); err != nil {
		return err
	}
	if at.aside, err = setAside(t.root, path); err != nil {
		return err
	}
	return os.Symlink(inside(source, t.root), path)
}

// makeDirs makes the directories that a target lies in.
func (a *target) makeDirs() error {
	a.parent = filepath.Dir(a.path)
	var missing []string
	for dir := a.parent; ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err == nil {
			if dir == a.parent {
				a.times = info
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = append(missing, dir)
	}
	for _, dir := range slices.Backward(missing) {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		a.dirs = append(a.dirs, dir)
	}
	return nil
}

// undo takes everything away again: inner mounts before those that they are in. It
// goes on after an error.
func (t *targets) undo() error {
	var errs []error
	for _, at := range slices.Backward(t.made) {
		if err := at.undo(t.recursive); err != nil {
			errs = append(errs, fmt.Errorf("take the mount at %s away: %w", at.path, err))
		}
	}
	for _, dir := range t.tmp {
		errs = append(errs, os.RemoveAll(dir))
	}
	for _, release := range slices.Backward(t.releases) {
		errs = append(errs, release())
	}
	return errors.Join(errs...)
}

func (a *target) undo(recursive bool) error {
	// A command may have put something else there. It belongs to the mount.
	if err := os.RemoveAll(a.path); err != nil {
		return err
	}
	if err := a.aside.putBack(); err != nil {
		return err
	}
	if recursive {
		for _, dir := range slices.Backward(a.dirs) {
			if err := os.Remove(dir); err != nil {
				break // the command has put something there
			}
		}
	}
	if a.times == nil {
		return nil
	}
	err := os.Chtimes(a.parent, time.Time{}, a.times.ModTime())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// paths are those targets at which something stood, as seen from the root filesystem: it
// was moved away and back, and has changed only in the kernel's eyes.
func (t *targets) paths() []string {
	var paths []string
	for _, at := range t.made {
		if at.aside != nil {
			paths = append(paths, inside(at.path, t.root))
		}
	}
	return paths
}

// within tells whether a path is a directory or lies in it.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// inside is a path as seen from a directory that it lies in.
func inside(path, dir string) string {
	return filepath.Join("/", strings.TrimPrefix(path, dir))
}
