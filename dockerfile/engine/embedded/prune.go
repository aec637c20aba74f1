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
// long. So it prunes when it ends: by age not often, by size every time, since one build
// can make the cache as large as it likes; and never for long.
const (
	pruneInterval = time.Hour
	pruneTimeout  = time.Second
)

// prune drops records of the cache that nobody used for the time to live, and then those
// that nobody used for longest, until the rest is small enough. A failure leaves the
// cache larger than it should be, which is worth a message and no more.
func (s *server) prune() {
	var policy []client.PruneInfo
	ttl, size := s.order.CacheTTL, s.order.CacheSize
	byAge := ttl > 0 && s.pruneDue(ttl)
	if byAge {
		policy = append(policy, client.PruneInfo{All: true, KeepDuration: ttl})
	}
	if size > 0 {
		policy = append(policy, client.PruneInfo{All: true, MaxUsedSpace: size})
	}
	if len(policy) == 0 {
		return
	}
	n, freed, err := s.pruneBy(policy)
	if err != nil {
		s.say.log(slog.LevelDebug, fmt.Sprintf("pruning the cache, after %d records: %v", n, err))
		return // and try again next time
	}
	s.say.log(slog.LevelDebug, fmt.Sprintf("pruned %d records of the cache, %d bytes", n, freed))
	if !byAge {
		return
	}
	if err := os.WriteFile(pruneMark(s.order.StateDir), nil, 0o600); err != nil {
		s.say.log(slog.LevelDebug, fmt.Sprintf("noting that the cache was pruned: %v", err))
	}
}

// pruneBy prunes by a policy, and returns how many records that took and what they held.
func (s *server) pruneBy(policy []client.PruneInfo) (n int, freed int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), pruneTimeout)
	defer cancel()
	records := make(chan client.UsageInfo)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for record := range records {
			n++
			freed += record.Size
		}
	}()
	err = s.worker.Prune(ctx, records, policy...)
	close(records)
	<-counted
	if err == nil && n > 0 {
		err = s.cache.ReleaseUnreferenced(ctx)
	}
	return n, freed, err
}

// pruneDue reports whether the last pruning was long enough ago. One in the future tells
// that the clock was set back, and nothing of when it was.
func (s *server) pruneDue(ttl time.Duration) bool {
	info, err := os.Stat(pruneMark(s.order.StateDir))
	if err != nil {
		return true
	}
	age := time.Since(info.ModTime())
	return age < 0 || age >= min(pruneInterval, ttl)
}

// isClosed reports whether an error only says that the connection has ended.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
