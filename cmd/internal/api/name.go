package api

import "gvlan/dns/zone"

// DoubtsRoute is where what is doubtful about names is served, as sentences.
const DoubtsRoute = "/v1/dns/doubts"

// Routes of the dns commands.
const (
	NamesRoute  = "/v1/dns/names"
	LookupRoute = "/v1/dns/lookup"
	SetupRoute  = "/v1/dns/setup"
	CountsRoute = "/v1/dns/counts"
)

// Looked is the answer to a lookup.
type Looked struct {
	Answer string `json:"answer"`
	Known  bool   `json:"known"`          // false: the question would be passed on
	Hint   string `json:"hint,omitempty"` // ends a sentence about a name that is none
}

// NameView is a name and where it is.
type NameView struct {
	zone.Record
	Host string `json:"host"`           // what people call the node
	Full string `json:"full,omitempty"` // the name with its network and the domain; "" where the network has no zone
}

// NameCounts counts queries of one zone by rcode.
type NameCounts struct {
	Zone  string            `json:"zone"`
	Codes map[string]uint64 `json:"codes"`
}
