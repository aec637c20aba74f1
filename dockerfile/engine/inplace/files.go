//go:build linux

package inplace

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	continuity "github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/snapshot"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/llbsolver/file"
	"github.com/moby/buildkit/solver/llbsolver/ops"
	"github.com/moby/buildkit/solver/llbsolver/ops/fileoptypes"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/worker"
	"github.com/moby/sys/user"
	fscopy "github.com/tonistiigi/fsutil/copy"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/internal/decompress"
	"github.com/graft-cnb/graft/dockerfile/rootfs"
)

// fileOp is a COPY, ADD or WORKDIR. BuildKit unpacks archives in a root directory and a
// mount namespace of their own, which cannot be had here; all else it does as anywhere.
type fileOp struct {
	solver.Op // says what it is
	op        *pb.FileOp
	refs      *file.RefManager
	worker    *localWorker
}

func (w *localWorker) newFileOp(v solver.Vertex, op *pb.Op_File) (solver.Op, error) {
	inner, err := ops.NewFileOp(v, op, w.manager, w.ParallelismSem, w)
	if err != nil {
		return nil, err
	}
	return &changingOp{&fileOp{inner, op.File, file.NewRefManager(w.manager, v.Name()), w}}, nil
}

// Exec does the actions one after the other.
func (o *fileOp) Exec(ctx context.Context, job solver.JobContext, inputs []solver.Result) ([]solver.Result, error) {
	refs := make([]fileoptypes.Ref, 0, len(inputs))
	for _, in := range inputs {
		ref, ok := in.Sys().(*worker.WorkerRef)
		if !ok {
			return nil, fmt.Errorf("an input of a file operation is a %T", in.Sys())
		}
		refs = append(refs, ref.ImmutableRef)
	}
	inner, err := file.NewFileOpBackend(owner)
	if err != nil {
		return nil, err
	}
	outs, err := ops.NewFileOpSolver(o.worker, &unpacker{inner, o.worker.exec.root}, o.refs).Solve(ctx, refs, o.op.Actions, job.Session())
	if errors.Is(err, unix.EBUSY) {
		err = fmt.Errorf("in place what the container has mounted cannot be replaced, such as /etc/resolv.conf: leave it out, or use an engine that isolates: %w", err)
	}
	if err != nil {
		return nil, err
	}
	results := make([]solver.Result, 0, len(outs))
	for _, out := range outs {
		ref, ok := out.(cache.ImmutableRef)
		if !ok {
			return nil, fmt.Errorf("a file operation made a %T", out)
		}
		results = append(results, worker.NewWorkerRefResult(ref, o.worker))
	}
	return results, nil
}

// unpacker does the actions of file operations.
type unpacker struct {
	*file.Backend
	root *root
}

var _ fileoptypes.Backend = (*unpacker)(nil)

