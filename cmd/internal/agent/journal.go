package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/driver/journal"
	"gvlan/driver/journal/disk"
)

// openJournal opens this host's own memory. One that is damaged is kept under
// another name, and the agent begins without: what runs here it learns again
// from the engine and from the store, which has all of it but the last
// releases.
func openJournal(folder, boot string, log *slog.Logger) (*disk.Journal, error) {
	path := filepath.Join(folder, "journal.db")
	kept, err := disk.Open(path, boot, journal.Readable)
	if !errors.Is(err, disk.ErrDamaged) {
		return kept, err
	}
	aside, asideErr := disk.SetAside(path, time.Now())
	if asideErr != nil {
		return nil, errors.Join(err, asideErr)
	}
	log.Error("the journal is damaged: it is set aside, and what it knew is read again from Docker and the store; nothing that runs is given up", "err", err, "kept", aside)
	return disk.Open(path, boot, journal.Readable)
}

// past keeps what this host remembers of its cluster in the journal.
type past struct{ bucket *disk.Bucket }

// LoadPast implements session.Past. What an older gvlan saved lacks some of it.
func (p past) LoadPast() (known session.Memory, err error) {
	raw := map[string][]byte{}
	for _, key := range []string{"cluster", "revision", "last", "recovery", "newest"} {
		if raw[key], err = p.bucket.Get(key); err != nil && !errors.Is(err, disk.ErrAbsent) {
			return session.Memory{}, err
		}
	}
	number := func(key string) uint64 {
		if len(raw[key]) != 8 {
			return 0
		}
		return binary.BigEndian.Uint64(raw[key])
	}
	return session.Memory{
		Cluster: string(raw["cluster"]), Revision: store.Revision(number("revision")),
		Last: store.Revision(number("last")), Recovery: int64(number("recovery")),
		Newest: newest(raw["newest"]),
	}, nil
}

// newest is a write as SavePast keeps it: its revision, then the node.
func newest(raw []byte) session.Write {
	if len(raw) < 8 {
		return session.Write{}
	}
	return session.Write{Node: string(raw[8:]), At: store.Revision(binary.BigEndian.Uint64(raw))}
}

// SavePast implements session.Past.
func (p past) SavePast(known session.Memory) error {
	number := func(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
	return p.bucket.PutAll(map[string][]byte{
		"cluster":  []byte(known.Cluster),
		"revision": number(int64(known.Revision)),
		"last":     number(int64(known.Last)),
		"recovery": number(known.Recovery),
		"newest":   append(number(int64(known.Newest.At)), known.Newest.Node...),
	})
}

// returned is the last epoch in which this node had taken its addresses again
// after an eviction; 0 for none in this cluster.
func (p past) returned() (int64, error) {
	raw, err := p.bucket.Get("returned")
	if errors.Is(err, disk.ErrAbsent) {
		return 0, nil
	}
	if err != nil || len(raw) < 8 {
		return 0, err
	}
	known, err := p.LoadPast()
	if err != nil || known.Cluster != string(raw[8:]) {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(raw)), nil
}

func (p past) saveReturned(epoch int64, cluster string) error {
	return p.bucket.Put("returned", append(binary.BigEndian.AppendUint64(nil, uint64(epoch)), cluster...))
}

// forget drops what is remembered of a cluster.
func (p past) forget() error { return errors.Join(p.SavePast(session.Memory{}), p.saveReturned(0, "")) }

// claimJournal refuses a journal of another node: what it holds belongs to
// that one, which may live, and a release from it would be taken for its own.
// One that no store was opened with yet holds nothing: its node's name was
// another's, and the node was given a name of its own.
func (p past) claimJournal(node, dataDir string) error {
	had, err := p.bucket.Get("node")
	if err != nil && !errors.Is(err, disk.ErrAbsent) {
		return err
	}
	if string(had) == node {
		return nil
	}
	known, err := p.LoadPast()
	if err != nil {
		return err
	}
	if len(had) > 0 && known.Cluster != "" {
		return fmt.Errorf("--data-dir %s is node %s's, and this agent is node %s: give it an empty folder if this host was copied from that one, or --node-name %s if it is that one",
			dataDir, had, node, had)
	}
	return p.bucket.Put("node", []byte(node))
}
