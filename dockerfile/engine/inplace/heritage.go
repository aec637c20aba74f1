//go:build linux

package inplace

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// heritage is what this process was started with and a RUN is not to inherit. Whatever
// takes the place of this process later is: it is given back.
type heritage struct {
	umask int
	files []inherited
}

// inherited is a file that was open when this process was started.
type inherited struct {
	fd       int
	dev, ino uint64
}

// umask is that of an image's RUNs, and of the directories that are made for them.
const umask = 0o022

// withhold keeps what this process inherited from what it starts. The umask cannot be a
// command's alone: threads share it, and directories are made here too. All else that this
// program writes has a mode of its own.
func withhold() (*heritage, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("look for files that a RUN must not inherit: %w", err)
	}
	h := &heritage{}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= 2 {
			continue // a command has its own of these
		}
		// What this process has opened itself is closed where another program begins.
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		file, err := identify(fd)
		if err == nil {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags|unix.FD_CLOEXEC)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("keep file %d from a RUN: %w", fd, err), h.reopen())
		}
		h.files = append(h.files, file)
	}
	h.umask = unix.Umask(umask)
	return h, nil
}

// giveBack makes it as it was.
func (h *heritage) giveBack() error {
	unix.Umask(h.umask)
	return h.reopen()
}

// reopen lets the files be inherited again. A descriptor that was closed meanwhile may
// belong to another file now.
func (h *heritage) reopen() error {
	for _, file := range h.files {
		now, err := identify(file.fd)
		if err != nil || now != file {
			continue
		}
		if _, err := unix.FcntlInt(uintptr(file.fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("let file %d be inherited again: %w", file.fd, err)
		}
	}
	return nil
}

func identify(fd int) (inherited, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return inherited{fd, uint64(st.Dev), st.Ino}, err
}
