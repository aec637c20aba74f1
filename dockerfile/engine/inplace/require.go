//go:build linux

package inplace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// Check finds out whether the engine can work here, and describes it as
// Engine.Description does. It starts nothing and waits for nobody.
//
// Where it cannot, all that stands in the way is told in an *engine.UnavailableError.
func Check(_ context.Context, opts Options) (string, error) {
	if _, _, err := prepare(opts); err != nil {
		return "", err
	}
	return description(), nil
}

// prepare finds the state directory and what was done to the root filesystem, and all
// that keeps the engine from working.
func prepare(opts Options) (state string, done record, err error) {
	var missing []string
	if uid := os.Geteuid(); uid != 0 {
		missing = append(missing, fmt.Sprintf("the in-place engine changes the container's root filesystem, and this is uid %d: start the container as root", uid))
	}
	if err := writable(opts.root()); err != nil {
		missing = append(missing, fmt.Sprintf("the root filesystem %s cannot be written to (%v): start the container without a read-only root", opts.root(), err))
	}
	done, recordErr := readRecord(opts.root())
	if recordErr != nil {
		missing = append(missing, recordErr.Error())
	}
	if state, err = opts.stateDir(); err != nil {
		missing = append(missing, fmt.Sprintf("no state directory: %v; set HOME or name a directory", err))
	} else if err := makeWritable(state, opts.root()); err != nil {
		missing = append(missing, fmt.Sprintf("the state directory cannot be used (%v): name another directory for the engine's state", err))
	}
	if len(missing) > 0 {
		return "", record{}, &unavailable.Error{InPlace: true, Missing: missing, Err: recordErr}
	}
	return state, done, nil
}

// writable tells whether files can be made in the root.
func writable(root string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return err
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return unix.EROFS
	}
	return nil
}

// makeWritable makes the state directory.
func makeWritable(state, root string) error {
	if !within(state, root) {
		return fmt.Errorf("%s is not in the root filesystem %s", state, root)
	}
	if err := os.MkdirAll(state, 0o711); err != nil {
		return err
	}
	probe, err := os.CreateTemp(state, ".writable-")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// leftAlone are the paths that are in no layer, seen from the root.
func (o Options) leftAlone(state string) []string {
	return append([]string{inside(filepath.Dir(state), o.root())}, o.Skip...)
}

// refuse says that in this container nothing can be extended in place.
func refuse(err error) error {
	return &unavailable.Error{InPlace: true, Missing: []string{err.Error()}, Err: err}
}

// ordinary are variables that tell nothing about an image: whoever starts a container
// sets them.
var ordinary = map[string]bool{"PATH": true, "HOME": true, "HOSTNAME": true, "TERM": true, "LANG": true, "USER": true, "PWD": true}

// checkContainer refuses an image that this container plainly was not made from: one of
// another distribution, or whose variables the container does not have. More variables,
// other values, and further layers are ordinary: platforms add them.
func (o Options) checkContainer(config ocispecs.Image) error {
	have := map[string]bool{}
	for _, kv := range o.environ() {
		name, _, _ := strings.Cut(kv, "=")
		have[name] = true
	}
	var known int
	var absent []string
	for _, kv := range config.Config.Env {
		name, _, _ := strings.Cut(kv, "=")
		if ordinary[name] {
			continue
		}
		known++
		if !have[name] {
			absent = append(absent, name)
		}
	}
	if 2*len(absent) > known {
		return fmt.Errorf("the base image is not the image of this container, whose environment lacks %s: start the container from the base image, or use an engine that isolates (-buildkit)", strings.Join(absent, ", "))
	}
	for name, value := range config.Config.Labels {
		if here := o.Labels[name]; here != "" && here != value {
			return fmt.Errorf("the base image is not the image of this container: its label %s says %q, and this is %q: start the container from the base image, or use an engine that isolates (-buildkit)", name, value, here)
		}
	}
	return nil
}
