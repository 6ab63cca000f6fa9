package store

import "net/netip"

// Trail is a run of what happened lately, as one node tells it, in the order in
// which it did. It hangs from an etcd lease of a day, and nothing depends on it.
type Trail struct {
	Node   string       `json:"node"`
	Events []TrailEvent `json:"events"`
	// Left counts what the node has told within about a day and the trail does not
	// have, since there was too much of it; the first of it was at LeftSince.
	Left      int   `json:"left,omitempty"`
	LeftSince int64 `json:"leftSince,omitempty"` // unix milliseconds

	Unknown `json:"-"`
}

// TrailEvent is one of a Trail. There may be hundreds of each node, and whoever
// looks reads all of them: so its names are short, and it is searched as text.
type TrailEvent struct {
	Kind      string     `json:"k"`
	At        int64      `json:"t"`           // unix milliseconds, of the teller's clock
	Of        string     `json:"o,omitempty"` // node it happened to; "": the one that tells
	Network   string     `json:"n,omitempty"` // name
	Segment   string     `json:"s,omitempty"`
	Address   netip.Addr `json:"a,omitzero"`
	MAC       string     `json:"m,omitempty"`
	Container string     `json:"c,omitempty"` // name
	Endpoint  string     `json:"e,omitempty"` // id, as Docker prints it
	Text      string     `json:"x,omitempty"`

	Unknown `json:"-"`
}
