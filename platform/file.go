package platform

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/BurntSushi/toml"
)

// FileError is a file of the contract that cannot be read or understood.
type FileError struct {
	// What is the file in the spec's words, like "order".
	What string
	Path string
	// Line is where it is wrong, counted from 1, or 0 when no line is to blame.
	Line int
	Err  error
}

func (e *FileError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s file %s, line %d: %v", e.What, e.Path, e.Line, e.Err)
	}
	return fmt.Sprintf("%s file %s: %v", e.What, e.Path, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// ReadTOML reads a TOML file into v. Every error is a *FileError; one for a
// file that is not there wraps fs.ErrNotExist.
func ReadTOML(what, path string, v any) (toml.MetaData, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return toml.MetaData{}, &FileError{What: what, Path: path, Err: err}
	}
	return DecodeTOML(what, path, data, v)
}

// DecodeTOML is ReadTOML for a file that has been read already.
func DecodeTOML(what, path string, data []byte, v any) (toml.MetaData, error) {
	if line, err := checkNesting(data); err != nil {
		return toml.MetaData{}, &FileError{What: what, Path: path, Line: line, Err: err}
	}
	meta, err := toml.NewDecoder(bytes.NewReader(data)).Decode(v)
	if err == nil {
		return meta, nil
	}
	var parse toml.ParseError
	if errors.As(err, &parse) {
		message := parse.Message
		if parse.LastKey != "" {
			message += fmt.Sprintf(" (last key %q)", parse.LastKey)
		}
		if message == "" {
			message = err.Error()
		}
		return meta, &FileError{What: what, Path: path, Line: parse.Position.Line, Err: errors.New(message)}
	}
	return meta, wrongType(what, path, err)
}

// EncodeTOML is v as TOML, the same bytes for the same value. They are never nil.
func EncodeTOML(v any) ([]byte, error) {
	b := bytes.NewBuffer([]byte{})
	encoder := toml.NewEncoder(b)
	encoder.Indent = ""
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("writing TOML: %w", err)
	}
	return b.Bytes(), nil
}

// WriteTOML writes v to path as WriteFile does.
func WriteTOML(what, path string, v any) error {
	data, err := EncodeTOML(v)
	if err != nil {
		return &FileError{What: what, Path: path, Err: err}
	}
	return WriteFile(what, path, data)
}

// Staged is a change that is prepared, so that little can still go wrong when
// it is made.
type Staged interface {
	// Commit makes the change.
	Commit() error
	// Discard removes what is left of the preparation, before or after Commit.
	Discard()
}

// CommitAll makes changes in order and stops at the first that fails.
func CommitAll(changes ...Staged) error {
	for _, c := range changes {
		if err := c.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile puts data at path so that a reader sees the old file or the new
// one and never half of one: it is written beside and renamed. A path that is
// itself a mount cannot be renamed over and is written in place. Missing
// directories are made. The file is readable for everybody, since later phases
// run as other users. An open descriptor, named like /dev/fd/3, is written to.
func WriteFile(what, path string, data []byte) error {
	staged, err := StageFile(what, path, data)
	if err != nil {
		return err
	}
	defer staged.Discard()
	return staged.Commit()
}

// StageFile prepares what WriteFile does: Commit puts the file in place.
func StageFile(what, path string, data []byte) (Staged, error) {
	f := &stagedFile{what: what, path: path, data: data, fd: descriptor(path)}
	if f.fd != nil {
		return f, nil
	}
	if err := f.stage(); err != nil {
		f.Discard()
		return nil, f.explain(err)
	}
	return f, nil
}

type stagedFile struct {
	what, path string
	data       []byte
	// done tells that the file is there already, with the same contents.
	done bool
	// temp is the new file beside the old one; empty where there can be none.
	temp string
	fd   *os.File
}

func (f *stagedFile) explain(err error) error {
	return &FileError{What: f.what, Path: f.path, Err: fmt.Errorf("cannot be written: %w", err)}
}

func (f *stagedFile) stage() error {
	info, err := os.Lstat(f.path)
	if err == nil && info.IsDir() {
		return syscall.EISDIR
	}
	if err == nil && info.Mode() == 0o644 && f.isThere() {
		f.done = true
		return nil
	}
	dir := filepath.Dir(f.path)
	if err := MkdirAll(dir); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(f.path)+".*")
	if err != nil {
		// The file may still be there and writable for us, in a directory that
		// is not: a single file bound into a container is.
		open, openErr := os.OpenFile(f.path, os.O_WRONLY, 0)
		if openErr != nil {
			return err
		}
		return open.Close()
	}
	f.temp = temp.Name()
	_, err = temp.Write(f.data)
	return errors.Join(err, temp.Chmod(0o644), temp.Close())
}

// isThere tells whether the file has these contents already, as it does when the
// same build runs again.
func (f *stagedFile) isThere() bool {
	data, err := os.ReadFile(f.path)
	return err == nil && bytes.Equal(data, f.data)
}

// Commit implements Staged.
func (f *stagedFile) Commit() error {
	if f.done {
		return nil
	}
	if err := f.commit(); err != nil {
		return f.explain(err)
	}
	return nil
}

func (f *stagedFile) commit() error {
	if f.fd != nil {
		_, err := f.fd.Write(f.data)
		return err
	}
	if f.temp == "" {
		return writeInPlace(f.path, f.data)
	}
	err := os.Rename(f.temp, f.path)
	if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV) {
		return writeInPlace(f.path, f.data)
	}
	return err
}

// Discard implements Staged.
func (f *stagedFile) Discard() {
	if f.temp != "" {
		os.Remove(f.temp)
	}
}

// Removal removes a file or a directory with all that is in it, or only the
// contents of a directory that is a mount. One that is not there is no error.
type Removal string

// Commit implements Staged.
func (r Removal) Commit() error {
	if _, err := os.Lstat(string(r)); errors.Is(err, fs.ErrNotExist) {
		// A read-only file system says that it is one even so.
		return nil
	}
	if err := removeDir(string(r)); err != nil {
		return fmt.Errorf("removing what an earlier run left: %w", err)
	}
	return nil
}

// Discard implements Staged.
func (Removal) Discard() {}

// descriptor is the open file that a path like /dev/fd/3 names, or nil. Opening
// such a path is no way: it fails for a process that has become another user,
// and it would begin a regular file anew.
func descriptor(path string) *os.File {
	switch path {
	case "/dev/stdout":
		return os.Stdout
	case "/dev/stderr":
		return os.Stderr
	}
	number, ok := strings.CutPrefix(path, "/dev/fd/")
	fd, err := strconv.ParseUint(number, 10, 31)
	if !ok || err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), path)
}

func writeInPlace(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// MkdirAll makes a directory with its parents, 0755 whatever the umask says:
// later phases run as other users.
func MkdirAll(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := MkdirAll(parent); err != nil {
			return err
		}
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}
