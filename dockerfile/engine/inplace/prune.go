//go:build linux

package inplace

import "github.com/graft-cnb/graft/dockerfile/engine/internal/pruning"

// prune makes the cache as small as the options say.
func (e *Engine) prune() {
	pruning.Cache{
		State:   e.state,
		TTL:     e.opts.CacheTTL,
		Size:    e.opts.CacheSize,
		Drop:    e.server.worker.Prune,
		Release: e.server.cache.ReleaseUnreferenced,
		Debug:   e.opts.debug,
	}.Prune()
}
