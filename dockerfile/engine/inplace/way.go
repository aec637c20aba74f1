//go:build linux

package inplace

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// openWay lets users other than root through the directories above the state directory:
// a RUN of theirs is led to mounts that are in it. What is neither in the volume nor left
// to this program stays as it is, with a warning.
func (o Options) openWay(state string) error {
	volumes, err := findVolumes(o.root())
	if err != nil {
		return err
	}
	ours := slices.Clone(o.Skip)
	if volume := volumes.innermost(state); volume != "" {
		ours = append(ours, volume)
	}
	for dir := filepath.Dir(state); dir != o.root() && within(dir, o.root()); dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("look at the way to the state directory: %w", err)
		}
		if info.Mode()&0o001 != 0 {
			continue
		}
		err = errors.New("it is not the engine's to change")
		if slices.ContainsFunc(ours, func(place string) bool { return within(inside(dir, o.root()), place) }) {
			err = os.Chmod(dir, info.Mode()|0o001)
		}
		if err != nil {
			o.Log.Write(slog.LevelWarn, fmt.Sprintf(
				"users other than root cannot get through %s (%v): their RUNs find nothing at their mounts; let them (chmod o+x)", dir, err))
		}
	}
	return nil
}
