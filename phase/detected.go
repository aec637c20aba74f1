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
// is kept is history. A file that was not there is told apart from an empty one.
func keptHeader(after []byte, absent bool) []byte {
	before := "before generation"
	if absent {
		before = "before generation there was no such file"
	}
	return fmt.Appendf(nil, "# %s; belongs to sha256:%x\n", before, sha256.Sum256(after))
}

// stage prepares to keep what was and to write what is now.
func (d detected) stage(path string) ([]platform.Staged, error) {
	kept, err := platform.StageFile("kept "+d.what, detectedPath(path), append(keptHeader(d.after, d.before == nil), d.before...))
	if err != nil {
		return nil, err
	}
	now, err := platform.StageFile(d.what, path, d.after)
	if err != nil {
		kept.Discard()
		return nil, err
	}
	return []platform.Staged{kept, now}, nil
}

// stageUndo prepares to take back what an earlier generation made of a file,
// for a build in which no extension takes part any more.
func stageUndo(what, path string) ([]platform.Staged, error) {
	before, kept, err := readBefore(what, path)
	if err != nil {
		return nil, err
	}
	changes := []platform.Staged{platform.Removal(detectedPath(path))}
	switch {
	case !kept:
		return changes, nil
	case before == nil:
		return append(changes, platform.Removal(path)), nil
	}
	now, err := platform.StageFile(what, path, before)
	if err != nil {
		return nil, err
	}
	// The file goes first: once it is written, what is kept does not fit it.
	return append([]platform.Staged{now}, changes...), nil
}

// readBefore is what a file said before generation: what is kept of it if that
// still belongs to it, else the file itself. One that is not there is nil.
func readBefore(what, path string) (data []byte, kept bool, err error) {
	now, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, &platform.FileError{What: what, Path: path, Err: err}
	}
	if kept, err := os.ReadFile(detectedPath(path)); err == nil {
		if before, belongs := bytes.CutPrefix(kept, keptHeader(now, false)); belongs {
			return before, true, nil
		}
		if bytes.Equal(kept, keptHeader(now, true)) {
			return nil, true, nil
		}
	}
	return now, false, nil
}

func discardAll(changes []platform.Staged) {
	for _, c := range changes {
		c.Discard()
	}
}
