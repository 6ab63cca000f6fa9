package cluster

import (
	"crypto/sha256"

	"gvlan/cluster/store"
)

// Hint says that a mirror of the store should be at Rev or later for a
// record. Its only effect is a read, when the mirror stays behind; the hint
// itself is never applied. It may be lost, doubled, late or out of order: of
// two about the same record only the one of the higher revision matters.
type Hint struct {
	Kind Kind
	ID   ID
	Rev  store.Revision // the record changed at
}

// Kind says which folder of the store an ID belongs to.
type Kind uint8

// Kinds of records that hints name: those whose change others wait for.
const (
	Networks Kind = iota + 1
	Endpoints
	Nodes
)

// kinds are the spans of every Kind.
var kinds = map[Kind]store.Span{
	Networks:  store.NetworksSpan(),
	Endpoints: store.EndpointsSpan(),
	Nodes:     store.NodesSpan(),
}

// kindOf returns the kind of a key; false for one nobody hints at.
func kindOf(key string) (Kind, bool) {
	for kind, span := range kinds {
		if span.Contains(key) {
			return kind, true
		}
	}
	return 0, false
}

// ID names a record in a hint: the first half of the SHA-256 of its key.
type ID [16]byte

// IDOf makes the ID of a store key.
func IDOf(key string) ID {
	sum := sha256.Sum256([]byte(key))
	return ID(sum[:16])
}

// subject identifies what a hint is about.
type subject struct {
	kind Kind
	id   ID
}

func (h Hint) about() subject { return subject{kind: h.Kind, id: h.ID} }
