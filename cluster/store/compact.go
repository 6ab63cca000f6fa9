package store

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
)

// A lease is the one record there are many of: as JSON it takes 250 to 350
// bytes, and half of those again in every mirror's watch. So that of a container
// is written in a compact form, which DESIGN.md describes: a byte that says which
// schema it is, and then fields as protobuf lays them out, so that a later gvlan
// may add some. Ids, uuids and nonces are bytes there; a node stays text, since
// who looks for its own records searches values for its name.

// leaseSchema is the first byte of a compact lease; JSON was the first schema.
const leaseSchema = 2

// The fields of a compact lease. Their numbers are the record: they never change
// their meaning. One byte holds number and type up to 15.
const (
	fieldState         protowire.Number = 1 + iota // varint: place in leaseStates
	fieldKind                                      // varint: place in leaseKinds
	fieldNode                                      // text
	fieldEpoch                                     // varint
	fieldNonce                                     // fixed64 of 16 hexadecimal digits
	fieldNonceText                                 // any other text
	fieldNetworkUUID                               // 16 bytes
	fieldNetworkEngine                             // bytes of EngineNetwork's hexadecimal id
	fieldNetworkText                               // any other text
	fieldEndpoint                                  // bytes of hexadecimal digits
	fieldEndpointText                              // any other text
	fieldSince                                     // fixed32: unix seconds
	fieldByUUID                                    // 16 bytes each
	fieldByText                                    // any other text, each
	fieldClaims                                    // varint of claim bits
	fieldSinceBeyond                               // varint: unix seconds that 32 bits do not hold
	fieldNonceBytes                                // of another even number of hexadecimal digits
	fieldClaimMade                                 // text
)

// What the numbers of a compact lease mean; the first is left out.
var (
	leaseStates = [...]LeaseState{Leased, Reserved, Quarantined}
	leaseKinds  = [...]LeaseKind{Dynamic, Static, "", Service}
)

const (
	claimedByManager = 1 << iota
	claimedByWorker
)

// compactly reports whether a lease is written in the compact form. What a host
// of another version may have to rewrite is not: an agent from before there was
// the form reads none of it, and could neither share a gateway, nor start a
// swarm's task, nor end a quarantine.
func (l Lease) compactly() bool { return l.State == Leased && l.Claims == nil && len(l.By) == 0 }

// appendCompact writes a lease; ok is false for one that has no compact form.
func (l Lease) appendCompact(b []byte) (out []byte, ok bool) {
	state, kind := slices.Index(leaseStates[:], l.State), slices.Index(leaseKinds[:], l.Kind)
	beyond, ok := l.beyondOf()
	if state < 0 || kind < 0 || !ok {
		return nil, false
	}
	b = append(b, leaseSchema)
	b = appendNumber(b, fieldState, uint64(state))
	b = appendNumber(b, fieldKind, uint64(kind))
	b = appendText(b, fieldNode, l.Node)
	b = appendNumber(b, fieldEpoch, uint64(l.Epoch))
	b = appendNonce(b, l.Nonce)
	b = appendNetwork(b, l.Network)
	b = appendHex(b, fieldEndpoint, fieldEndpointText, l.Endpoint)
	if l.Since == int64(uint32(l.Since)) {
		if l.Since != 0 {
			b = protowire.AppendFixed32(protowire.AppendTag(b, fieldSince, protowire.Fixed32Type), uint32(l.Since))
		}
	} else {
		b = appendNumber(b, fieldSinceBeyond, uint64(l.Since))
	}
	for _, by := range l.By {
		if id, is := uuidOf(by); is {
			b = protowire.AppendBytes(protowire.AppendTag(b, fieldByUUID, protowire.BytesType), id[:])
		} else {
			b = protowire.AppendString(protowire.AppendTag(b, fieldByText, protowire.BytesType), by)
		}
	}
	if c := l.Claims; c != nil {
		b = protowire.AppendTag(b, fieldClaims, protowire.VarintType)
		b = protowire.AppendVarint(b, protowire.EncodeBool(c.Manager)*claimedByManager|protowire.EncodeBool(c.Worker)*claimedByWorker)
		b = appendText(b, fieldClaimMade, c.Made)
	}
	return append(b, beyond...), true
}

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func appendText(b []byte, field protowire.Number, text string) []byte {
	if text == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), text)
}

