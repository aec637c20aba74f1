//go:build linux

package inplace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// recordName is the file at the top of the root filesystem that tells what was done to
// it. It lives and dies with the container, and is part of no layer.
const recordName = ".graft-root"

// record says which state a root filesystem is in.
type record struct {
	// Base is the digest of the base image's manifest.
	Base digest.Digest `json:"base"`
	// Applied are the diffIDs of the layers that are on it, lowest first.
	Applied []digest.Digest `json:"applied"`
	// Unfinished: something was about to change it, and has not ended well.
	Unfinished bool `json:"unfinished"`
}

// errUnfinished is told of a root that an earlier run has left half changed.
var errUnfinished = errors.New("an earlier run has not ended well here and has left the root filesystem half changed: start again in a new container")

// readRecord reads the record of a root; a root without one is the base. A record that
// cannot be read was being written when something ended it.
func readRecord(dir string) (record, error) {
	data, err := os.ReadFile(filepath.Join(dir, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("read what was done to the root filesystem: %w", err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil || r.Unfinished {
		return record{}, errUnfinished
	}
	return r, nil
}

// save notes a new state. The caller holds the lock.
func (r *root) save(now record) error {
	data, err := json.Marshal(now)
	if err == nil {
		err = os.WriteFile(filepath.Join(r.dir, recordName), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("note what is done to the root filesystem: %w", err)
	}
	r.record = record{Base: now.Base, Applied: now.Applied}
	return nil
}

// belongsTo refuses a root that another base was extended on.
func (r record) belongsTo(base digest.Digest) error {
	if r.Base == "" || r.Base == base || len(r.Applied) == 0 {
		return nil
	}
	return fmt.Errorf("this container was extended already, on the base image %s, and not on %s: start a new container", r.Base, base)
}
