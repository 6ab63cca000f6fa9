package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"gvlan/cluster/store"
)

// hintKind is the second byte of a hint on the wire.
type hintKind uint8

const (
	kindChanged hintKind = iota + 1
	kindWithdraw
	kindMoved
	kindProbe
	kindSeen
)

// relayBit in the second byte asks every node that finds the hint fresh to
// pass it on. A hint that was sent to named nodes does not have it.
const relayBit = 0x80

// hintVersion is the first byte of a hint. Another version is not read.
const hintVersion = 1

// hintLimit is the longest hint, in bytes; a longer one would never find
// room beside membership messages and would be dropped without a word.
const hintLimit = 64

// hintHeader is version, kind and sender.
const hintHeader = 2 + 8

// errUnknownHint: a newer agent speaks; its hint is ignored, not refused.
var errUnknownHint = errors.New("hint of an unknown version or kind")

// senderID names a node in a hint: the first 8 bytes of the SHA-256 of its
// name.
type senderID uint64

func senderOf(node string) senderID {
	sum := sha256.Sum256([]byte(node))
	return senderID(binary.BigEndian.Uint64(sum[:]))
}

// frame is a hint on the wire.
type frame struct {
	from  senderID
	relay bool
	hint  Hint
}

func (f frame) encode() []byte {
	raw := make([]byte, hintHeader, hintLimit)
	raw[0] = hintVersion
	raw[1] = byte(f.hint.about().kind)
	if f.relay {
		raw[1] |= relayBit
	}
	binary.BigEndian.PutUint64(raw[2:], uint64(f.from))
	switch h := f.hint.(type) {
	case Changed:
		raw = append(raw, byte(h.Kind))
		raw = append(raw, h.ID[:]...)
		raw = binary.BigEndian.AppendUint64(raw, uint64(h.Rev))
	case Withdraw:
		raw = append(raw, h.Endpoint[:]...)
		raw = appendAddr(raw, h.Addr)
		raw = binary.BigEndian.AppendUint64(raw, uint64(h.Rev))
	case Moved:
		raw = appendAddr(raw, h.Addr)
		raw = append(raw, h.MAC[:]...)
		raw = binary.BigEndian.AppendUint64(raw, uint64(h.Rev))
	case Probe:
		raw = binary.BigEndian.AppendUint64(raw, h.Nonce)
		raw = append(raw, h.Parent[:]...)
		raw = appendAddr(raw, h.Addr)
	case Seen:
		raw = binary.BigEndian.AppendUint64(raw, h.Nonce)
		raw = append(raw, byte(h.Answer))
		raw = appendAddr(raw, h.Addr)
	}
	return raw
}

// bodySizes are the exact lengths of the bodies of version 1.
var bodySizes = map[hintKind]int{
	kindChanged:  1 + 16 + 8,
	kindWithdraw: 16 + 16 + 8,
	kindMoved:    16 + 6 + 8,
	kindProbe:    8 + 8 + 16,
	kindSeen:     8 + 1 + 16,
}

// decodeFrame reads a hint. It returns errUnknownHint for what a newer agent
// may say and another error for what nobody says. It keeps no part of raw.
func decodeFrame(raw []byte) (frame, error) {
	if len(raw) < hintHeader || raw[0] != hintVersion {
		return frame{}, fmt.Errorf("read hint of %d bytes: %w", len(raw), errUnknownHint)
	}
	kind := hintKind(raw[1] &^ relayBit)
	size, ok := bodySizes[kind]
	if !ok {
		return frame{}, fmt.Errorf("read hint of kind %d: %w", kind, errUnknownHint)
	}
	body := raw[hintHeader:]
	if len(body) != size {
		return frame{}, fmt.Errorf("read hint of kind %d: body is %d bytes, want %d", kind, len(body), size)
	}
	return frame{
		from:  senderID(binary.BigEndian.Uint64(raw[2:])),
		relay: raw[1]&relayBit != 0,
		hint:  decodeBody(kind, body),
	}, nil
}

// decodeBody reads a body whose length was checked.
func decodeBody(kind hintKind, b []byte) Hint {
	switch kind {
	case kindChanged:
		return Changed{Kind: Kind(b[0]), ID: ID(b[1:17]), Rev: revision(b[17:])}
	case kindWithdraw:
		return Withdraw{Endpoint: ID(b[:16]), Addr: address(b[16:32]), Rev: revision(b[32:])}
	case kindMoved:
		return Moved{Addr: address(b[:16]), MAC: [6]byte(b[16:22]), Rev: revision(b[22:])}
	case kindProbe:
		return Probe{Nonce: binary.BigEndian.Uint64(b), Parent: ParentID(b[8:16]), Addr: address(b[16:32])}
	default:
		return Seen{Nonce: binary.BigEndian.Uint64(b), Answer: Answer(b[8]), Addr: address(b[9:25])}
	}
}

// appendAddr writes an address in 16 bytes; IPv4 as RFC 4291 section 2.5.5.2
// maps it, which is why an IPv4-mapped IPv6 address comes back as IPv4.
func appendAddr(raw []byte, addr netip.Addr) []byte {
	b := addr.As16()
	return append(raw, b[:]...)
}

func address(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)).Unmap() }

func revision(b []byte) store.Revision { return store.Revision(binary.BigEndian.Uint64(b)) }

func nonceID(nonce uint64) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:], nonce)
	return id
}
