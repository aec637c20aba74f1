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
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	continuity "github.com/containerd/continuity/fs"
	bkexecutor "github.com/moby/buildkit/executor"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
)

// targets are the mounts of a RUN, made without mount(2). What is to last, or is a secret,
// is where it is and a link leads there; all else is a directory or file at the target
// itself. What stands at the target is set aside meanwhile.
type targets struct {
	root    string
	state   string
	volumes *volumes
	// lasting tells of a target whether what is written there is kept.
	lasting func(dest string) bool
	// recursive: directories that had to be made for a mount are removed after it.
	recursive bool
	log       logs.Func

	made []*target
	// tmp are directories that live as long as the RUN.
	tmp      []string
	releases []func() error
}

// mountAll makes the mounts of a RUN: outer ones before those in them.
func (t *targets) mountAll(ctx context.Context, mounts []bkexecutor.Mount, secrets []secretFile) error {
	for _, m := range mounts {
		if err := t.mount(ctx, m); err != nil {
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

// mount makes one mount.
func (t *targets) mount(ctx context.Context, m bkexecutor.Mount) error {
	ref, err := m.Src.Mount(ctx, m.Readonly)
	if err != nil {
		return err
	}
	mounts, release, err := ref.Mount()
	if err != nil {
		return err
	}
	if release != nil {
		t.releases = append(t.releases, release)
	}
	if len(mounts) != 1 {
		return errors.New("it is not one directory")
	}
	switch mounts[0].Type {
	case "tmpfs":
		return t.place(m.Dest, func(path string) error {
			if err := os.Mkdir(path, 0o777); err != nil {
				return err
			}
			return os.Chmod(path, os.ModeSticky|0o777)
		})
	case "bind", "rbind":
		source, err := selected(mounts[0], m.Selector)
		if err != nil {
			return err
		}
		if t.lasting(m.Dest) && !m.Readonly {
			return t.link(m.Dest, source)
		}
		return t.place(m.Dest, func(path string) error { return copyTree(source, path) })
	}
	return fmt.Errorf("a mount of type %s cannot be made in place", mounts[0].Type)
}

// selected is the part of a mount that is asked for.
func selected(m mount.Mount, selector string) (string, error) {
	if selector == "" {
		return m.Source, nil
	}
	return continuity.RootPath(m.Source, selector)
}

// copyTree copies a file or a directory with all that is in it.
func copyTree(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if err := continuity.CopyFile(to, from); err != nil {
			return err
		}
		return describeAs(to, info)
	}
	if err := continuity.CopyDir(to, from, continuity.WithAllowXAttrErrors()); err != nil {
		return err
	}
	return copyTimes(from, to)
}

// describeAs gives a file owner, mode and time of another.
func describeAs(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return errors.Join(
		os.Lchown(path, int(st.Uid), int(st.Gid)),
		os.Chmod(path, info.Mode()),
		os.Chtimes(path, time.Time{}, info.ModTime()),
	)
}

// link puts a link to a source at a target.
func (t *targets) link(dest, source string) error {
	if !within(source, t.root) {
		return fmt.Errorf("%s is not in the root filesystem %s", source, t.root)
	}
	return t.place(dest, func(path string) error { return os.Symlink(inside(source, t.root), path) })
}

// place sets aside what stands at a target, and has something made there.
func (t *targets) place(dest string, fill func(path string) error) error {
	path, err := continuity.RootPath(t.root, dest)
	if err != nil {
		return err
	}
	if path == t.root {
		return errors.New("the root directory cannot be a target")
	}
	if err := t.volumes.refuse(path); err != nil {
		return err
	}
	at := &target{volumes: t.volumes, path: path, parent: -1}
	t.made = append(t.made, at)
	if err := at.makeDirs(); err != nil {
		return err
	}
	if at.aside, err = setAside(t.volumes, path); err != nil {
		return err
	}
	at.filled = true
	return fill(path)
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