// Copy copies files; archives are unpacked where that is asked for.
func (u *unpacker) Copy(ctx context.Context, from, to, users, groups fileoptypes.Mount, action *pb.FileActionCopy) error {
	if !action.AttemptUnpackDockerCompatibility {
		return u.Backend.Copy(ctx, from, to, users, groups, action)
	}
	source, err := directoryOf(from)
	if err != nil {
		return err
	}
	names := []string{filepath.Join("/", action.Src)}
	if action.AllowWildcard {
		found, err := fscopy.ResolveWildcards(source, names[0], action.FollowSymlink)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			names = found
		}
	}
	for _, name := range names {
		archived, err := openArchive(source, name)
		if err != nil {
			return err
		}
		if archived != nil {
			err = u.unpack(ctx, archived, to, users, groups, action)
		} else {
			single := action.CloneVT()
			single.Src, single.AttemptUnpackDockerCompatibility = name, false
			single.AllowWildcard = action.AllowWildcard && len(names) == 1 && name == filepath.Join("/", action.Src)
			err = u.Backend.Copy(ctx, from, to, users, groups, single)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openArchive opens a file that is an archive; it is nil for any other.
func openArchive(root, name string) (*os.File, error) {
	path, err := continuity.RootPath(root, name)
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return nil, nil // it is for the copying to complain
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	plain, err := decompress.Stream(f)
	if err == nil {
		_, err = tar.NewReader(plain).Next()
		err = errors.Join(err, plain.Close())
	}
	if err != nil {
		return nil, f.Close() // it is none
	}
	if _, err := f.Seek(0, 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unpack unpacks an archive, and closes it.
func (u *unpacker) unpack(ctx context.Context, archived *os.File, to, users, groups fileoptypes.Mount, action *pb.FileActionCopy) error {
	defer archived.Close()
	root, err := directoryOf(to)
	if err != nil {
		return err
	}
	dest, err := continuity.RootPath(root, filepath.Join("/", action.Dest))
	if err != nil {
		return err
	}
	opts := rootfs.ApplyOptions{Archive: true, Skip: u.leftAloneBelow(dest)}
	var chown fscopy.Chowner
	if action.Owner != nil {
		as, err := owner(action.Owner, mountable(users), mountable(groups))
		if err != nil {
			return err
		}
		opts.Owner = &rootfs.Owner{UID: as.UID, GID: as.GID}
		chown = func(*fscopy.User) (*fscopy.User, error) { return as, nil }
	}
	if _, err := fscopy.MkdirAll(dest, 0o755, chown, nil); err != nil {
		return err
	}
	plain, err := decompress.Stream(archived)
	if err != nil {
		return err
	}
	defer plain.Close()
	return rootfs.Apply(ctx, dest, plain, opts)
}

// leftAloneBelow are the paths below a directory that are in no layer, as seen from it.
func (u *unpacker) leftAloneBelow(dir string) []string {
	var skip []string
	for _, name := range u.root.leftAlone() {
		if at := filepath.Join(u.root.dir, name); at != dir && within(at, dir) {
			skip = append(skip, inside(at, dir))
		}
	}
	return skip
}

// owner finds the numbers of an owner, whose names are those of the image that is
// copied to; a name that it does not have is root's.
func owner(of *pb.ChownOpt, users, groups snapshot.Mountable) (*fscopy.User, error) {
	if of == nil {
		return nil, nil
	}
	var found fscopy.User
	switch u := of.User.GetUser().(type) {
	case *pb.UserOpt_ByID:
		found.UID, found.GID = int(u.ByID), int(u.ByID)
	case *pb.UserOpt_ByName:
		path, err := fileIn(users, "/etc/passwd")
		if err != nil {
			return nil, err
		}
		all, err := user.ParsePasswdFileFilter(path, func(one user.User) bool { return one.Name == u.ByName.Name })
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if len(all) > 0 {
			found.UID, found.GID = all[0].Uid, all[0].Gid
		}
	}
	switch g := of.Group.GetUser().(type) {
	case *pb.UserOpt_ByID:
		found.GID = int(g.ByID)
	case *pb.UserOpt_ByName:
		path, err := fileIn(groups, "/etc/group")
		if err != nil {
			return nil, err
		}
		all, err := user.ParseGroupFileFilter(path, func(one user.Group) bool { return one.Name == g.ByName.Name })
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if len(all) > 0 {
			found.GID = all[0].Gid
		}
	}
	return &found, nil
}

// fileIn is a file of what is mounted.
func fileIn(m snapshot.Mountable, name string) (string, error) {
	if m == nil {
		return "", fmt.Errorf("look up an owner: there is no %s to look in", name)
	}
	dir, err := directoryIn(m)
	if err != nil {
		return "", err
	}
	path, err := continuity.RootPath(dir, name)
	if err != nil {
		return "", err
	}
	// Whoever made a pipe of it would be waited for.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("look up an owner: %s is no regular file", name)
	}
	return path, nil
}

// mountable is what stands behind a mount of a file operation, if anything does.
func mountable(m fileoptypes.Mount) snapshot.Mountable {
	if of, ok := m.(interface{ Mountable() snapshot.Mountable }); ok {
		return of.Mountable()
	}
	return nil
}

func directoryOf(m fileoptypes.Mount) (string, error) {
	inner := mountable(m)
	if inner == nil {
		return "", fmt.Errorf("a file operation has a mount that is a %T", m)
	}
	return directoryIn(inner)
}

// directoryIn is the directory that a wrapped reference gives. Nothing is mounted, so
// there is nothing to give back.
func directoryIn(m snapshot.Mountable) (string, error) {
	mounts, _, err := m.Mount()
	if err != nil {
		return "", err
	}
	if len(mounts) != 1 || mounts[0].Type != "bind" && mounts[0].Type != "rbind" {
		return "", errors.New("a file operation needs one directory")
	}
	return mounts[0].Source, nil
}