// appendHex writes hexadecimal digits as bytes, and any other text as it is.
func appendHex(b []byte, field, other protowire.Number, text string) []byte {
	if text == "" || !isHex(text) {
		return appendText(b, other, text)
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(len(text)/2))
	b, _ = hex.AppendDecode(b, []byte(text)) // it is hexadecimal
	return b
}

func appendNonce(b []byte, nonce string) []byte {
	if len(nonce) != 16 || !isHex(nonce) {
		return appendHex(b, fieldNonceBytes, fieldNonceText, nonce)
	}
	var raw [8]byte
	_, _ = hex.Decode(raw[:], []byte(nonce)) // it is hexadecimal
	return protowire.AppendFixed64(protowire.AppendTag(b, fieldNonce, protowire.Fixed64Type), binary.BigEndian.Uint64(raw[:]))
}

func appendNetwork(b []byte, network string) []byte {
	if id, is := uuidOf(network); is {
		return protowire.AppendBytes(protowire.AppendTag(b, fieldNetworkUUID, protowire.BytesType), id[:])
	}
	if id, is := EngineNetworkOf(network); is && id != "" && isHex(id) {
		return appendHex(b, fieldNetworkEngine, fieldNetworkText, id)
	}
	return appendText(b, fieldNetworkText, network)
}

// isHex reports whether a text is what hex.EncodeToString gives.
func isHex(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(text)%2 == 0
}

// uuidOf reads a uuid that is written as uuids are.
func uuidOf(text string) (id uuid.UUID, is bool) {
	if len(text) != len("01234567-89ab-cdef-0123-456789abcdef") || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, false
	}
	var digits [32]byte
	copy(digits[:], text[:8])
	copy(digits[8:], text[9:13])
	copy(digits[12:], text[14:18])
	copy(digits[16:], text[19:23])
	copy(digits[20:], text[24:])
	if !isHex(string(digits[:])) {
		return id, false
	}
	_, err := hex.Decode(id[:], digits[:])
	return id, err == nil
}

// isCompact reports whether a value is in a compact form, of whichever schema.
// JSON begins with a printable character, or a space of the kinds it knows.
func isCompact(value []byte) bool { return len(value) > 0 && value[0] < '\t' }

// readCompact reads what appendCompact wrote.
func (l *Lease) readCompact(b []byte) error {
	if len(b) == 0 || b[0] != leaseSchema {
		return ErrNewer
	}
	*l = Lease{State: leaseStates[0], Kind: leaseKinds[0]}
	beyond, err := l.readFields(b[1:])
	l.Unknown = beyondIn(beyond)
	return err
}

// readFields reads fields, and returns those that it does not know.
func (l *Lease) readFields(b []byte) (beyond []byte, err error) {
	for len(b) > 0 {
		field, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return nil, protowire.ParseError(tag)
		}
		n, err := l.readField(field, kind, b[tag:])
		if err != nil {
			return nil, fmt.Errorf("field %d: %w", field, err)
		}
		if field > fieldClaimMade {
			beyond = append(beyond, b[:tag+n]...)
		}
		b = b[tag+n:]
	}
	return beyond, nil
}

// Fields that a newer gvlan put into a compact lease go with it when it becomes
// JSON, as a member that whoever knows them reads there: base64.
const (
	beyondHead = `{"beyond":"`
	beyondTail = `"}`
)

func beyondIn(fields []byte) Unknown {
	if len(fields) == 0 {
		return ""
	}
	return Unknown(beyondHead + base64.StdEncoding.EncodeToString(fields) + beyondTail)
}

