package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// BuildUser is the user that modules run as. No module ever runs as root.
type BuildUser struct {
	// UID and GID are what the platform gave, nil where it gave nothing.
	UID, GID *int
}

// Account is an entry of /etc/passwd.
type Account struct{ Name, Home string }

// Become makes the whole process run as the build user, if it was started as
// root; otherwise it stays who it is. The owned directories are made if they
// are missing and handed over where the build user could not write to them:
// they are the programs' own, like <layers>. It returns the build user's entry
// in /etc/passwd if it became that user; one that is not in there has no name, and
// the root directory as its home.
//
// It fails with CodeFailed if the process is root and the platform gave no
// user, or gave root.
func (u BuildUser) Become(owned ...string) (Account, error) {
	if os.Geteuid() != 0 {
		return Account{}, nil
	}
	if err := u.Check(); err != nil {
		return Account{}, err
	}
	for _, dir := range owned {
		if err := u.handOver(dir); err != nil {
			return Account{}, fmt.Errorf("handing %s to the build user %d:%d: %w", dir, *u.UID, *u.GID, err)
		}
	}
	account, lookupErr := user.LookupId(strconv.Itoa(*u.UID))
	for _, step := range []func() error{
		func() error { return syscall.Setgroups([]int{*u.GID}) },
		func() error { return syscall.Setgid(*u.GID) },
		func() error { return syscall.Setuid(*u.UID) },
	} {
		if err := step(); err != nil {
			return Account{}, fmt.Errorf("becoming the build user %d:%d: %w", *u.UID, *u.GID, err)
		}
	}
	if lookupErr != nil {
		// Like containers do for a user that nobody knows.
		return Account{Home: "/"}, nil
	}
	return Account{Name: account.Username, Home: account.HomeDir}, nil
}

// Check tells whether modules can run as this user, for a process that is root. The
// error carries CodeFailed: the platform gave no user, or gave root.
func (u BuildUser) Check() error {
	if u.UID == nil || u.GID == nil {
		return WithCode(CodeFailed, errors.New(
			"started as root, and modules never run as root: give the build user with -uid and -gid (CNB_USER_ID, CNB_GROUP_ID)"))
	}
	if *u.UID == 0 {
		return WithCode(CodeFailed, errors.New(
			"the build user is root (uid 0), and modules never run as root: give another user with -uid (CNB_USER_ID)"))
	}
	return nil
}

// handOver makes sure that the build user can write to dir and to what an
// earlier run of these programs left in it.
func (u BuildUser) handOver(dir string) error {
	if dir == "" || dir == "/" {
		return nil
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if u.canMake(dir) {
			return nil
		}
		if err := MkdirAll(dir); err != nil {
			return err
		}
	}
	info, err := os.Stat(dir)
	if err != nil || u.canWrite(info) {
		return err
	}
	return u.Own(dir)
}

// canMake tells whether the build user can make dir when it is needed, so that
// nothing is made for a run that fails.
func (u BuildUser) canMake(dir string) bool {
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err == nil {
			return info.IsDir() && u.canWrite(info)
		}
		if parent == filepath.Dir(parent) {
			return false
		}
	}
}

func (u BuildUser) canWrite(info fs.FileInfo) bool {
	stat := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	switch {
	case int(stat.Uid) == *u.UID:
		return mode&0o300 == 0o300
	case int(stat.Gid) == *u.GID:
		return mode&0o030 == 0o030
	}
	return mode&0o003 == 0o003
}
