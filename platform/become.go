package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"github.com/moby/sys/capability"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// Identity is the build user as its processes know it.
type Identity struct {
	Account
	UID, GID int
	// Groups are the supplementary groups, without GID.
	Groups []int
}

// Identity looks the build user up in /etc/passwd and /etc/group, as they are now. A user
// that is not in there has no name and no further groups, and the root directory as its
// home. The user must be one that Check accepts.
func (u BuildUser) Identity() (Identity, error) {
	id := Identity{Account: Account{Home: "/"}, UID: *u.UID, GID: *u.GID}
	var users []user.User
	err := regular("/etc/passwd")
	if err == nil {
		users, err = user.ParsePasswdFileFilter("/etc/passwd", func(entry user.User) bool { return entry.Uid == id.UID })
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Identity{}, fmt.Errorf("looking up the build user %d: %w", id.UID, err)
	}
	if len(users) == 0 {
		return id, nil
	}
	id.Name = users[0].Name
	if users[0].Home != "" {
		id.Home = users[0].Home
	}
	var groups []user.Group
	if err = regular("/etc/group"); err == nil {
		groups, err = user.ParseGroupFileFilter("/etc/group", func(entry user.Group) bool {
			return entry.Gid != id.GID && slices.Contains(entry.List, id.Name)
		})
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Identity{}, fmt.Errorf("looking up the groups of the build user %s: %w", id.Name, err)
	}
	for _, group := range groups {
		if !slices.Contains(id.Groups, group.Gid) {
			id.Groups = append(id.Groups, group.Gid)
		}
	}
	return id, nil
}

// regular fails for what is no regular file: whoever made a pipe of one would be waited for.
func regular(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	return err
}

// String is how messages name the user.
func (id Identity) String() string {
	numbers := strconv.Itoa(id.UID) + ":" + strconv.Itoa(id.GID)
	if id.Name == "" {
		return numbers
	}
	return id.Name + " (" + numbers + ")"
}

// Exec executes a program in place of this process, in the root directory, as the
// identity's user and groups and without any capability, also for the programs that it
// executes in turn as far as that can be had. It returns only when that fails.
func (id Identity) Exec(program string, env []string) error {
	// Capabilities are a thread's, and this is the one that executes.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := id.assume(); err != nil {
		return fmt.Errorf("becoming the build user %s: %w", id, err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	// An engine may have become the parent of orphans. The program would inherit that, and
	// is not prepared to.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("leaving orphans to others: %w", err)
	}
	if err := syscall.Exec(program, []string{program}, env); err != nil {
		return fmt.Errorf("executing %s as %s: %w", program, id, err)
	}
	return nil
}

// assume changes user and groups, and drops all capabilities of the calling thread.
func (id Identity) assume() error {
	caps, err := capability.NewPid2(0)
	if err == nil {
		err = caps.Load()
	}
	if err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	caps.Clear(capability.CAPS | capability.BOUNDS | capability.AMBS)
	if err := caps.Apply(capability.BOUNDS); err != nil && !errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("dropping the bounding capabilities: %w", err)
	}
	// Which ends with the last capability that it takes.
	for _, step := range []func() error{
		func() error { return syscall.Setgroups(append([]int{id.GID}, id.Groups...)) },
		func() error { return syscall.Setgid(id.GID) },
		func() error { return syscall.Setuid(id.UID) },
		func() error { return caps.Apply(capability.CAPS | capability.AMBS) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
