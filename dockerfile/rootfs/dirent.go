package rootfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where the fields of the kernel's directory entries are.
const (
	direntLength = unsafe.Offsetof(unix.Dirent{}.Reclen)
	direntName   = unsafe.Offsetof(unix.Dirent{}.Name)
)

// read reads the names in an open directory. os.File does that too, but with an
// allocation for each name, and a walk is made of little else.
func (l *listing) read(fd int) error {
	l.names, l.ends = l.names[:0], l.ends[:0]
	for {
		n, err := unix.Getdents(fd, l.block)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		for rest := l.block[:n]; len(rest) > int(direntName); {
			length := int(binary.NativeEndian.Uint16(rest[direntLength:]))
			if length <= int(direntName) || length > len(rest) {
				return errors.New("the kernel's list of it cannot be read")
			}
			name, _, _ := bytes.Cut(rest[direntName:length], []byte{0})
			rest = rest[length:]
			if s := string(name); s == "." || s == ".." {
				continue
			}
			l.names = append(l.names, name...)
			l.ends = append(l.ends, len(l.names))
		}
	}
}
