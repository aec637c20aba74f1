//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/ociruntime"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/statelock"
)

// requirements are what it takes to run the engine as a certain user.
type requirements struct {
	uid  int
	user string // the login name, or the uid where it has no name
	// direct: this is root without CAP_SYS_ADMIN, as in a container, and has it in a user
	// namespace that has the same ids.
	direct bool
	// shared: /proc can be mounted nowhere but where it is, so that the engine and what it
	// runs stay in this process's pid namespace.
	shared bool
}

func requirementsOf(uid int) requirements {
	r := requirements{uid: uid, user: strconv.Itoa(uid)}
	if u, err := user.LookupId(r.user); err == nil {
		r.user = u.Username
	}
	r.direct = uid == 0 && !hasCapability(unix.CAP_SYS_ADMIN)
	return r
}

// root says whether namespaces can be made without a user namespace.
func (r requirements) root() bool { return r.uid == 0 && !r.direct }

// missing lists what keeps the engine from running, a line for each thing, and
// makes the state directory on the way.
func (r requirements) missing(dir string) []string {
	var lines []string
	need := func(program, pkg string) {
		if _, err := exec.LookPath(program); err != nil {
			lines = append(lines, fmt.Sprintf("the program %s is not in PATH: install the package %s", program, pkg))
		}
	}
	if !ociruntime.Available {
		need(runcProgram, "runc")
	}
	switch {
	case r.direct:
		// The kernel says what else is missing: see settle.
	case r.root():
		if !controlGroups() {
			lines = append(lines, "no control groups can be made, since no writable cgroup file system is mounted: mount one at /sys/fs/cgroup; in a container, allow it (--privileged)")
		}
	default:
		need("newuidmap", "uidmap")
		need("newgidmap", "uidmap")
		for _, file := range []string{subUIDFile, subGIDFile} {
			if _, err := subordinateIDs(file, r.user, r.uid); err != nil {
				lines = append(lines, fmt.Sprintf("%v: add the line %s:100000:65536, or another range that is free", err, r.user))
			}
		}
	}
	if line := r.stateDir(dir); line != "" {
		lines = append(lines, line)
	}
	if r.uid != 0 {
		if line := r.userNamespaces(); line != "" {
			return append(lines, line)
		}
	}
	// Starting the engine is the trial of the namespaces. When it cannot be
	// started anyhow, they are tried for the sake of a complete list.
	if len(lines) > 0 && !r.direct {
		if line := r.namespaces(); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// stateDir makes the state directory, and says what is wrong with it.
func (r requirements) stateDir(dir string) string {
	another := "name another directory for the engine's state"
	// What it lies in is nobody's secret, and the in-place engine, which shares it, has
	// mounts in there that other users must get to.
	err := os.MkdirAll(filepath.Dir(dir), 0o755)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Sprintf("the state directory cannot be made (%v): %s", err, another)
	}
	// The cache of root and that of an ordinary user differ in ownership and in the
	// attributes that overlayfs uses: they must not meet in one directory.
	if info, err := os.Stat(statelock.Path(dir)); err == nil {
		// Root can see to it that what another has made, or was given, is not used.
		if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != r.uid && r.uid != 0 {
			return fmt.Sprintf("the state directory %s was made by uid %d, and this is uid %d: %s", dir, owner, r.uid, another)
		}
	}
	probe, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return fmt.Sprintf("the state directory is not writable (%v): %s", err, another)
	}
	probe.Close()
	os.Remove(probe.Name())
	return ""
}

// userNamespaces says why an ordinary user gets no user namespace, as far as the
// kernel's settings tell.
func (r requirements) userNamespaces() string {
	for _, setting := range []struct{ name, refused, allow string }{
		{"user.max_user_namespaces", "0", "65536"},
		{"kernel.unprivileged_userns_clone", "0", "1"},
	} {
		if sysctl(setting.name) == setting.refused {
			return fmt.Sprintf("user namespaces are not permitted to ordinary users: set sysctl %s=%s, or run as root", setting.name, setting.allow)
		}
	}
	return ""
}

