//go:build linux

package inplace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/continuity/fs"
	bkexecutor "github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/oci"
	resources "github.com/moby/buildkit/executor/resources/types"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/stack"
	"github.com/moby/sys/user"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
)

// executor runs the command of a RUN as a process in the container.
type executor struct {
	root  *root
	state string
	log   logs.Func
	// one RUN at a time: what it leaves running is told by whose child it is.
	one sync.Mutex
}

// runSession is the executor of one RUN: it knows its secrets, and who has them.
type runSession struct {
	*executor
	sessions *session.Manager
	group    session.Group
	secrets  []*pb.Mount
	// lasting are the targets of mounts that keep what is written there.
	lasting map[string]bool
}

var _ bkexecutor.Executor = (*runSession)(nil)

// Run runs a command and waits until it has ended, and with it all that it started.
func (s *runSession) Run(ctx context.Context, _ string, rootMount bkexecutor.Mount, mounts []bkexecutor.Mount, process bkexecutor.ProcessInfo, started chan<- struct{}) (resources.Recorder, error) {
	files, err := s.loadSecrets(ctx)
	if err != nil {
		return nil, err
	}
	return nil, s.run(ctx, rootMount, mounts, files, s.lasting, process, started)
}

// Run is for containers that are not part of a graph; BuildKit's Dockerfiles have none.
func (e *executor) Run(ctx context.Context, _ string, rootMount bkexecutor.Mount, mounts []bkexecutor.Mount, process bkexecutor.ProcessInfo, started chan<- struct{}) (resources.Recorder, error) {
	return nil, e.run(ctx, rootMount, mounts, nil, nil, process, started)
}

// Exec would start a second process beside a first.
func (e *executor) Exec(context.Context, string, bkexecutor.ProcessInfo) error {
	return errors.New("in place there is no container to start a second process in")
}

func (e *executor) run(ctx context.Context, rootMount bkexecutor.Mount, mounts []bkexecutor.Mount, secrets []secretFile, lasting map[string]bool, process bkexecutor.ProcessInfo, started chan<- struct{}) (err error) {
	e.one.Lock()
	defer e.one.Unlock()
	closeStarted := sync.OnceFunc(func() {
		if started != nil {
			close(started)
		}
	})
	defer closeStarted()
	release, err := e.enter(ctx, rootMount)
	if err != nil {
		return err
	}
	defer release()

	volumes, err := findVolumes(e.root.dir)
	if err != nil {
		return err
	}
	targets := &targets{
		root: e.root.dir, state: e.state, volumes: volumes, log: e.log, recursive: process.Meta.RemoveMountStubsRecursive,
		lasting: func(dest string) bool { return lasting[dest] },
	}
	defer func() {
		// What stood in the way has to be back, whatever happened.
		err = errors.Join(err, targets.undo())
		e.root.hide(targets.paths())
	}()
	if err := targets.mountAll(ctx, mounts, secrets); err != nil {
		return err
	}
	command, err := e.command(process.Meta)
	if err != nil {
		return err
	}
	command.stdin, command.stdout, command.stderr = process.Stdin, process.Stdout, process.Stderr
	status, err := command.run(ctx, closeStarted)
	return exitError(ctx, status, err, process.Meta.ValidExitCodes)
}

// enter brings the root filesystem to where the command expects it.
func (e *executor) enter(ctx context.Context, m bkexecutor.Mount) (release func(), err error) {
	ref, err := m.Src.Mount(ctx, false)
	if err != nil {
		return nil, err
	}
	mounts, done, err := ref.Mount()
	if err != nil {
		return nil, err
	}
	release = func() {
		if done != nil {
			_ = done() // there is nothing to unmount
		}
	}
	if len(mounts) != 1 || mounts[0].Source != e.root.dir {
		release()
		return nil, errors.New("a RUN on anything but the base image cannot be done in place")
	}
	return release, nil
}

// command finds out as whom and where a command runs. Names are looked up in the
// container as it is now.
func (e *executor) command(meta bkexecutor.Meta) (*command, error) {
	uid, gid, groups, err := oci.GetUser(e.root.dir, meta.User)
	if err != nil {
		return nil, fmt.Errorf("USER %q: %w", meta.User, err)
	}
	if !slices.Contains(groups, gid) {
		groups = append([]uint32{gid}, groups...)
	}
	dir, err := fs.RootPath(e.root.dir, meta.Cwd)
	if err != nil {
		return nil, fmt.Errorf("working directory %s: %w", meta.Cwd, err)
	}
	if _, err := os.Stat(dir); err != nil {
		if err := user.MkdirAllAndChown(dir, 0o755, int(uid), int(gid), user.WithOnlyNew); err != nil {
			return nil, fmt.Errorf("make working directory %s: %w", meta.Cwd, err)
		}
	}
	c := &command{
		args: meta.Args, dir: meta.Cwd, env: slices.Clone(meta.Env),
		uid: uid, gid: gid, groups: groups, log: e.log,
	}
	if e.root.dir != "/" {
		c.chroot = e.root.dir
	}
	if value, ok := variable(c.env, "HOME"); !ok || value == "" {
		c.env = append(c.env, "HOME="+e.home(uid))
	}
	c.path, err = e.lookup(c.args[0], c.env, meta.Cwd)
	return c, err
}

// home is a user's directory, as runtimes of containers find it.
func (e *executor) home(uid uint32) string {
	users, err := user.ParsePasswdFileFilter(filepath.Join(e.root.dir, "etc/passwd"), func(u user.User) bool { return u.Uid == int(uid) })
	if err != nil || len(users) == 0 || users[0].Home == "" {
		return "/"
	}
	return users[0].Home
}

// lookup finds a program by the PATH of the command.
func (e *executor) lookup(name string, env []string, cwd string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	dirs, _ := variable(env, "PATH")
	for _, dir := range filepath.SplitList(dirs) {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(cwd, dir)
		}
		path := filepath.Join(dir, name)
		real, err := fs.RootPath(e.root.dir, path)
		if err != nil {
			continue
		}
		if info, err := os.Stat(real); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &gwpb.ExitError{ExitCode: gwpb.UnknownExitStatus, Err: fmt.Errorf("%q: executable file not found in $PATH", name)}
}

// variable finds a variable; the last of a name counts.
func variable(env []string, name string) (value string, ok bool) {
	for _, kv := range env {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			value, ok = v, true
		}
	}
	return value, ok
}

// exitError is how BuildKit is told of a command that failed.
func exitError(ctx context.Context, status int, err error, valid []int) error {
	if err == nil && (status == 0 && valid == nil || slices.Contains(valid, status)) {
		return nil
	}
	exit := &gwpb.ExitError{ExitCode: uint32(status)}
	if err != nil {
		exit.ExitCode, exit.Err = gwpb.UnknownExitStatus, err
	}
	if ctx.Err() != nil {
		exit.Err = fmt.Errorf("%w: %w", context.Cause(ctx), errors.Join(err, fmt.Errorf("exit code %d", status)))
		return exit
	}
	return stack.Enable(exit)
}
