package gossip

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
)

// Flags are a node's own remarks on itself.
type Flags uint8

const (
	// Draining: the node takes no new containers.
	Draining Flags = 1 << iota
	// NoIPv6: the node cannot carry IPv6.
	NoIPv6
	// DNSOff: the node answers no names.
	DNSOff
	// Leaving: the agent is going away on purpose; what follows is a leave,
	// not a failure.
	Leaving
)

// metaSize is the length of an encoded Meta. Metadata rides in every message
// about a node, so it stays this small.
const metaSize = 16

// metaVersion is the first byte of every Meta and Ack.
const metaVersion = 1

// Meta is what every node tells every other about itself; it changes rarely.
type Meta struct {
	Flags   Flags
	DNSPort uint16 // of the host listener; 0: none
	Gen     uint32 // grows with every change the node makes to it
	Parents uint64 // ParentsDigest of the node's interfaces
}

// Remarks are the metadata's flags and port in words, for people.
func (m Meta) Remarks() (all []string) {
	for _, one := range []struct {
		set  bool
		text string
	}{
		{m.Flags&Leaving != 0, "leaving"},
		{m.Flags&Draining != 0, "drained"},
		{m.Flags&NoIPv6 != 0, "no IPv6"},
		{m.Flags&DNSOff != 0, "no names"},
		{m.DNSPort != 0, fmt.Sprintf("names at port %d", m.DNSPort)},
	} {
		if one.set {
			all = append(all, one.text)
		}
	}
	return all
}

func (m Meta) encode() []byte {
	raw := make([]byte, 0, metaSize)
	raw = append(raw, metaVersion, byte(m.Flags))
	raw = binary.BigEndian.AppendUint16(raw, m.DNSPort)
	raw = binary.BigEndian.AppendUint32(raw, m.Gen)
	return binary.BigEndian.AppendUint64(raw, m.Parents)
}

// decodeMeta reads a Meta; longer ones come from newer agents.
func decodeMeta(raw []byte) (Meta, error) {
	if len(raw) < metaSize || raw[0] < metaVersion {
		return Meta{}, fmt.Errorf("read metadata: %d bytes are not %d of version %d", len(raw), metaSize, metaVersion)
	}
	return Meta{
		Flags:   Flags(raw[1]),
		DNSPort: binary.BigEndian.Uint16(raw[2:]),
		Gen:     binary.BigEndian.Uint32(raw[4:]),
		Parents: binary.BigEndian.Uint64(raw[8:]),
	}, nil
}

// Ack rides back with every answer to a direct probe, which costs nothing.
type Ack struct {
	Health  uint8          // memberlist's own awareness score; 0 is healthy
	Ring    uint32         // RingID of the keys the node has installed
	Applied store.Revision // how far the node follows the store
	Clock   time.Time      // the node's own, when it answered; zero from older agents
}

// ackSize is the length of an encoded Ack; those of older agents end at
// ackSizeNoClock.
const (
	ackSize        = 24
	ackSizeNoClock = 16
)

func (a Ack) encode() []byte {
	raw := make([]byte, 0, ackSize)
	raw = append(raw, metaVersion, a.Health, 0, 0)
	raw = binary.BigEndian.AppendUint32(raw, a.Ring)
	raw = binary.BigEndian.AppendUint64(raw, uint64(a.Applied))
	return binary.BigEndian.AppendUint64(raw, uint64(a.Clock.UnixNano()))
}

// decodeAck reads an Ack; longer ones come from newer agents.
func decodeAck(raw []byte) (Ack, error) {
	if len(raw) < ackSizeNoClock || raw[0] < metaVersion {
		return Ack{}, fmt.Errorf("read acknowledgement: %d bytes are not %d of version %d", len(raw), ackSizeNoClock, metaVersion)
	}
	a := Ack{
		Health:  raw[1],
		Ring:    binary.BigEndian.Uint32(raw[4:]),
		Applied: store.Revision(binary.BigEndian.Uint64(raw[8:])),
	}
	if len(raw) >= ackSize {
		a.Clock = time.Unix(0, int64(binary.BigEndian.Uint64(raw[16:])))
	}
	return a, nil
}

// ParentsDigest folds a node's interface inventory into the 8 bytes that fit
// its metadata. Peers that hold another digest than the node record gives
// know that they have not read the latest inventory.
func ParentsDigest(interfaces []store.Interface) uint64 {
	sorted := slices.SortedFunc(slices.Values(interfaces), byName)
	raw, err := json.Marshal(sorted)
	if err != nil {
		// The inventory is plain data of package store.
		panic(fmt.Sprintf("cluster: digest interfaces: %v", err))
	}
	sum := sha256.Sum256(raw)
	return binary.BigEndian.Uint64(sum[:])
}

func byName(a, b store.Interface) int { return strings.Compare(a.Name, b.Name) }
