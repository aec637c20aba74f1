//go:build linux

package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"

	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/damage"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/ociruntime"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// initialised says that Init was called, and with it that this executable can
// become an engine process.
var initialised atomic.Bool

// Init makes this process the embedded engine if Open started it to be that, or the
// engine's OCI runtime, and does not return then. In any other process it returns at once. Call it first
// thing in main, before flags are parsed.
func Init() {
	initialised.Store(true)
	ociruntime.Init()
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case processName:
		// The kernel's wish to be told of the parent's end belongs to a thread: stay in
		// the first, which never ends.
		runtime.LockOSThread()
		os.Exit(engineMain())
	case keeperName:
		runtime.LockOSThread() // for the same reason: it is the engine's parent
		os.Exit(keeperMain())
	case probeName:
		os.Exit(probeMain(os.Args[1:]))
	}
}

// engineMain is what the engine process does from its start to its end. It returns
// the exit status.
func engineMain() int {
	unix.CloseOnExec(connectionFD)
	unix.CloseOnExec(lockFD)
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return 1 // the program is gone, or this was started by hand
	}
	say := newMessenger(os.Stdout)
	err := serve(o, say)
	if err == nil {
		return 0
	}
	var missing *unavailable.Error
	if errors.As(err, &missing) {
		say.send(message{Missing: missing.Missing})
	} else {
		say.send(message{Failed: err.Error()})
	}
	return 1
}

// serve sets the process up, answers on the connection until that ends, and leaves
// everything closed.
func serve(o order, say *messenger) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("asking to end with the program: %w", err)
	}
	if err := detach(); err != nil {
		return err
	}
	log := logs.Func(nil)
	if o.Verbose {
		log = say.log
	}
	logs.Capture(log)

	if err := ownMounts(); err != nil {
		return err
	}
	if o.Shared {
		if err := endOrphans(say); err != nil {
			return err
		}
	} else if err := ownProc(); err != nil {
		return err
	}
	if err := cleanState(o.StateDir, say); err != nil {
		return err
	}
	if !ociruntime.Available {
		if err := ownRuncDir(o.StateDir); err != nil {
			return err
		}
	}
	if err := reviveState(o.StateDir, say); err != nil {
		return err
	}
	conn, err := fileConn(os.NewFile(connectionFD, "program"))
	if err != nil {
		return err
	}
	s, err := newServer(o, say)
	if err != nil {
		return err
	}
	say.send(message{Ready: &s.readiness})
	if err := s.serve(newListener(conn)); err != nil {
		return err
	}
	if !s.closed {
		return nil // cut off
	}
	return damage.Leave(o.StateDir)
}

// detach sheds what the process has from the user who started the program
// and a RUN should not meet.
func detach() error {
	unix.Umask(0o022)
	// Signals for the program reach the engine too when a service manager sends them
	// to all. They are caught, not ignored: a RUN would inherit that.
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	if err := syscall.Setgroups(nil); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("leaving the user's groups: %w", err)
	}
	// The descriptors of the program's terminal or log are none of the engine's.
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("closing the standard input: %w", err)
	}
	defer null.Close()
	if err := unix.Dup3(int(null.Fd()), int(os.Stdin.Fd()), 0); err != nil {
		return fmt.Errorf("closing the standard input: %w", err)
	}
	return nil
}

// ownMounts takes the process's mount namespace out of the machine's.
func ownMounts() error {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	if errors.Is(err, unix.EINVAL) {
		// The kernel refuses nobody this way: there is no mount to change.
		return refuse(err, "the directory that is / here is no mount point, as in a plain chroot, so the engine's mounts could not be kept from the machine: bind-mount the directory to itself before chroot (mount --bind DIR DIR), or use a container")
	}
	if err != nil {
		return refuse(err, mountRefused("/", err))
	}
	return nil
}

// ownProc mounts the /proc that belongs to the process's pid namespace.
func ownProc() error {
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return refuse(err, mountRefused("/proc", err))
	}
	return nil
}

func mountRefused(what string, err error) string {
	line := fmt.Sprintf("mounting %s is not permitted (%v): ", what, err)
	if sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1" && userns.RunningInUserNS() {
		return line + "set sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run as root"
	}
	return line + "in a container, allow mount and leave /proc unmasked (--privileged)"
}

// ownRuncDir puts the state directory's own notes in the place where runc looks
// for them. In a user namespace runc follows XDG_RUNTIME_DIR instead.
func ownRuncDir(state string) error {
	if userns.RunningInUserNS() {
		return nil
	}
	if err := os.MkdirAll(systemRuncDir, 0o711); err != nil {
		return refuse(err, fmt.Sprintf("the directory %s cannot be made (%v): make it", systemRuncDir, err))
	}
	if err := unix.Mount(runcDir(state), systemRuncDir, "", unix.MS_BIND, ""); err != nil {
		return refuse(err, mountRefused(systemRuncDir, err))
	}
	return nil
}
