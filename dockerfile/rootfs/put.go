package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrRecord begins the names of a header's records that hold extended attributes.
const xattrRecord = "SCHILY.xattr."

// file is a name in a directory.
type file struct {
	dir  *dir
	name string
}

func (f file) path() string { return path.Join(f.dir.path, f.name) }

// put makes the file that a header describes, in the place of what is there.
func (a *applier) put(f file, hdr *tar.Header) error {
	switch hdr.Typeflag {
	case tar.TypeDir:
		return a.putDir(f, hdr)
	case tar.TypeReg, tar.TypeSymlink, tar.TypeFifo, tar.TypeLink, tar.TypeChar, tar.TypeBlock:
	default:
		return fmt.Errorf("%w: it is of the unknown type %q", ErrDamaged, hdr.Typeflag)
	}
	err := a.make(f, hdr)
	if errors.Is(err, unix.EEXIST) {
		if hdr.Typeflag == tar.TypeLink {
			if same, err := a.isLinked(f, hdr); same || err != nil {
				return err
			}
		}
		err = a.replace(f, hdr)
	}
	if errors.Is(err, errNoDevices) {
		a.warnf("the device %s is left out: %v", f.path(), err)
		return nil
	}
	return err
}

// errNoDevices says that devices cannot be made, as in a user namespace. An image then has
// to do without, as in every container there.
var errNoDevices = errors.New("no devices can be made here")

// replace makes a file beside its place, and renames it: who uses the old one keeps it.
func (a *applier) replace(f file, hdr *tar.Header) error {
	temporary := a.temporary(f.dir)
	if err := a.make(temporary, hdr); err != nil {
		return err
	}
	// A link that led to a directory may go.
	a.dirs.last = nil
	err := temporary.rename(f)
	if isDirectory(err) {
		if err = a.remove(f.path(), false); err == nil {
			err = temporary.rename(f)
		}
	}
	if isDirectory(err) && a.places.above[f.path()] {
		err = fmt.Errorf("the directory cannot be replaced, since something in it is mounted or to be left alone: %w", err)
	}
	if err != nil {
		return errors.Join(err, temporary.unlink())
	}
	return nil
}

// temporary is what a file is called before it gets its name.
func (a *applier) temporary(in *dir) file {
	a.temps++
	return file{in, temporaryPrefix + strconv.Itoa(a.temps)}
}

var temporaryPrefix = ".graft-" + strconv.Itoa(os.Getpid()) + "-"

func (f file) rename(to file) error { return unix.Renameat(f.dir.fd, f.name, to.dir.fd, to.name) }

// isDirectory tells whether a rename failed because a directory is in the way.
func isDirectory(err error) bool {
	return errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST)
}

func (f file) unlink() error { return unix.Unlinkat(f.dir.fd, f.name, 0) }

// make makes a file that is no directory at a name that is free, complete with owner,
// mode, attributes and dates. It is EEXIST when the name is taken.
func (a *applier) make(f file, hdr *tar.Header) (err error) {
	mode := uint32(hdr.Mode & 0o7777)
	switch hdr.Typeflag {
	case tar.TypeLink:
		if err := a.link(f, hdr); err != nil || !a.archive {
			return err
		}
		return a.describeLink(f, hdr)
	case tar.TypeReg:
		return a.makeRegular(f, hdr)
	case tar.TypeSymlink:
		err = unix.Symlinkat(hdr.Linkname, f.dir.fd, f.name)
	case tar.TypeFifo:
		err = unix.Mknodat(f.dir.fd, f.name, unix.S_IFIFO|mode, 0)
	default:
		err = makeDevice(f, hdr)
	}
	if err != nil {
		return err
	}
	if err := a.describe(f, byName, hdr); err != nil {
		return errors.Join(err, f.unlink())
	}
	if err := setDates(f.dir.fd, f.name, datesOf(hdr)); err != nil {
		return errors.Join(err, f.unlink())
	}
	return nil
}

