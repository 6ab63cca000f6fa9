package agent

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"gvlan/driver/journal"
)

// The journal's buckets whose values are JSON. The others hold plain words,
// of which any is readable.
const (
	addressBucket  = "addresses"
	networkBucket  = "networks"
	endpointBucket = "endpoints"
)

// readable reports whether a value can be one of the journal's bucket.
func readable(bucket string, value []byte) bool {
	return !slices.Contains([]string{addressBucket, networkBucket, endpointBucket}, bucket) || json.Valid(value)
}

// openJournal opens this host's own memory. One that is damaged is kept under
// another name, and the agent begins without: what runs here it learns again
// from the engine and from the store, which has all of it but the last
// releases.
func (p *parts) openJournal() (err error) {
	path := filepath.Join(p.config.DataDir, "journal.db")
	p.journal, err = journal.Open(path, readable)
	if !errors.Is(err, journal.ErrDamaged) {
		return err
	}
	aside, asideErr := journal.SetAside(path, time.Now())
	if asideErr != nil {
		return errors.Join(err, asideErr)
	}
	p.log.Error("the journal is damaged: it is set aside, and what it knew is read again from Docker and the store; nothing that runs is given up", "error", err, "kept", aside)
	p.journal, err = journal.Open(path, readable)
	return err
}
