package chain

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/client"
	buildctl "github.com/moby/buildkit/cmd/buildctl/build"
)

// Cache is a place from which an engine takes what another has made, or to which it
// gives what it made itself: a type, and attributes that depend on it.
type Cache = client.CacheOptionsEntry

// Types of caches that are known here. An engine may know more.
const (
	cacheRegistry = "registry"
	cacheLocal    = "local"
	cacheInline   = "inline"
)

// ParseCacheFrom reads places to take from, as buildctl's --import-cache has them:
// "type=registry,ref=REFERENCE", "type=local,src=DIR" or another type with its
// attributes; a reference alone stands for a registry. Types other than those of known are
// refused, unless that is nil. Errors tell which one is wrong, and no attributes, since some
// are credentials.
func ParseCacheFrom(values, known []string) ([]Cache, error) {
	return parseCaches(values, known, buildctl.ParseImportCache, map[string]string{cacheRegistry: "ref", cacheLocal: "src"})
}

// ParseCacheTo reads places to give to, as buildctl's --export-cache has them:
// "type=registry,ref=REFERENCE", "type=local,dest=DIR", "type=inline" or another type
// with its attributes; a reference alone stands for a registry. Known and errors are as with
// ParseCacheFrom.
func ParseCacheTo(values, known []string) ([]Cache, error) {
	all, err := parseCaches(values, known, buildctl.ParseExportCache, map[string]string{cacheRegistry: "ref", cacheLocal: "dest"})
	for n, c := range all {
		// What else there is for a type that is not known here, a remote engine knows.
		ours := c.Type == cacheRegistry || c.Type == cacheLocal || c.Type == cacheInline
		if mode := c.Attrs["mode"]; ours && mode != "min" && mode != "max" {
			return nil, fmt.Errorf("number %d: the mode of a cache is min or max", n+1)
		}
		if c.Type == cacheRegistry && strings.Contains(c.Attrs["ref"], "@") {
			return nil, fmt.Errorf("number %d: a cache is written to a tag, and its digest is not known before", n+1)
		}
	}
	return all, err
}

// parseCaches reads with BuildKit's parser, and asks for the attribute without which a
// cache of some type is nowhere.
func parseCaches(values, known []string, parse func([]string) ([]Cache, error), needs map[string]string) ([]Cache, error) {
	var all []Cache
	for n, value := range values {
		if !strings.Contains(value, "type=") {
			// The parser does the same, and writes a warning to the log of the process.
			value = "type=" + cacheRegistry + ",ref=" + value
		}
		// The parser looks for what a type needs before anybody asks whether there is any.
		if err := checkType(plainType(value), known); err != nil {
			return nil, fmt.Errorf("number %d: %w", n+1, err)
		}
		parsed, err := parse([]string{value})
		if err != nil {
			// The parser's error may repeat what it did not understand.
			return nil, fmt.Errorf("number %d: %w", n+1, errors.Join(errCacheForm, hidden(err, value)))
		}
		for _, c := range parsed {
			if err := checkType(c.Type, known); err != nil {
				return nil, fmt.Errorf("number %d: %w", n+1, err)
			}
			if key, known := needs[c.Type]; known && c.Attrs[key] == "" {
				return nil, fmt.Errorf("number %d: a cache of type %s needs %s=", n+1, c.Type, key)
			}
			if c.Type != cacheRegistry {
				continue
			}
			if _, err := name.ParseReference(c.Attrs["ref"]); err != nil {
				return nil, fmt.Errorf("number %d: %w, and no reference to an image either", n+1, errCacheForm)
			}
		}
		all = append(all, parsed...)
	}
	return all, nil
}

// checkType refuses a type that is not known, unless any may be.
func checkType(kind string, known []string) error {
	if kind == "" || known == nil || slices.Contains(known, kind) {
		return nil
	}
	return fmt.Errorf("the extender's own engine has no cache of type %q; it has %s (others need a BuildKit daemon that has them, and -buildkit)",
		kind, strings.Join(known, ", "))
}

// plainType is the type that a value names if it has no quotes; empty if it names none.
func plainType(value string) string {
	for _, field := range strings.Split(value, ",") {
		if key, kind, _ := strings.Cut(field, "="); strings.EqualFold(key, "type") {
			return kind
		}
	}
	return ""
}

var errCacheForm = errors.New("this is not of the form type=TYPE,KEY=VALUE")

// hidden is an error of the parser, unless it shows a part of the value.
func hidden(err error, value string) error {
	for _, field := range strings.Split(value, ",") {
		if _, v, ok := strings.Cut(field, "="); !ok || v != "" && strings.Contains(err.Error(), v) {
			return nil
		}
	}
	return err
}

// cacheName names a cache without what might be secret of it.
func cacheName(c Cache) string {
	switch c.Type {
	case cacheRegistry:
		return c.Attrs["ref"]
	case cacheLocal:
		return c.Attrs["src"] + c.Attrs["dest"]
	}
	return "of type " + c.Type
}
