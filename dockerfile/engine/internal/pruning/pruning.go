// Package pruning keeps the cache of an engine of this program small. BuildKit collects
// garbage minutes after a build, and such an engine rarely lives that long: so it prunes
// when it ends. It drops what nobody used, and never what a build uses.
package pruning

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/buildkit/client"
)

// By age it is done not often, by size every time, since one build can make the cache as
// large as it likes; and never for long.
const (
	interval = time.Hour
	timeout  = time.Second
)

// Mark is the file in a state directory whose time says when the cache was last pruned by
// age.
func Mark(state string) string { return filepath.Join(state, "pruned") }

// Cache is a cache that can be pruned.
type Cache struct {
	// State is the state directory that it is in.
	State string
	// TTL is the age from which records that nobody used are dropped, and Size what the
	// cache may hold then, in bytes. Zero: any.
	TTL  time.Duration
	Size int64
	// Drop is BuildKit's pruning: it drops records by a policy and sends each.
	Drop func(ctx context.Context, dropped chan client.UsageInfo, policy ...client.PruneInfo) error
	// Release forgets what was cached by records that are gone.
	Release func(context.Context) error
	// Debug gets what there is to say.
	Debug func(message string)
}

// Prune drops records that nobody used for the time to live, and then those that nobody
// used for longest, until the rest is small enough. A failure leaves the cache larger
// than it should be, which is worth a message and no more.
func (c Cache) Prune() {
	var policy []client.PruneInfo
	byAge := c.TTL > 0 && c.due()
	if byAge {
		policy = append(policy, client.PruneInfo{All: true, KeepDuration: c.TTL})
	}
	if c.Size > 0 {
		policy = append(policy, client.PruneInfo{All: true, MaxUsedSpace: c.Size})
	}
	if len(policy) == 0 {
		return
	}
	n, freed, err := c.by(policy)
	if err != nil {
		c.Debug(fmt.Sprintf("pruning the cache, after %d records: %v", n, err))
		return // and try again next time
	}
	c.Debug(fmt.Sprintf("pruned %d records of the cache, %d bytes", n, freed))
	if !byAge {
		return
	}
	if err := os.WriteFile(Mark(c.State), nil, 0o600); err != nil {
		c.Debug(fmt.Sprintf("noting that the cache was pruned: %v", err))
	}
}

// by prunes by a policy, and returns how many records that took and what they held.
func (c Cache) by(policy []client.PruneInfo) (n int, freed int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
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
	err = c.Drop(ctx, records, policy...)
	close(records)
	<-counted
	if err == nil && n > 0 {
		err = c.Release(ctx)
	}
	return n, freed, err
}

// due reports whether the last pruning by age was long enough ago. One in the future tells
// that the clock was set back, and nothing of when it was.
func (c Cache) due() bool {
	info, err := os.Stat(Mark(c.State))
	if err != nil {
		return true
	}
	age := time.Since(info.ModTime())
	return age < 0 || age >= min(interval, c.TTL)
}
