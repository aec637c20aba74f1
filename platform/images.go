package platform

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// ExtendImage is an image to extend.
type ExtendImage struct {
	// Kind is "build" or "run".
	Kind string
	// Base stands in for the reference in analyzed.toml when it is not empty.
	Base string
	// Outputs are destinations of the whole image besides <extended>.
	Outputs []string
	// CacheFrom and CacheTo are caches that the engine takes from and gives to, as
	// buildctl has them.
	CacheFrom, CacheTo []string
}

// imageKinds are the kinds, in the order in which images are told of.
var imageKinds = []string{"build", "run"}

// extendImages are the images that -kind names, with their -base and -output.
func extendImages(v *values) []ExtendImage {
	kinds := splitList(v.text("kind"))
	for n, kind := range kinds {
		switch {
		case !slices.Contains(imageKinds, kind):
			v.fail(fmt.Errorf("%s: %q is not one of build, run or build,run", v.source["kind"], kind))
		case slices.Contains(kinds[:n], kind):
			v.fail(fmt.Errorf("%s: %s is named twice", v.source["kind"], kind))
		}
	}
	if len(kinds) == 0 {
		v.fail(fmt.Errorf("%s: it names no image: write build, run or build,run", v.source["kind"]))
	}
	slices.Sort(kinds)
	bases, outputs := v.byKind("base", kinds), v.byKind("output", kinds)
	from, to := v.forEachKind("cache-from", kinds, anyCache), v.forEachKind("cache-to", kinds, inlineCache)
	var images []ExtendImage
	for _, kind := range kinds {
		image := ExtendImage{Kind: kind, Outputs: outputs[kind], CacheFrom: from[kind], CacheTo: to[kind]}
		switch given := slices.Compact(bases[kind]); {
		case len(given) == 1:
			image.Base = given[0]
		case len(given) > 1:
			v.fail(fmt.Errorf("%s: the %s image has one base, and %q is another than %q", v.source["base"], kind, given[1], given[0]))
		}
		for _, output := range image.Outputs {
			if err := checkOutput(output); err != nil {
				v.fail(fmt.Errorf("%s: %q is no destination: %w", v.source["output"], output, err))
			}
		}
		images = append(images, image)
	}
	return images
}

// nextKind is where an item of a list ends and one of a kind begins.
var nextKind = regexp.MustCompile(`,\s*(build|run)=`)

// byKind takes the items of an input apart that say build=ITEM or run=ITEM; where there
// is only one kind, they need not. What a variable says of another kind is for
// other calls.
func (v *values) byKind(flag string, kinds []string) map[string][]string {
	var items []string
	for _, item := range v.many[flag] {
		for at := nextKind.FindStringIndex(item); at != nil; at = nextKind.FindStringIndex(item) {
			items = append(items, item[:at[0]])
			item = item[at[0]+1:]
		}
		items = append(items, item)
	}
	all := map[string][]string{}
	for _, item := range items {
		item = strings.TrimSpace(item)
		kind, rest, ok := strings.Cut(item, "=")
		switch {
		case !ok || !slices.Contains(imageKinds, kind):
			if len(kinds) != 1 {
				v.fail(fmt.Errorf("%s: %q is for which image? With -kind build,run write build=%s or run=%s", v.source[flag], item, item, item))
				continue
			}
			kind, rest = kinds[0], item
		case rest == "":
			v.fail(fmt.Errorf("%s: %q names nothing", v.source[flag], item))
		case !slices.Contains(kinds, kind):
			if v.source[flag] == "-"+flag {
				v.fail(fmt.Errorf("%s: %q is for the %s image, which -kind does not name", v.source[flag], item, kind))
			}
		}
		all[kind] = append(all[kind], rest)
	}
	return all
}

// forEachKind is byKind, where an item that is shared need not say a kind: it is for
// every one.
func (v *values) forEachKind(flag string, kinds []string, shared func(item string) bool) map[string][]string {
	var own []string
	all := map[string][]string{}
	for n, item := range v.many[flag] {
		kind, _, _ := strings.Cut(item, "=")
		switch {
		case slices.Contains(imageKinds, kind):
			own = append(own, item)
		case len(kinds) > 1 && !shared(item):
			// Without the item, which may hold credentials.
			v.fail(fmt.Errorf("%s: number %d is for which image? With -kind build,run write build=CACHE or run=CACHE", v.source[flag], n+1))
		default:
			for _, kind := range kinds {
				all[kind] = append(all[kind], item)
			}
		}
	}
	v.many[flag] = own
	for kind, items := range v.byKind(flag, kinds) {
		all[kind] = append(all[kind], items...)
	}
	return all
}

// anyCache: many can read what one has written.
func anyCache(string) bool { return true }

// inlineCache tells whether a cache is a part of its image; two images that are written to
// one place would each be all that there is.
func inlineCache(item string) bool { return slices.Contains(strings.Split(item, ","), "type=inline") }

// checkOutput accepts the destinations of a form that there is.
func checkOutput(output string) error {
	kind, where, _ := strings.Cut(output, ":")
	switch {
	case (kind == "oci" || kind == "oci-archive") && where != "":
		return nil
	case kind == "registry":
		ref, err := name.ParseReference(where, name.WeakValidation)
		if _, byDigest := ref.(name.Digest); err == nil && byDigest {
			return errors.New("nobody knows the digest of the image before it is made; name a tag, or none")
		}
		return err
	case kind == "docker":
		_, err := name.NewTag(where, name.WeakValidation)
		return err
	}
	return errors.New("write oci:DIR, oci-archive:FILE, registry:REFERENCE or docker:NAME")
}
