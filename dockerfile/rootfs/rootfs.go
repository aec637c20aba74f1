// Package rootfs is for a root filesystem that is in use: what changed in it
// between two moments, as a layer, and layers applied onto it while programs run
// from it, this one among them.
//
// A Walk makes an Index of what is there. Two of them tell WriteLayer what an image
// layer has to hold; no file is read to find that out, only to write it. Apply does
// the reverse. Both leave alone what does not belong to the image: mounts, which are
// found in the process's mount table, and the paths that a caller names.
//
// It never mounts, never changes the root directory of the process, and never leaves
// the root that it is given, whatever links are in it. It knows nothing of images: who
// has several layers applies one after the other. And it does not guard against
// programs that change the tree at the same time: an index of a tree that changes is
// of no moment, and so is a layer.
package rootfs

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/continuity/fs"
	"github.com/moby/sys/mountinfo"
)

// places are paths that are left alone, with everything below them. A path here is
// absolute, clean, and seen from the root.
type places struct {
	exact map[string]bool
	// names are the last elements of those paths, by the directory that they are in.
	names map[string]map[string]bool
	// above are all directories that one of them lies in.
	above map[string]bool
}

// leaveAlone finds the places below root that are left alone: every mount, and what
// skip names, each both as it is written and where its links lead.
func leaveAlone(root string, skip []string) (*places, error) {
	p := &places{exact: map[string]bool{}, names: map[string]map[string]bool{}, above: map[string]bool{}}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("find out what is mounted below %s: %w", root, err)
	}
	for _, m := range mounts {
		if at, ok := strings.CutPrefix(m.Mountpoint, strings.TrimSuffix(root, "/")+"/"); ok {
			p.add("/" + at)
		}
	}
	for _, name := range skip {
		p.add(path.Clean("/" + name))
		resolved, err := fs.RootPath(root, name)
		if err != nil {
			return nil, fmt.Errorf("find %s, which is to be left alone, in %s: %w", name, root, err)
		}
		p.add(below(root, resolved))
	}
	return p, nil
}

// below is a path as seen from root, which it begins with.
func below(root, name string) string {
	return path.Clean("/" + strings.TrimPrefix(name, root))
}

func (p *places) add(name string) {
	if name == "/" {
		return
	}
	p.exact[name] = true
	dir := path.Dir(name)
	if p.names[dir] == nil {
		p.names[dir] = map[string]bool{}
	}
	p.names[dir][path.Base(name)] = true
	for ; !p.above[dir]; dir = path.Dir(dir) {
		p.above[dir] = true
	}
}

// openRoot is root without links in it, so that it compares with the mount table.
func openRoot(root string) (string, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("find the root directory %s: %w", root, err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return "", fmt.Errorf("find the root directory %s: %w", root, err)
	}
	return abs, nil
}