// sysctl returns a setting of the kernel, or nothing where there is none.
func sysctl(name string) string {
	value, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(value))
}

// namespaces tries whether the kernel makes the namespaces, and says why not.
func (r requirements) namespaces() string {
	cmd := r.probe()
	var errno syscall.Errno
	if err := cmd.Run(); errors.As(err, &errno) {
		return r.namespacesRefused(errno)
	}
	return ""
}

// probe is a process that ends at once in the namespaces of the engine process.
func (r requirements) probe(args ...string) *exec.Cmd {
	return &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{probeName}, args...), Dir: "/", SysProcAttr: r.attributes()}
}

// namespacesRefused explains that the kernel did not make the namespaces.
func (r requirements) namespacesRefused(errno syscall.Errno) string {
	if r.direct {
		return fmt.Sprintf("root may not mount here (no CAP_SYS_ADMIN), nor make a user namespace where it may (%v): give the container that capability (--privileged), or allow unshare and mount (--security-opt seccomp=unconfined)", errno)
	}
	if r.root() {
		return fmt.Sprintf("mount and pid namespaces are not permitted (%v): in a container, allow unshare and mount (--privileged)", errno)
	}
	return fmt.Sprintf("user namespaces are not permitted (%v): in a container, allow unshare and mount (--security-opt seccomp=unconfined); on a machine, raise sysctl user.max_user_namespaces", errno)
}

// attributes are those with which the engine process is started.
func (r requirements) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS,
		// Ctrl-C goes to every process of a terminal's group, but the program
		// decides when its engine ends.
		Setsid: true,
	}
	if !r.shared {
		attr.Cloneflags |= unix.CLONE_NEWPID
	}
	switch {
	case r.direct:
		sameIDs(attr)
	case !r.root():
		attr.Cloneflags |= unix.CLONE_NEWUSER
		// The process is nobody until its ids are mapped, and would lose its
		// capabilities when it is executed.
		attr.AmbientCaps = allCapabilities()
	}
	return attr
}

// mapIDs makes the process root of its user namespace, and gives it the user's
// subordinate ids.
func (r requirements) mapIDs(ctx context.Context, pid int) error {
	if r.root() || r.direct {
		return nil
	}
	for _, kind := range []struct {
		program, file string
		own           int
	}{{"newuidmap", subUIDFile, r.uid}, {"newgidmap", subGIDFile, os.Getegid()}} {
		ranges, err := subordinateIDs(kind.file, r.user, r.uid)
		if err != nil {
			return err
		}
		args := []string{strconv.Itoa(pid), "0", strconv.Itoa(kind.own), "1"}
		next := uint64(1)
		for _, ids := range ranges {
			args = append(args, fmt.Sprint(next), fmt.Sprint(ids.start), fmt.Sprint(ids.count))
			next += ids.count
		}
		out, err := exec.CommandContext(ctx, kind.program, args...).CombinedOutput()
		if err != nil {
			said := strings.TrimSpace(string(out))
			return refuse(err, fmt.Sprintf("%s failed (%v): %s; it has to be setuid root or have its file capability, and %s has to allow the range", kind.program, err, said, kind.file))
		}
	}
	return nil
}

// controlGroups reports whether runc can make control groups. In a user namespace it does
// without them, as root it does not.
func controlGroups() bool {
	if userns.RunningInUserNS() {
		return true
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return true // runc will say more
	}
	return slices.ContainsFunc(mounts, func(m *mountinfo.Info) bool {
		return !slices.Contains(strings.Split(m.Options, ","), "ro")
	})
}

// hasCapability reports whether this process has a capability in effect.
func hasCapability(capability uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}

// allCapabilities lists the capabilities that the running kernel knows.
func allCapabilities() []uintptr {
	last := uintptr(unix.CAP_LAST_CAP)
	if text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			last = uintptr(n)
		}
	}
	caps := make([]uintptr, 0, last+1)
	for c := uintptr(0); c <= last; c++ {
		caps = append(caps, c)
	}
	return caps
}
