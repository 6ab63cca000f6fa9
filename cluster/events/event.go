package events

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
)

// Kind says what happened.
type Kind string

// The kinds of events, as people and programs read them.
const (
	// Given: a container has an address from now on.
	Given Kind = "given"
	// Released: the address that a container had is free.
	Released Kind = "released"
	// Evicted: a host's right to write and its addresses were taken.
	Evicted Kind = "evicted"
	// Conflict: an address has another holder than the one by right.
	Conflict Kind = "conflict"
	// ConflictOver: it has not any more.
	ConflictOver Kind = "conflict-over"
	// NetworkMade: a network of the cluster has its definition.
	NetworkMade Kind = "network-made"
	// NetworkRemoved: it has none any more.
	NetworkRemoved Kind = "network-removed"
	// HostCame: a host's agent is connected.
	HostCame Kind = "host-came"
	// HostWent: it is not any more.
	HostWent Kind = "host-went"
	// StoreChanged: a member of the cluster's own store came, went or votes now.
	StoreChanged Kind = "store-changed"
	// GateClosed: no address is given in the cluster any more.
	GateClosed Kind = "gate-closed"
	// GateOpened: addresses are given again.
	GateOpened Kind = "gate-opened"
	// Repaired: an audit mended a record.
	Repaired Kind = "repaired"
	// LeftOut stands before the oldest event of a host that told more than is kept.
	LeftOut Kind = "left-out"

	// Named is no event of its own: it tells what the container of an endpoint is
	// called, which Docker says only after the endpoint was given its addresses.
	Named Kind = "named"
)

// Kinds are those that are read, in the order in which people are told of them.
func Kinds() []Kind {
	return []Kind{
		Given, Released, Evicted, Conflict, ConflictOver, NetworkMade, NetworkRemoved, HostCame, HostWent,
		StoreChanged, GateClosed, GateOpened, Repaired, LeftOut,
	}
}

// Event is one thing that happened. What does not matter for its kind is zero.
type Event struct {
	Time      time.Time // by the clock of the host that tells; zero in Tell: now
	Kind      Kind
	Node      string // it happened on, or to; "" in Tell: this one
	Network   string // name
	Segment   string
	Address   netip.Addr
	MAC       string
	Container string // name, "" where it is not known
	Endpoint  string // the engine's id, as far as Docker prints it
	Text      string // what else there is to say, for people
}

// Teller is told what happened. Tell never blocks, never fails, and asks nobody
// for anything: it may be called with locks held. *Recorder is one.
type Teller interface{ Tell(e Event) }

const (
	// endpointDigits is how much of an id Docker prints.
	endpointDigits = 12
	// longestText bounds what one event says, in bytes.
	longestText = 400
)

// trimmed is an event without what nobody reads.
func (e Event) trimmed() Event {
	e.Endpoint = e.Endpoint[:min(len(e.Endpoint), endpointDigits)]
	if len(e.Text) > longestText {
		e.Text = strings.ToValidUTF8(e.Text[:longestText], "") + "…"
	}
	e.Time = time.UnixMilli(e.Time.UnixMilli())
	return e
}

// record is an event as the node that tells it keeps it.
func (e Event) record(teller string) store.TrailEvent {
	rec := store.TrailEvent{
		Kind: string(e.Kind), At: e.Time.UnixMilli(), Of: e.Node, Network: e.Network, Segment: e.Segment,
		Address: e.Address, MAC: e.MAC, Container: e.Container, Endpoint: e.Endpoint, Text: e.Text,
	}
	if rec.Of == teller {
		rec.Of = ""
	}
	return rec
}

// eventOf is the inverse of record.
func eventOf(rec store.TrailEvent, teller string) Event {
	e := Event{
		Kind: Kind(rec.Kind), Time: time.UnixMilli(rec.At), Node: rec.Of, Network: rec.Network, Segment: rec.Segment,
		Address: rec.Address, MAC: rec.MAC, Container: rec.Container, Endpoint: rec.Endpoint, Text: rec.Text,
	}
	if e.Node == "" {
		e.Node = teller
	}
	return e
}

// completes reports whether an event is another one, told again when the name of
// its container was known.
func (e Event) completes(o Event) bool {
	return e.Kind == Given && o.Kind == Given && e.Container != "" && o.Container == "" &&
		e.Node == o.Node && e.Endpoint == o.Endpoint && e.Address == o.Address && e.Time.Equal(o.Time)
}

// completed leaves out events that another one completes, which takes their
// place, in whichever order two sources told them.
func completed(all []Event) []Event {
	type given struct {
		node, endpoint string
		addr           netip.Addr
	}
	last := map[given]int{} // index
	over := map[int]bool{}
	for i, e := range all {
		if e.Kind != Given {
			continue
		}
		of := given{e.Node, e.Endpoint, e.Address}
		before, found := last[of]
		switch {
		case found && e.completes(all[before]):
			all[before] = e
			over[i] = true
		case found && all[before].completes(e):
			over[i] = true
		default:
			last[of] = i
		}
	}
	if len(over) == 0 {
		return all
	}
	kept := make([]Event, 0, len(all)-len(over))
	for i, e := range all {
		if !over[i] {
			kept = append(kept, e)
		}
	}
	return kept
}

// Holding is what the events say of one container that had an address.
type Holding struct {
	Address   netip.Addr
	Segment   string
	Node      string
	Network   string
	Container string // name, "" where it is not known
	MAC       string
	Endpoint  string
	From      time.Time // zero: before what the events tell
	To        time.Time // zero: it has not let go, as far as they tell
}

// Holdings are the holders that events tell of, the last first.
func Holdings(all []Event) (holdings []Holding) {
	type holder struct {
		addr                    netip.Addr
		segment, node, endpoint string
	}
	open := map[holder]int{} // index
	for _, e := range all {
		if e.Kind != Given && e.Kind != Released {
			continue
		}
		of := holder{e.Address, e.Segment, e.Node, e.Endpoint}
		h := Holding{Address: e.Address, Segment: e.Segment, Node: e.Node, Network: e.Network, Container: e.Container, MAC: e.MAC, Endpoint: e.Endpoint}
		at, begun := open[of]
		switch {
		case e.Kind == Given:
			h.From = e.Time
			open[of] = len(holdings)
			holdings = append(holdings, h)
		case begun:
			holdings[at].To = e.Time
			if holdings[at].Container == "" {
				holdings[at].Container = e.Container
			}
			delete(open, of)
		default:
			h.To = e.Time
			holdings = append(holdings, h)
		}
	}
	slices.Reverse(holdings)
	return holdings
}
