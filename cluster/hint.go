package cluster

import (
	"crypto/sha256"
	"net/netip"

	"gvlan/cluster/store"
)

// Hint is one of Changed, Withdraw, Moved, Probe and Seen. A hint may be
// lost, doubled, late or out of order, so each carries a revision (or a
// nonce) and its effect is idempotent and commutative: the newest wins.
type Hint interface {
	// about names what the hint is about: of two hints about the same thing
	// only the one of the higher rank matters.
	about() subject
	rank() uint64
}

// subject identifies what a hint is about.
type subject struct {
	kind hintKind
	sub  Kind
	id   [16]byte
}

// Kind says which folder of the store an ID belongs to.
type Kind uint8

// Kinds of objects that hints name.
const (
	Networks Kind = iota + 1
	Endpoints
	Leases
	Nodes
)

// ID names a record in a hint: the first half of the SHA-256 of its key.
type ID [16]byte

// IDOf makes the ID of a store key.
func IDOf(key string) ID {
	sum := sha256.Sum256([]byte(key))
	return ID(sum[:16])
}

// Changed says that a mirror should be at Rev or later for this record. Its
// only effect is a read, when the mirror is behind; the hint itself is never
// applied.
type Changed struct {
	Kind Kind
	ID   ID
	Rev  store.Revision
}

// Withdraw says that an endpoint was deleted or moved at Rev. Its only
// effect is that answers which name Addr from before Rev are held back for at
// most ten seconds, or until the mirror has reached Rev.
type Withdraw struct {
	Endpoint ID
	Addr     netip.Addr
	Rev      store.Revision
}

// Moved says that Addr is now behind MAC. Its only effect is that a
// neighbour entry of the host is dropped.
type Moved struct {
	Addr netip.Addr
	MAC  [6]byte
	Rev  store.Revision
}

// Probe asks a node whether it sees Addr on one of its parents. It is sent
// to one node and answered with Seen.
type Probe struct {
	Nonce  uint64
	Parent ParentID
	Addr   netip.Addr
}

// Seen answers a Probe.
type Seen struct {
	Nonce  uint64
	Addr   netip.Addr
	Answer Answer
}

// ParentID names a parent interface in a Probe: the first 8 bytes of the
// SHA-256 of its name.
type ParentID [8]byte

// ParentIDOf makes the ParentID of an interface name.
func ParentIDOf(name string) ParentID {
	sum := sha256.Sum256([]byte(name))
	return ParentID(sum[:8])
}

// Answer is what a probed node saw.
type Answer uint8

const (
	// Unknown: the node could not look.
	Unknown Answer = iota
	// Silent: nothing answered for the address.
	Silent
	// Answered: something has the address.
	Answered
)

func (h Changed) about() subject  { return subject{kind: kindChanged, sub: h.Kind, id: h.ID} }
func (h Withdraw) about() subject { return subject{kind: kindWithdraw, id: h.Endpoint} }
func (h Moved) about() subject    { return subject{kind: kindMoved, id: h.Addr.As16()} }
func (h Probe) about() subject    { return subject{kind: kindProbe, id: nonceID(h.Nonce)} }
func (h Seen) about() subject     { return subject{kind: kindSeen, id: nonceID(h.Nonce)} }

func (h Changed) rank() uint64  { return uint64(h.Rev) }
func (h Withdraw) rank() uint64 { return uint64(h.Rev) }
func (h Moved) rank() uint64    { return uint64(h.Rev) }
func (h Probe) rank() uint64    { return 1 }
func (h Seen) rank() uint64     { return 1 + uint64(h.Answer) }
