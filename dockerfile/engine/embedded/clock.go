//go:build linux

package embedded

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/buildkit/cache/metadata"
	"go.etcd.io/bbolt"
)

// recordsFile is the database with the records of a worker's cache.
const recordsFile = "metadata_v2.db"

// lastUse is the name under which BuildKit keeps a record's last use, in nanoseconds
// since 1970.
const lastUse = "cache.lastUsedAt"

// clockSlack is by how much two looks at the clock may differ without meaning anything.
const clockSlack = time.Minute

// wroteInFuture reports whether a worker's records were last written at a time that has
// not come: the clock has been set back since.
func wroteInFuture(worker string) bool {
	info, err := os.Stat(filepath.Join(worker, recordsFile))
	return err == nil && info.ModTime().After(time.Now().Add(clockSlack))
}

// mendLastUse has records whose last use lies in the future count as used now, or they
// would be kept until long after that time has come. BuildKit must not have read them
// yet.
func mendLastUse(records *metadata.Store, say *messenger) error {
	all, err := records.All()
	if err != nil {
		return fmt.Errorf("reading the records of the cache: %w", err)
	}
	now, mended := time.Now(), 0
	for _, record := range all {
		var used int64
		value := record.Get(lastUse)
		if value == nil || value.Unmarshal(&used) != nil || time.Unix(0, used).Before(now.Add(clockSlack)) {
			continue
		}
		value, err := metadata.NewValue(now.UnixNano())
		if err != nil {
			return fmt.Errorf("mending a record of the cache: %w", err)
		}
		if err := record.Update(func(b *bbolt.Bucket) error { return record.SetValue(b, lastUse, value) }); err != nil {
			return fmt.Errorf("mending a record of the cache: %w", err)
		}
		mended++
	}
	say.log(slog.LevelDebug, fmt.Sprintf("the clock was set back: %d records of the cache, used in the future, count as used now", mended))
	return nil
}
