package api

// AuditRoute is where `gvlan audit` asks: GET looks, POST takes away what was
// found as well. With ?probe the LAN is asked too.
const AuditRoute = "/v1/audit"

// Audit is what an audit found.
type Audit struct {
	Revision int64          `json:"revision"` // of the store that all of it is true of
	Findings []AuditFinding `json:"findings"`
	// Unasked is what was not looked at, each with the reason, as a sentence.
	Unasked []string `json:"unasked"`
}

// Unhealthy reports whether something was found, also what was repaired.
func (a Audit) Unhealthy() bool { return len(a.Findings) > 0 }

// AuditFinding is one thing that should not be.
type AuditFinding struct {
	Kind       string `json:"kind"`
	What       string `json:"what"` // for people: "address 192.168.1.20 (segment default)"
	Key        string `json:"key,omitempty"`
	Address    string `json:"address,omitempty"`
	Segment    string `json:"segment,omitempty"`
	MAC        string `json:"mac,omitempty"`
	Link       string `json:"link,omitempty"`
	Node       string `json:"node,omitempty"` // whose it is, by its id
	Host       string `json:"host,omitempty"` // the same, as people call it
	Why        string `json:"why"`
	Cure       string `json:"cure"`
	Repairable bool   `json:"repairable"`
	// Outcome of a repair, see below; "" where none was tried.
	Outcome string `json:"outcome,omitempty"`
	Failed  string `json:"failed,omitempty"` // why, for OutcomeFailed
}

// Outcomes of repairs.
const (
	OutcomeRepaired = "repaired"
	OutcomeChanged  = "changed" // it was not as audited any more, and was left alone
	OutcomeFailed   = "failed"
)
