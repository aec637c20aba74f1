package buildmodule

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// ReadOnlyApp is a mount namespace in which the app is a read-only mount, with a thread
// in there that starts programs. Only root can make one, and a process that is going to
// become the build user makes it before: it needs no user namespace then, so that files
// of others keep their owners, and who runs in it cannot take the mount away.
type ReadOnlyApp struct {
	app  string
	work chan func()
}

// NewReadOnlyApp makes a mount namespace in which the app is read-only. Close ends it.
func NewReadOnlyApp(app string) (*ReadOnlyApp, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root may make one without a user namespace")
	}
	app, err := filepath.EvalSymlinks(app)
	if err != nil {
		return nil, fmt.Errorf("finding the app: %w", err)
	}
	if app == "/" {
		return nil, errAppIsRoot
	}
	r := &ReadOnlyApp{app: app, work: make(chan func())}
	entered := make(chan error)
	go func() {
		// The thread stays locked, so that it ends with this function: nothing else
		// must ever run in that namespace.
		runtime.LockOSThread()
		err := enterReadOnly(app)
		entered <- err
		if err != nil {
			return
		}
		for f := range r.work {
			f()
		}
	}()
	if err := <-entered; err != nil {
		return nil, err
	}
	return r, nil
}

func enterReadOnly(app string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := bindReadOnly(app); err != nil {
		return err
	}
	return enterDomain()
}

// enterDomain puts this thread, and what it starts, into a Landlock domain that forbids
// nothing of its own (links and renames from one directory to another, which are all that
// it rules on, are allowed everywhere). But out of a domain no process reaches into others:
// the root and the working directory of one of the same user, in /proc, lead around the
// mount.
func enterDomain() error {
	const allowed = ll.AccessFSRefer
	rules, err := ll.LandlockCreateRuleset(&ll.RulesetAttr{HandledAccessFS: allowed}, 0)
	if err != nil {
		return fmt.Errorf("keeping the app from other processes' view of it, which takes Landlock: %w", err)
	}
	defer unix.Close(rules)
	root, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	err = ll.LandlockAddPathBeneathRule(rules, &ll.PathBeneathAttr{AllowedAccess: allowed, ParentFd: root}, 0)
	if err == nil {
		err = ll.LandlockRestrictSelf(rules, 0)
	}
	if err != nil {
		return fmt.Errorf("keeping the app from other processes' view of it: %w", err)
	}
	return nil
}

// bindReadOnly puts a read-only bind mount of the app over the app, with all that is
// mounted in it, in a mount namespace that is nobody else's.
func bindReadOnly(app string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount(app, app, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding the app: %w", err)
	}
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, app, unix.AT_RECURSIVE, &readOnly); err != nil {
		return fmt.Errorf("making the app read-only: %w", err)
	}
	return nil
}

// start starts a program in the namespace. Its directory is looked up in there, too.
func (r *ReadOnlyApp) start(cmd *exec.Cmd) error { return startBy(r.work, cmd) }

// Close ends the namespace. No program may run in it any more.
func (r *ReadOnlyApp) Close() {
	if r != nil {
		close(r.work)
	}
}
