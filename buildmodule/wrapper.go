package buildmodule

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Init makes this process a module's program with the app protected, if it was
// started to be that, and does not return then; in any other process it returns
// at once. A program that runs bin/generate calls it first thing in main; one
// that does not, and has no ReadOnlyApp, has the app compared before and after instead.
func Init() {
	initialised.Store(true)
	if len(os.Args) >= 4 && os.Args[0] == wrapperName {
		runtime.LockOSThread()
		os.Exit(wrap(Protection(os.Args[1]), os.Args[2], os.Args[3:]))
	}
}

// wrap confines this process and becomes the program that args begin with. It
// returns only when that fails, after saying so to the process that started it.
func wrap(protection Protection, app string, args []string) int {
	unix.CloseOnExec(reportFD)
	report := os.NewFile(reportFD, "report")
	protect := protectByLandlock
	if protection == ByUserBind {
		protect = protectByBind
	}
	if err := protect(app); err != nil {
		fmt.Fprint(report, setupFailed, err)
		return 125
	}
	err := syscall.Exec(args[0], args, os.Environ())
	var number syscall.Errno
	errors.As(err, &number)
	fmt.Fprint(report, execFailed, int(number), " ", args[0])
	return 125
}

// changes are all rights to change a file system that Landlock knows of.
const changes = landlock.AccessFSSet(ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSRemoveDir |
	ll.AccessFSRemoveFile | ll.AccessFSMakeChar | ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSMakeSock |
	ll.AccessFSMakeFifo | ll.AccessFSMakeBlock | ll.AccessFSMakeSym | ll.AccessFSRefer)

// fileChanges are those that a single file can have.
const fileChanges = landlock.AccessFSSet(ll.AccessFSWriteFile | ll.AccessFSTruncate)

// protectByLandlock allows changes everywhere but in the app. Landlock can only
// allow, and only whole directories, so what is allowed is everything beside the
// path from the root to the app.
func protectByLandlock(app string) error {
	config := landlock.Config{HandledAccessFS: changes}
	var dirs, files []string
	for dir, keep := filepath.Dir(app), app; keep != "/"; dir, keep = filepath.Dir(dir), dir {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("looking at what is beside the app: %w", err)
		}
		for _, entry := range entries {
			path := filepath.Join(dir, entry.Name())
			switch {
			case path == keep || entry.Type()&os.ModeSymlink != 0:
			case entry.IsDir():
				dirs = append(dirs, path)
			default:
				files = append(files, path)
			}
		}
	}
	return config.RestrictPaths(
		landlock.PathAccess(changes, dirs...).IgnoreIfMissing(),
		landlock.PathAccess(fileChanges, files...).IgnoreIfMissing(),
	)
}

// protectByBind makes the app read-only in this process's new mount namespace, and goes
// there: the working directory is still that of the mount below.
func protectByBind(app string) error {
	if err := bindReadOnly(app); err != nil {
		return err
	}
	if err := os.Chdir(app); err != nil {
		return fmt.Errorf("going to the app: %w", err)
	}
	return dropCapabilities()
}

// dropCapabilities gives up what the new user namespace gave to this thread, so
// that the program cannot take the mount away again.
func dropCapabilities() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	return nil
}
