package chain

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graft-cnb/graft/dockerfile/internal/decompress"
	"github.com/graft-cnb/graft/dockerfile/result"
)

const passwdFile = "/etc/passwd"

// maxPasswd bounds what is read of a file with accounts.
const maxPasswd = 16 << 20

// errManyLinks ends a search that links lead in a circle.
var errManyLinks = errors.New("too many symbolic links")

// possible tells whether a user or a group can have the number. Runtimes have cut larger
// ones to 32 bits, and made some of them root.
func possible(number int) bool { return number >= 0 && number <= math.MaxInt32 }

// checkAccounts judges numbers once there are the added layers: runtimes look for an
// account of that *name* before they take a number for one. A chain without a layer cannot
// have made such an account.
func (b *batch) checkAccounts(ctx context.Context) error {
	for _, r := range b.runs {
		if err := r.checkNumber(ctx); err != nil {
			r.failed = true
			return err
		}
	}
	return nil
}

// checkNumber reads /etc/passwd in the added layers, which are at hand; to ask the engine
// could mean to pull the base for nothing else. What they leave as it is in the base is not
// judged.
func (r *run) checkNumber(ctx context.Context) error {
	name := r.plan.userName()
	if !r.plan.checksUser || !isNumber(name) {
		return nil
	}
	passwd, err := addedFile(ctx, r.added, passwdFile)
	if err != nil {
		return fmt.Errorf("look for an account of the name %q in the extended image: %w", name, err)
	}
	uid, found, err := parseName(passwd, passwdFile, name)
	if err != nil || !found {
		return err
	}
	return r.checkAccount(r.plan, uid)
}

// addedFile is the content of a file in the topmost of the layers that says anything of
// it; nil if there is none. Links are followed, as far as the layers hold them.
func addedFile(ctx context.Context, layers []result.Layer, name string) ([]byte, error) {
	top := len(layers) - 1
	for range 40 {
		found := false
		for n := top; n >= 0 && !found; n-- {
			var e entry
			var err error
			if e, found, err = layerEntry(ctx, layers[n], name); err != nil {
				return nil, err
			}
			switch {
			case !found:
			case e.link != "": // another name of what is in the same layer, or below
				name, top = e.link, n
			case e.symlink != "":
				name, top = e.symlink, len(layers)-1
			default:
				return e.content, nil
			}
		}
		if !found {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", name, errManyLinks)
}

// entry is what a layer says of a path: a file's content, or where to look instead;
// nothing of that if it is not there any more.
type entry struct {
	content       []byte
	link, symlink string
}

// layerEntry finds out what a layer says of a path, if anything.
func layerEntry(ctx context.Context, l result.Layer, name string) (e entry, found bool, err error) {
	f, err := os.Open(l.Path)
	if err != nil {
		return entry{}, false, err
	}
	defer f.Close()
	var in io.Reader = f
	if l.Type != types.OCIUncompressedLayer { // of a plain one only headers are read
		unpacked, err := decompress.Stream(f)
		if err != nil {
			return entry{}, false, err
		}
		defer unpacked.Close()
		in = unpacked
	}
	hidden := false // by this layer, unless it also has another
	for files := tar.NewReader(in); ; {
		if err := ctx.Err(); err != nil {
			return entry{}, false, err
		}
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return e, found || hidden, nil
		}
		if err != nil {
			return entry{}, false, fmt.Errorf("read layer %s: %w", l.Blob, err)
		}
		if hides(path.Clean("/"+h.Name), name) {
			hidden = true
			continue
		}
		one, is, err := tarEntry(files, h, name)
		if err != nil {
			return entry{}, false, fmt.Errorf("read layer %s: %w", l.Blob, err)
		}
		if is {
			e, found = one, true
		}
	}
}

// hides tells whether an entry of a layer is a whiteout of a path, or of a directory in
// which it is.
func hides(entry, name string) bool {
	gone, ok := strings.CutPrefix(path.Base(entry), ".wh.")
	if !ok {
		return false
	}
	at := path.Dir(entry)
	if gone != ".wh..opq" {
		at = path.Join(at, gone)
	}
	return at == name || strings.HasPrefix(name, strings.TrimSuffix(at, "/")+"/")
}

// tarEntry is what an entry of a tar file says of a path: itself, or a directory in which
// it is.
func tarEntry(r io.Reader, h *tar.Header, name string) (e entry, is bool, err error) {
	at := path.Clean("/" + h.Name)
	switch {
	case at == name && h.Typeflag == tar.TypeReg:
		e.content, err = io.ReadAll(io.LimitReader(r, maxPasswd+1))
		if len(e.content) > maxPasswd {
			err = fmt.Errorf("%s is larger than %d bytes", name, maxPasswd)
		}
	case at == name && h.Typeflag == tar.TypeLink:
		e.link = path.Clean("/" + h.Linkname)
	case h.Typeflag == tar.TypeSymlink && (at == name || strings.HasPrefix(name, at+"/")):
		to := h.Linkname
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(at), to)
		}
		e.symlink = path.Join("/", to, strings.TrimPrefix(name, at))
	default:
		return entry{}, at == name, nil
	}
	return e, true, err
}
