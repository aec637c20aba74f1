package main

import (
	"fmt"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
	"github.com/graft-cnb/graft/dockerfile/engine"
	"github.com/graft-cnb/graft/platform"
)

// caches are those that each image may take from and gives to. One that an engine of our
// own does not know is bad usage; a remote engine knows for itself.
func caches(in platform.ExtenderInputs) (from, to map[dockerfile.Kind][]chain.Cache, err error) {
	from, to = map[dockerfile.Kind][]chain.Cache{}, map[dockerfile.Kind][]chain.Cache{}
	var takes, gives []string // the types that are known; none for any
	if len(in.BuildKit) == 0 {
		takes, gives = engine.CacheImports(), engine.CacheExports()
	}
	for _, image := range in.Images {
		kind := dockerfile.Kind(image.Kind)
		if from[kind], err = chain.ParseCacheFrom(image.CacheFrom, takes); err != nil {
			return nil, nil, platform.WithCode(platform.CodeUsage, fmt.Errorf("-cache-from: %w", err))
		}
		if to[kind], err = chain.ParseCacheTo(image.CacheTo, gives); err != nil {
			return nil, nil, platform.WithCode(platform.CodeUsage, fmt.Errorf("-cache-to: %w", err))
		}
	}
	return from, to, nil
}
