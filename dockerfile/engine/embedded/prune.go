//go:build linux

package embedded

import (
	"errors"
	"log/slog"
	"net"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/pruning"
)

// prune makes the cache as small as the order says.
func (s *server) prune() {
	pruning.Cache{
		State:   s.order.StateDir,
		TTL:     s.order.CacheTTL,
		Size:    s.order.CacheSize,
		Drop:    s.worker.Prune,
		Release: s.cache.ReleaseUnreferenced,
		Debug:   func(message string) { s.say.log(slog.LevelDebug, message) },
	}.Prune()
}

// isClosed reports whether an error only says that the connection has ended.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
