package audit

import (
	"net/netip"

	"gvlan/cluster/store"
)

// Kind is what a finding is of.
type Kind string

// The kinds of findings.
const (
	KindLease       Kind = "lease"       // an address that no endpoint has
	KindOutside     Kind = "outside"     // an address that lies in no network
	KindEndpoint    Kind = "endpoint"    // an endpoint without a right to its address
	KindName        Kind = "name"        // names of a container that is no more
	KindNode        Kind = "node"        // what a node left that is not of the cluster
	KindQuarantine  Kind = "quarantine"  // an address whose rest nobody ends
	KindReservation Kind = "reservation" // of a network that does not exist
	KindSubnet      Kind = "subnet"      // a default subnet, likewise
	KindMAC         Kind = "mac"         // a hardware address that no endpoint has
	KindRest        Kind = "rest"        // an address that rests far too long
	KindUnreadable  Kind = "unreadable"  // a record that says nothing
)

// Finding is one thing that should not be.
type Finding struct {
	Kind    Kind
	Key     string     // of the record
	Address netip.Addr // zero where it is of none
	Segment string     // of the address
	MAC     string     // of KindMAC
	Node    string     // whose the record is; "" for nobody's
	Why     string     // it should not be
	Cure    string     // what a repair does, or where there is none what a person can do
	// Repairable: Auditor.Repair takes it away.
	Repairable bool

	repair repair
}

// repair is a transaction that happens only where nothing changed.
type repair struct {
	txn   store.Txn
	rests string // the node whose addresses rest after it; "" for none
}

// Report is what an audit found.
type Report struct {
	Revision store.Revision // that all of it is true of
	// Recovering: the store lost its past and the nodes are writing what they hold
	// again. Nothing is judged before that is over.
	Recovering bool
	Findings   []Finding // in the order of their keys
}

// Outcome is what became of a repair.
type Outcome string

const (
	// Repaired: it is gone.
	Repaired Outcome = "repaired"
	// Changed: something of it is not as it was audited, and it was left alone.
	Changed Outcome = "changed"
)
