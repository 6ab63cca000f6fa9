package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"gvlan/cluster/store"
)

// messageChanged in the second byte says that a record changed: the only message of
// version 1.
const messageChanged = 1

// relayBit in the second byte asks every node that finds the hint fresh to
// pass it on. A hint that was sent to named nodes does not have it.
const relayBit = 0x80

// hintVersion is the first byte of a hint. Another version is not read.
const hintVersion = 1

// hintLimit is the longest hint, in bytes; a longer one would never find
// room beside membership messages and would be dropped without a word.
const hintLimit = 64

const (
	hintHeader = 1 + 1 + 8  // version, message and sender
	hintBody   = 1 + 16 + 8 // Kind, ID and Rev
)

// errUnknownHint: a newer agent speaks; its hint is ignored, not refused.
var errUnknownHint = errors.New("hint of an unknown version or message")

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
	raw[0], raw[1] = hintVersion, messageChanged
	if f.relay {
		raw[1] |= relayBit
	}
	binary.BigEndian.PutUint64(raw[2:], uint64(f.from))
	raw = append(raw, byte(f.hint.Kind))
	raw = append(raw, f.hint.ID[:]...)
	return binary.BigEndian.AppendUint64(raw, uint64(f.hint.Rev))
}

// decodeFrame reads a hint. It returns errUnknownHint for what a newer agent
// may say and another error for what nobody says. It keeps no part of raw.
func decodeFrame(raw []byte) (frame, error) {
	if len(raw) < hintHeader || raw[0] != hintVersion || raw[1]&^relayBit != messageChanged {
		return frame{}, fmt.Errorf("read hint of %d bytes: %w", len(raw), errUnknownHint)
	}
	body := raw[hintHeader:]
	if len(body) != hintBody {
		return frame{}, fmt.Errorf("read hint: body is %d bytes, want %d", len(body), hintBody)
	}
	return frame{
		from:  senderID(binary.BigEndian.Uint64(raw[2:])),
		relay: raw[1]&relayBit != 0,
		hint:  Hint{Kind: Kind(body[0]), ID: ID(body[1:17]), Rev: store.Revision(binary.BigEndian.Uint64(body[17:]))},
	}, nil
}
