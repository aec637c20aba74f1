//go:build linux

package embedded

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The files that say which ids newuidmap and newgidmap may map for whom (subuid(5)).
const (
	subUIDFile = "/etc/subuid"
	subGIDFile = "/etc/subgid"
)

// idRange is a range of subordinate ids.
type idRange struct{ start, count uint64 }

// subordinateIDs reads the ranges of a user, who is named by login name or by uid.
// It fails when there is none.
func subordinateIDs(file, user string, uid int) ([]idRange, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("no subordinate ids for the user %s: %w", user, err)
	}
	defer f.Close()
	var ranges []idRange
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 || fields[0] != user && fields[0] != strconv.Itoa(uid) {
			continue
		}
		start, err1 := strconv.ParseUint(fields[1], 10, 32)
		count, err2 := strconv.ParseUint(fields[2], 10, 32)
		if err1 != nil || err2 != nil || count == 0 {
			continue // newuidmap ignores such lines as well
		}
		ranges = append(ranges, idRange{start, count})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("no subordinate ids for the user %s: reading %s: %w", user, file, err)
	}
	if len(ranges) == 0 {
		return nil, fmt.Errorf("%s has no range of subordinate ids for the user %s", file, user)
	}
	return ranges, nil
}
