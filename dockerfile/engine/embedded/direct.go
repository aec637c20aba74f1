//go:build linux

package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/ociruntime"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// Root of a container has no CAP_SYS_ADMIN by default. Where the container lets it make
// a user namespace it has the capability in there, and since it may map any of its ids,
// none changes. What it may not do in there is mount a /proc, as long as parts of the
// container's own are masked.

// directDir is where such an engine has its state. Overlayfs marks directories with other
// attributes in a user namespace, and takes those of the outside for none: a layer of one
// would be another in the other.
func directDir(state string) string { return filepath.Join(state, "userns") }

// sameIDs adds a user namespace that has all ids of this one.
func sameIDs(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = sameMap(user.CurrentProcessUIDMap())
	attr.GidMappings = sameMap(user.CurrentProcessGIDMap())
	attr.GidMappingsEnableSetgroups = true
}

// sameMap maps each id to itself. Where the ids cannot be told, root has to do.
//
// It is never one range: runc takes the one of all ids for the sign that there is no user
// namespace around it, and then wants control groups.
func sameMap(ranges []user.IDMap, err error) []syscall.SysProcIDMap {
	if err != nil || len(ranges) == 0 {
		ranges = []user.IDMap{{Count: 1}}
	}
	var same []syscall.SysProcIDMap
	for _, r := range ranges {
		first, rest := r.ID, r.Count
		if len(ranges) == 1 && rest > 1 {
			same = append(same, syscall.SysProcIDMap{ContainerID: int(first), HostID: int(first), Size: 1})
			first, rest = first+1, rest-1
		}
		same = append(same, syscall.SysProcIDMap{ContainerID: int(first), HostID: int(first), Size: int(rest)})
	}
	return same
}

// settle finds out, where it has to be tried, whether the engine can have a pid namespace, and
// says what keeps it from running in any namespaces with its state in a directory. It takes
// two processes that end at once.
func (r *requirements) settle(dir string) (missing string) {
	if !r.direct {
		return ""
	}
	if missing = r.try(dir, probeProc); missing == "" {
		return ""
	}
	r.shared = true
	if missing = r.try(dir); missing == "" && !ociruntime.Available {
		return "a RUN cannot have a pid namespace, since no /proc can be mounted here, and " + runcProgram + " does not end what a RUN leaves running without one: use a build with its own OCI runtime, as the release is, or leave /proc unmasked (--security-opt systempaths=unconfined)"
	}
	return missing
}

// try starts a probe, and returns what it says is missing.
func (r requirements) try(args ...string) (missing string) {
	probe := r.probe(args...)
	var said bytes.Buffer
	probe.Stdout = &said
	err := probe.Run()
	var errno syscall.Errno
	var exit *exec.ExitError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &errno):
		return r.namespacesRefused(errno)
	case errors.As(err, &exit) && said.Len() > 0:
		return strings.TrimSpace(said.String())
	}
	return fmt.Sprintf("the namespaces of the engine cannot be tried: %v", err)
}

// probeMain is what a probe does in the namespaces that were made for it: it says what it
// may not do in there. Its arguments are a state directory and, perhaps, probeProc.
func probeMain(args []string) (status int) {
	err := ownMounts()
	if err == nil && len(args) == 2 && args[1] == probeProc {
		err = ownProc()
	}
	if err == nil && len(args) > 0 {
		err = needOverlay(args[0])
	}
	if err == nil {
		return 0
	}
	var missing *unavailable.Error
	if errors.As(err, &missing) {
		fmt.Println(strings.Join(missing.Missing, "; "))
	}
	return 1
}

// needOverlay refuses a state directory in which files would have to be copied, as one that is
// on the container's own overlayfs. In a container that is no way: in place is faster.
func needOverlay(dir string) error {
	if err := overlayutils.Supported(dir); err != nil {
		return refuse(err, fmt.Sprintf("overlayfs does not work in the state directory %s (%v): use a state directory on ext4 or xfs, such as a volume's", dir, err))
	}
	return nil
}
