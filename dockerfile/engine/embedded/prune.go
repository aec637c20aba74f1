//go:build linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/moby/buildkit/client"
)

// BuildKit collects garbage minutes after a build, and an engine rarely lives that
// long. So it prunes when it ends: not often, and not for long.
const (
	pruneInterval = time.Hour
	pruneTimeout  = time.Second
)

// prune drops records of the cache that nobody used for the time to live. A failure
// leaves the cache larger than it should be, which is worth a message and no more.
func (s *server) prune() {
	ttl := s.order.CacheTTL
	if ttl <= 0 || !s.pruneDue(ttl) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), pruneTimeout)
	defer cancel()
	records := make(chan client.UsageInfo)
	counted := make(chan int)
	go func() {
		n := 0
		for range records {
			n++
		}
		counted <- n
	}()
	err := s.worker.Prune(ctx, records, client.PruneInfo{All: true, KeepDuration: ttl})
	close(records)
	n := <-counted
	if err == nil && n > 0 {
		err = s.cache.ReleaseUnreferenced(ctx)
	}
	if err != nil {
		s.say.log(slog.LevelDebug, fmt.Sprintf("pruning the cache: %v", err))
		return // and try again next time
	}
	s.say.log(slog.LevelDebug, fmt.Sprintf("pruned %d records of the cache, unused for %v", n, ttl))
	if err := os.WriteFile(pruneMark(s.order.StateDir), nil, 0o600); err != nil {
		s.say.log(slog.LevelDebug, fmt.Sprintf("noting that the cache was pruned: %v", err))
	}
}

// pruneDue reports whether the last pruning was long enough ago.
func (s *server) pruneDue(ttl time.Duration) bool {
	info, err := os.Stat(pruneMark(s.order.StateDir))
	if err != nil {
		return true
	}
	return time.Since(info.ModTime()) >= min(pruneInterval, ttl)
}

// isClosed reports whether an error only says that the connection has ended.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
