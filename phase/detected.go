package phase

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graft-cnb/graft/platform"
)

// rewritten is a file that generation rewrites. What it said before is kept, so that
// generation can run again and start from the same: beside it, or, where nobody can
// write there, as beside a single file that is bound into a container, in <layers>.
type rewritten struct {
	// what is the file in the spec's words, like "plan".
	what, path string
	// layers is the directory that the phases share; it may be empty.
	layers string
}

// kept is where it may be kept what the file said before generation, the first place
// that can be written.
func (f rewritten) kept() []string {
	beside := strings.TrimSuffix(f.path, filepath.Ext(f.path)) + ".detected.toml"
	shared := filepath.Join(f.layers, f.what+".detected.toml")
	if f.layers == "" || shared == beside {
		return []string{beside}
	}
	return []string{beside, shared}
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

// stage prepares to keep what was and to write what is now. Where what was cannot be
// kept, the next generation starts from what is now, which is worth a warning.
func (f rewritten) stage(log *platform.Log, before, after []byte) ([]platform.Staged, error) {
	changes := f.stageKept(log, append(keptHeader(after, before == nil), before...))
	now, err := platform.StageFile(f.what, f.path, after)
	if err != nil {
		discardAll(changes)
		return nil, err
	}
	return append(changes, now), nil
}

func (f rewritten) stageKept(log *platform.Log, data []byte) []platform.Staged {
	var first error
	for i, path := range f.kept() {
		staged, err := platform.StageFile("kept "+f.what, path, data)
		if err == nil {
			changes := []platform.Staged{staged}
			for _, other := range slices.Delete(f.kept(), i, i+1) {
				changes = append(changes, forgotten{platform.Removal(other)})
			}
			return changes
		}
		first = errors.Join(first, err)
	}
	log.Warnf("what the %s file %s says before generation is kept nowhere, so the generator cannot start from it again: %s",
		f.what, f.path, strings.ReplaceAll(first.Error(), "\n", "; "))
	return nil
}

// forget removes what is kept.
func (f rewritten) forget() []platform.Staged {
	var changes []platform.Staged
	for _, path := range f.kept() {
		changes = append(changes, forgotten{platform.Removal(path)})
	}
	return changes
}

// forgotten is the removal of what was kept. Where it cannot be removed it does no
// harm: it does not belong to what the file says from then on.
type forgotten struct{ platform.Staged }

// Commit implements platform.Staged.
func (f forgotten) Commit() error {
	_ = f.Staged.Commit()
	return nil
}

// stageUndo prepares to take back what an earlier generation made of a file,
// for a build in which no extension takes part any more.
func (f rewritten) stageUndo() ([]platform.Staged, error) {
	before, kept, err := f.readBefore()
	if err != nil {
		return nil, err
	}
	switch {
	case !kept:
		return f.forget(), nil
	case before == nil:
		return append(f.forget(), platform.Removal(f.path)), nil
	}
	now, err := platform.StageFile(f.what, f.path, before)
	if err != nil {
		return nil, err
	}
	// The file goes first: once it is written, what is kept does not fit it.
	return append([]platform.Staged{now}, f.forget()...), nil
}

// readBefore is what a file said before generation: what is kept of it if that
// still belongs to it, else the file itself. One that is not there is nil.
func (f rewritten) readBefore() (data []byte, kept bool, err error) {
	now, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, &platform.FileError{What: f.what, Path: f.path, Err: err}
	}
	for _, path := range f.kept() {
		kept, err := os.ReadFile(path)
		if err != nil {
			continue
		}
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