// beyondOf returns the fields beyond those that are known; ok is false where
// something else is unknown, which only JSON holds.
func (l Lease) beyondOf() (fields []byte, ok bool) {
	text, isFields := strings.CutPrefix(string(l.Unknown), beyondHead)
	text, whole := strings.CutSuffix(text, beyondTail)
	if !isFields || !whole {
		return nil, l.Unknown == ""
	}
	fields, err := base64.StdEncoding.DecodeString(text)
	return fields, err == nil
}

// readBeyond reads, of a lease that was JSON, the fields that it had when it was
// compact.
func (l *Lease) readBeyond() error {
	fields, ok := l.beyondOf()
	if !ok || len(fields) == 0 {
		return nil
	}
	fields, err := l.readFields(fields)
	l.Unknown = beyondIn(fields)
	return err
}

// readField reads the value of one field, and says how long it is.
func (l *Lease) readField(field protowire.Number, kind protowire.Type, b []byte) (n int, err error) {
	if want, known := typeOf(field); known && kind != want {
		return 0, fmt.Errorf("type %d, want %d", kind, want)
	}
	switch kind {
	case protowire.VarintType:
		number, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		return n, l.setNumber(field, number)
	case protowire.BytesType:
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		return n, l.setBytes(field, value)
	}
	if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
		return 0, protowire.ParseError(n)
	}
	switch field {
	case fieldSince:
		since, _ := protowire.ConsumeFixed32(b)
		l.Since = int64(since)
	case fieldNonce:
		nonce, _ := protowire.ConsumeFixed64(b)
		l.Nonce = hex.EncodeToString(binary.BigEndian.AppendUint64(nil, nonce))
	}
	return n, nil
}

// typeOf is the type of a field that is known.
func typeOf(field protowire.Number) (kind protowire.Type, known bool) {
	switch field {
	case fieldState, fieldKind, fieldEpoch, fieldClaims, fieldSinceBeyond:
		return protowire.VarintType, true
	case fieldSince:
		return protowire.Fixed32Type, true
	case fieldNonce:
		return protowire.Fixed64Type, true
	}
	return protowire.BytesType, field <= fieldClaimMade
}

func (l *Lease) setNumber(field protowire.Number, n uint64) error {
	switch field {
	case fieldState:
		if n >= uint64(len(leaseStates)) {
			return fmt.Errorf("state %d: %w", n, ErrNewer)
		}
		l.State = leaseStates[n]
	case fieldKind:
		if n >= uint64(len(leaseKinds)) {
			return fmt.Errorf("kind %d: %w", n, ErrNewer)
		}
		l.Kind = leaseKinds[n]
	case fieldEpoch:
		l.Epoch = int64(n)
	case fieldSinceBeyond:
		l.Since = int64(n)
	case fieldClaims:
		if l.Claims == nil {
			l.Claims = &Claims{}
		}
		l.Claims.Manager, l.Claims.Worker = n&claimedByManager != 0, n&claimedByWorker != 0
	}
	return nil
}

func (l *Lease) setBytes(field protowire.Number, value []byte) error {
	switch field {
	case fieldNode:
		l.Node = string(value)
	case fieldNonceText:
		l.Nonce = string(value)
	case fieldNonceBytes:
		l.Nonce = hex.EncodeToString(value)
	case fieldNetworkText:
		l.Network = string(value)
	case fieldNetworkEngine:
		l.Network = EngineNetwork(hex.EncodeToString(value))
	case fieldEndpoint:
		l.Endpoint = hex.EncodeToString(value)
	case fieldEndpointText:
		l.Endpoint = string(value)
	case fieldClaimMade:
		if l.Claims == nil { // it stands before what it is of
			l.Claims = &Claims{}
		}
		l.Claims.Made = string(value)
	case fieldByText:
		l.By = append(l.By, string(value))
	case fieldNetworkUUID, fieldByUUID:
		id, err := uuid.FromBytes(value)
		if err != nil {
			return err
		}
		if field == fieldByUUID {
			l.By = append(l.By, id.String())
		} else {
			l.Network = id.String()
		}
	}
	return nil
}