// describeLink gives a file with a further name what the entry of that says: in an archive
// it counts, while layers have it from the file itself.
func (a *applier) describeLink(f file, hdr *tar.Header) error {
	var st unix.Stat_t
	if err := unix.Fstatat(f.dir.fd, f.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.Fchownat(f.dir.fd, f.name, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err := a.describe(f, byName, hdr); err != nil {
		return err
	}
	return setDates(f.dir.fd, f.name, datesOf(hdr))
}

// makeRegular does what it can by the descriptor, which saves looking the name up again
// and again: layers are mostly of small files.
func (a *applier) makeRegular(f file, hdr *tar.Header) error {
	fd, err := unix.Openat(f.dir.fd, f.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	err = a.fill(fd)
	if err == nil {
		err = a.describe(f, fd, hdr)
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err == nil {
		err = setDates(f.dir.fd, f.name, datesOf(hdr))
	}
	if err != nil {
		return errors.Join(err, f.unlink())
	}
	return nil
}

// fill writes the content of the current entry.
func (a *applier) fill(fd int) error {
	_, err := io.CopyBuffer(writer(fd), struct{ io.Reader }{a.tar}, a.buffer)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// writer writes to a descriptor. An os.File would offer io.CopyBuffer more than Write, for
// which that takes a new buffer, and is an allocation with a finalizer itself.
type writer int

func (w writer) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var more int
		more, err = unix.Write(int(w), p[n:])
		n += max(more, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			err = nil
		case err == nil && more == 0:
			err = io.ErrShortWrite
		}
	}
	return n, err
}

func makeDevice(f file, hdr *tar.Header) error {
	kind := uint32(unix.S_IFCHR)
	if hdr.Typeflag == tar.TypeBlock {
		kind = unix.S_IFBLK
	}
	number := unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
	err := unix.Mknodat(f.dir.fd, f.name, kind|uint32(hdr.Mode&0o7777), int(number))
	if errors.Is(err, unix.EPERM) {
		return errNoDevices
	}
	return err
}

// putDir makes a directory, or gives the one that is there another owner and mode.
func (a *applier) putDir(f file, hdr *tar.Header) error {
	err := unix.Mkdirat(f.dir.fd, f.name, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err = unix.Fstatat(f.dir.fd, f.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			a.dirs.last = nil // it may have led through a link that now goes
			if err = f.unlink(); err == nil {
				err = unix.Mkdirat(f.dir.fd, f.name, 0o700)
			}
		}
	}
	if err != nil {
		return err
	}
	a.dates[f.path()] = datesOf(hdr)
	return a.describe(f, byName, hdr)
}

// byName stands for the descriptor of a file that is not open.
const byName = -1

// describe gives a file its owner, attributes and mode, in this order: a change of owner
// takes capabilities and setuid away.
func (a *applier) describe(f file, fd int, hdr *tar.Header) error {
	chown := func() error { return unix.Fchown(fd, hdr.Uid, hdr.Gid) }
	chmod := func() error { return unix.Fchmod(fd, uint32(hdr.Mode&0o7777)) }
	if fd == byName {
		chown = func() error {
			return unix.Fchownat(f.dir.fd, f.name, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW)
		}
		chmod = func() error { return unix.Fchmodat(f.dir.fd, f.name, uint32(hdr.Mode&0o7777), 0) }
	}
	if err := chown(); err != nil {
		return fmt.Errorf("give it to %d:%d: %w", hdr.Uid, hdr.Gid, err)
	}
	for key, value := range hdr.PAXRecords {
		if attribute, ok := strings.CutPrefix(key, xattrRecord); ok {
			if err := a.setXattr(f, hdr, attribute, value); err != nil {
				return fmt.Errorf("set its attribute %s: %w", attribute, err)
			}
		}
	}
	if hdr.Typeflag == tar.TypeSymlink {
		return nil
	}
	if err := chmod(); err != nil {
		return fmt.Errorf("set its mode: %w", err)
	}
	return nil
}

// capability is the attribute that holds what a program may do.
const capability = "security.capability"

func (a *applier) setXattr(f file, hdr *tar.Header, attribute, value string) error {
	if strings.HasPrefix(attribute, "trusted.") {
		// They are an overlay's own, never an image's.
		a.warnf("the attribute %s of %s is left out", attribute, f.path())
		return nil
	}
	err := unix.Lsetxattr(a.dirs.full(f.path()), attribute, []byte(value), 0)
	plain := hdr.Typeflag == tar.TypeReg || hdr.Typeflag == tar.TypeDir
	// Labels of a security module are the system's own, and capabilities are the image's.
	dispensable := strings.HasPrefix(attribute, "user.") && !plain ||
		strings.HasPrefix(attribute, "security.") && attribute != capability
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) && dispensable {
		a.warnf("the attribute %s of %s is left out: %v", attribute, f.path(), err)
		return nil
	}
	return err
}

func (a *applier) warnf(format string, args ...any) {
	if a.warn != nil {
		a.warn(format, args...)
	}
}

func setDates(fd int, name string, d dates) error {
	var times [2]unix.Timespec
	var err error
	if times[0], err = unix.TimeToTimespec(d.access); err == nil {
		times[1], err = unix.TimeToTimespec(d.change)
	}
	if err == nil {
		err = unix.UtimesNanoAt(fd, name, times[:], unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("date it: %w", err)
	}
	return nil
}
