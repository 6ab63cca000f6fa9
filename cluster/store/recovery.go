package store

// A store that lost its past (made anew, or restored from an older copy) does
// not know which addresses are in use. Who finds it closes the gate: from then
// on nothing is given in the whole cluster until every node has written what it
// holds again, and somebody opened it (`gvlan recover`).

// Gate is there while nothing may be given: a transaction with Gives set
// compares that it is absent.
type Gate struct {
	Round string `json:"round"` // random uuid of this closing
	Node  string `json:"node"`  // that found the loss
	Why   string `json:"why"`
	Since int64  `json:"since"` // unix seconds, for people
}

// Recovery is the last one that was brought to its end.
type Recovery struct {
	Count int64  `json:"count"` // higher than any that a node of the cluster knew before
	Round string `json:"round"`
	Node  string `json:"node"` // that opened the gate
	Since int64  `json:"since"`
}

// Reasserted says that a node has written what it holds again.
type Reasserted struct {
	Node  string `json:"node"`
	Round string `json:"round"` // of the Gate
	Count int64  `json:"count"` // of the last Recovery the node knew
}

// CautionTTL is how long after a recovery the LAN is asked before an address is
// given, in seconds: a container of a host that was left out may have it.
const CautionTTL = 600
