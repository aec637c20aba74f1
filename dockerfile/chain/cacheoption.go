package chain

import (
	"errors"
	"fmt"
	"strings"

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
// attributes; a reference alone stands for a registry. Errors tell which one is wrong,
// and no attributes, since some are credentials.
func ParseCacheFrom(values []string) ([]Cache, error) {
	return parseCaches(values, buildctl.ParseImportCache, map[string]string{cacheRegistry: "ref", cacheLocal: "src"})
}

// ParseCacheTo reads places to give to, as buildctl's --export-cache has them:
// "type=registry,ref=REFERENCE", "type=local,dest=DIR", "type=inline" or another type
// with its attributes; a reference alone stands for a registry.
func ParseCacheTo(values []string) ([]Cache, error) {
	return parseCaches(values, buildctl.ParseExportCache, map[string]string{cacheRegistry: "ref", cacheLocal: "dest"})
}

// parseCaches reads with BuildKit's parser, and asks for the attribute without which a
// cache of some type is nowhere.
func parseCaches(values []string, parse func([]string) ([]Cache, error), needs map[string]string) ([]Cache, error) {
	var all []Cache
	for n, value := range values {
		if !strings.Contains(value, "type=") {
			// The parser does the same, and writes a warning to the log of the process.
			value = "type=" + cacheRegistry + ",ref=" + value
		}
		parsed, err := parse([]string{value})
		if err != nil {
			// The parser's error may repeat what it did not understand.
			return nil, fmt.Errorf("number %d: %w", n+1, errors.Join(errCacheForm, hidden(err, value)))
		}
		for _, c := range parsed {
			if key, known := needs[c.Type]; known && c.Attrs[key] == "" {
				return nil, fmt.Errorf("number %d: a cache of type %s needs %s=", n+1, c.Type, key)
			}
		}
		all = append(all, parsed...)
	}
	return all, nil
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
