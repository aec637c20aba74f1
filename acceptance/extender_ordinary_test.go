package acceptance

import (
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// ordinaryUser makes a user with subordinate ids for the test, and removes it
// when the test ends.
func ordinaryUser(t *testing.T) (uid, gid int) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to make an ordinary user")
	for program, debianPackage := range map[string]string{
		"newuidmap": "uidmap", "useradd": "passwd", "usermod": "passwd", "userdel": "passwd", "runc": "runc",
	} {
		needProgram(t, program, debianPackage)
	}
	name := "graft-acc-" + strconv.Itoa(os.Getpid())
	administer(t, "useradd", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh", name)
	t.Cleanup(func() { administer(t, "userdel", name) })
	// A range far from those that useradd gives to people.
	administer(t, "usermod", "--add-subuids", "1900000000-1900065535", "--add-subgids", "1900000000-1900065535", name)
	account, err := user.Lookup(name)
	check(t, err)
	uid, err = strconv.Atoi(account.Uid)
	check(t, err)
	gid, err = strconv.Atoi(account.Gid)
	check(t, err)
	return uid, gid
}

func administer(t *testing.T, program string, args ...string) {
	t.Helper()
	path, err := lookPath(program)
	check(t, err)
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %v: %v: %s", program, args, err, out)
	}
}

// chown makes dir and everything in it a user's own.
func chown(t *testing.T, dir string, uid, gid int) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	}))
}

// giveTo makes dir, which is one of the test's temporary directories or in one, and
// everything in it a user's own, and the test's directories above it passable.
func giveTo(t *testing.T, dir string, uid, gid int) {
	t.Helper()
	chown(t, dir, uid, gid)
	temp := filepath.Dir(filepath.Dir(t.TempDir()))
	if !strings.HasPrefix(dir, temp+"/") {
		t.Fatalf("%s is not below %s: what is above it is not the test's to change", dir, temp)
	}
	for above := filepath.Dir(dir); above != temp; above = filepath.Dir(above) {
		check(t, os.Chmod(above, 0o755))
	}
}

func asUser(uid, gid int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// An ordinary user's engine makes the image that root's makes.
func TestOrdinaryUserAgreesOnDebian(t *testing.T) {
	uid, gid := ordinaryUser(t)
	base := filepath.Join(t.TempDir(), "base") // one that the user can read
	check(t, os.CopyFS(base, os.DirFS(debian(t))))
	state := filepath.Join(t.TempDir(), "state")
	check(t, os.Mkdir(state, 0o700))

	s := debianScene(t, base, embeddedIn(t, state))
	for _, dir := range []string{base, state, s.dir} {
		giveTo(t, dir, uid, gid)
	}
	c := s.command("-output", "oci:"+s.path("layers/whole"))
	c.SysProcAttr = asUser(uid, gid)
	o := finish(t, c)
	if o.code != 0 {
		t.Fatalf("the extender failed: %v", o)
	}
	if !strings.Contains(o.stdout, "user namespace") {
		t.Errorf("the log does not say that the engine has a user namespace: %v", o)
	}
	ordinary := unpackLayout(t, "ordinary user", s.path("layers/whole"))
	checkDebian(t, ordinary)

	root := debianScene(t, base, embedded(t))
	root.succeed("-output", "oci:"+root.path("whole"))
	sameImage(t, unpackLayout(t, "root", root.path("whole")), ordinary)
	if mounts := mountsBelow(t, state); len(mounts) > 0 {
		t.Errorf("mounts are left: %v", mounts)
	}
}
