package phase

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/graft-cnb/graft/platform"
)

// detected is a file that generation rewrites, with what it said before. That is
// kept beside it, so that generation can run again and start from the same.
type detected struct {
	what          string
	before, after []byte
}

// detectedPath is where it is kept what a file said before generation.
func detectedPath(path string) string {
	return strings.TrimSuffix(path, filepath.Ext(path)) + ".detected.toml"
}

// keptHeader is the first line of a kept file. It says which contents of the
// rewritten file it belongs to: once somebody else has written that one, what
// is kept is history.
func keptHeader(after []byte) []byte {
	return fmt.Appendf(nil, "# before generation; belongs to sha256:%x\n", sha256.Sum256(after))
}

// write keeps what was and writes what is now.
func (d detected) write(path string) error {
	kept := append(keptHeader(d.after), d.before...)
	if err := platform.WriteFile("kept "+d.what, detectedPath(path), kept); err != nil {
		return err
	}
	return platform.WriteFile(d.what, path, d.after)
}

// readBefore is what a file said before generation: what is kept of it if that
// still belongs to it, else the file itself. One that is not there is nil.
func readBefore(what, path string) ([]byte, error) {
	now, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &platform.FileError{What: what, Path: path, Err: err}
	}
	if kept, err := os.ReadFile(detectedPath(path)); err == nil {
		if before, belongs := bytes.CutPrefix(kept, keptHeader(now)); belongs {
			return before, nil
		}
	}
	return now, nil
}
