package base

import (
	"fmt"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// selection says which image of a layout is meant. The zero value: the only one for the
// platform.
type selection struct {
	// name is its org.opencontainers.image.ref.name in the layout's index.
	name string
	// digest is that of its manifest, or of the index that it is in.
	digest v1.Hash
}

// selected takes DIR:NAME and DIR@sha256:HEX apart, where DIR is what exists tells. What
// exists as a whole, or not at all, is no more than a path.
func selected(source string, exists func(path string) bool) (path string, sel selection, err error) {
	if exists(source) {
		return source, sel, nil
	}
	if dir, hex, ok := cutLast(source, "@sha256:"); ok && exists(dir) {
		sel.digest, err = v1.NewHash("sha256:" + hex)
		if err != nil {
			return "", sel, fmt.Errorf("sha256:%s is no digest: %w", hex, err)
		}
		return dir, sel, nil
	}
	// A name may have colons in it, and so may a path: the longest one counts.
	for end := strings.LastIndex(source, ":"); end > 0; end = strings.LastIndex(source[:end], ":") {
		if exists(source[:end]) {
			return source[:end], selection{name: source[end+1:]}, nil
		}
	}
	return source, sel, nil
}

func cutLast(s, separator string) (before, after string, found bool) {
	at := strings.LastIndex(s, separator)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+len(separator):], true
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// pickSelected returns the image of a layout that is meant: by name or digest, or else the
// only one, whatever its platform, or else the only one for the platform. prefix and path are
// those of the layout, for messages.
func pickSelected(index v1.ImageIndex, sel selection, want ocispecs.Platform, prefix, path string) (v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("parse index: %w", err)
	}
	all := distinct(images(manifest.Manifests))
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: the index is empty", ErrNoImage)
	}
	meant := all
	switch {
	case sel.digest != (v1.Hash{}):
		img, err := byDigest(index, all, sel.digest, want, 0)
		if err != nil || img != nil {
			return img, err
		}
		return nil, fmt.Errorf("%w: it has no image %s, but these:%s", ErrNotFound, sel.digest, listed(all))
	case sel.name != "":
		meant = slices.DeleteFunc(images(manifest.Manifests), func(d v1.Descriptor) bool { return d.Annotations[ocispecs.AnnotationRefName] != sel.name })
		if meant = distinct(meant); len(meant) == 0 {
			return nil, fmt.Errorf("%w: it has no image with the name %q (%s), but these:%s", ErrNotFound, sel.name, ocispecs.AnnotationRefName, listed(all))
		}
	}
	found, err := candidates(index, meant, want, 0, len(meant))
	if err != nil {
		return nil, err
	}
	// Others of another variant of the platform are no reason to ask.
	first := found[0]
	same := slices.DeleteFunc(found, func(c candidate) bool { return c.platform != first.platform })
	if len(same) > 1 {
		var descriptors []v1.Descriptor
		for _, c := range same {
			descriptors = append(descriptors, c.desc)
		}
		return nil, fmt.Errorf("%w: it has %d images for %s; say which with %s%s:NAME or %s%s@sha256:DIGEST:%s",
			ErrAmbiguous, len(same), first.platform, prefix, path, prefix, path, listed(descriptors))
	}
	return first.open()
}

// distinct leaves out descriptors of what another is of, too: names are many for one image.
func distinct(all []v1.Descriptor) []v1.Descriptor {
	var out []v1.Descriptor
	for _, desc := range all {
		if !slices.ContainsFunc(out, func(d v1.Descriptor) bool { return d.Digest == desc.Digest }) {
			out = append(out, desc)
		}
	}
	return out
}

// byDigest finds the image, or the index with an image for the platform, that has a digest;
// nil if there is none.
func byDigest(index v1.ImageIndex, all []v1.Descriptor, digest v1.Hash, want ocispecs.Platform, depth int) (v1.Image, error) {
	for _, desc := range all {
		if desc.Digest == digest {
			return open(index, desc, want, depth)
		}
	}
	if depth > maxIndexDepth {
		return nil, nil
	}
	for _, desc := range all {
		if !desc.MediaType.IsIndex() {
			continue
		}
		inner, err := index.ImageIndex(desc.Digest)
		if err != nil {
			continue // it need not be there as long as it is not meant
		}
		manifest, err := inner.IndexManifest()
		if err != nil {
			continue
		}
		if img, err := byDigest(inner, images(manifest.Manifests), digest, want, depth+1); img != nil || err != nil {
			return img, err
		}
	}
	return nil, nil
}

// listed names images of a layout, each in a line.
func listed(all []v1.Descriptor) string {
	var b strings.Builder
	for _, desc := range all {
		fmt.Fprintf(&b, "\n  %s", desc.Digest)
		if name := desc.Annotations[ocispecs.AnnotationRefName]; name != "" {
			fmt.Fprintf(&b, " %s", name)
		}
		if desc.Platform != nil {
			fmt.Fprintf(&b, " (%s)", desc.Platform)
		}
	}
	return b.String()
}
