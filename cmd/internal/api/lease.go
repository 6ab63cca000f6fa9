package api

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/reserve"
	"gvlan/ipam/survey"
)

// Routes of the commands about addresses.
const (
	WhoisRoute  = "/v1/whois"  // ?of=
	LeasesRoute = "/v1/leases" // ?network=&node=
	LeaseRoute  = "/v1/lease"  // ?address=&segment=&network=, and of a DELETE segment, revision and force
	PoolsRoute  = "/v1/pools"
	// ReservationsRoute takes a reserve.Wish for the network that is Named: of a POST,
	// and of a DELETE.
	ReservationsRoute = "/v1/reservations"
)

// ReservationAnswer is what became of the addresses of a wish.
type ReservationAnswer struct {
	Network string `json:"network"`
	reserve.Wish
	reserve.Outcome
	Holders []Holder `json:"holders"` // of those that are in use
}

// LeaseView is an address and who has it.
type LeaseView struct {
	survey.Entry
	Host string `json:"host,omitempty"` // what people call the node
	// AsOf is set while etcd does not answer this host: it is what etcd said last.
	AsOf time.Time `json:"asOf,omitzero"`
}

// LeaseDetail is all there is of an address that has a record.
type LeaseDetail struct {
	LeaseView
	Record *store.Lease `json:"record"` // nil where there is none, or it cannot be read
	Last   []Holder     `json:"last"`
}

// Holder is a container that had an address within the last day.
type Holder struct {
	Address   netip.Addr `json:"address"`
	Container string     `json:"container,omitempty"`
	Network   string     `json:"network,omitempty"`
	Node      string     `json:"node"`
	Host      string     `json:"host"`
	MAC       string     `json:"mac,omitempty"`
	From      time.Time  `json:"from,omitzero"` // zero: longer ago than is known
	To        time.Time  `json:"to,omitzero"`   // zero: it has it still
}

// WhoisAnswer is the answer to a whois.
type WhoisAnswer struct {
	Found []Found `json:"found"`
	// Near are names like the one that was asked for, where nothing has it.
	Near []string `json:"near,omitempty"`
}

// Kinds of what a whois finds.
const (
	FoundAddress   = "address"
	FoundMAC       = "mac"       // nobody's of ours
	FoundContainer = "container" // without an address now
	FoundReserved  = "reserved"  // what an operator reserves for a container, or with a MAC
	FoundHost      = "host"
	FoundNetwork   = "network"
)

// Found is one thing that a whois finds: what does not matter for its kind is
// empty.
type Found struct {
	Kind      string        `json:"kind"`
	Lease     *LeaseView    `json:"lease,omitempty"` // of an address
	LAN       *LANAnswer    `json:"lan,omitempty"`   // of an address that no container has
	MAC       string        `json:"mac,omitempty"`
	Met       []MetAt       `json:"met,omitempty"`       // where this host met the MAC
	Container string        `json:"container,omitempty"` // of a container
	Wants     []Wanted      `json:"wants,omitempty"`     // what a stopped container, or who wants the address, had
	Reserved  *Reserved     `json:"reserved,omitempty"`
	Host      *FoundOnHost  `json:"host,omitempty"`
	Network   *FoundInStore `json:"network,omitempty"`
	Learnt    []Learnt      `json:"learnt,omitempty"` // addresses by router advertisement: that of the question, or an attachment's
	Last      []Holder      `json:"last"`
}

// Learnt is an address that a container of this host made itself of what a
// router of the LAN advertised (SLAAC). Nobody leased it.
type Learnt struct {
	Address   netip.Addr `json:"address"`
	Container string     `json:"container"`
	Host      string     `json:"host"`
}

// Known reports whether it says anything of what was asked for.
func (f Found) Known() bool {
	return f.Kind != FoundAddress || f.Lease.State != survey.Outside || len(f.Last) > 0 || len(f.Learnt) > 0 || f.LAN != nil && len(f.LAN.Answers) > 0
}

// LANAnswer is what the LAN says of an address, asked then and there.
type LANAnswer struct {
	At      []string `json:"at"` // interfaces of this host that it was asked at
	Answers []MetAt  `json:"answers"`
	Failed  []string `json:"failed,omitempty"` // why it could not be asked
}

// MetAt is somebody on the LAN.
type MetAt struct {
	Address netip.Addr `json:"address"`
	MAC     string     `json:"mac"`
	Parent  string     `json:"parent"`       // interface of this host
	Of      string     `json:"of,omitempty"` // container of ours with that MAC
}

// Wanted is an address that a stopped container will want again, or the next one of a
// removed one's name.
type Wanted struct {
	Removed   bool       `json:"removed,omitempty"`
	Address   netip.Addr `json:"address"`
	Container string     `json:"container"`
	Network   string     `json:"network"`
	Host      string     `json:"host"`
}

// Reserved is an address that an operator reserves, and who has it now.
type Reserved struct {
	Address   netip.Addr `json:"address"`
	Network   string     `json:"network"`
	For       string     `json:"for,omitempty"`
	MAC       string     `json:"mac,omitempty"`
	Note      string     `json:"note,omitempty"`
	Container string     `json:"container,omitempty"` // that has it now; "" with a Host: one without a name yet
	Host      string     `json:"host,omitempty"`      // "": nobody has it
}

// FoundOnHost is a host.
type FoundOnHost struct {
	Node       string `json:"node"`
	Host       string `json:"host"`
	Address    string `json:"address"`
	State      string `json:"state"`
	Containers int    `json:"containers"` // addresses of containers are counted once each
}

// FoundInStore is a network.
type FoundInStore struct {
	Name       string   `json:"name"`
	UUID       string   `json:"uuid"`
	Node       string   `json:"node,omitempty"` // the only one that has it
	Subnets    []string `json:"subnets"`
	Containers int      `json:"containers"`
}

// PoolView is how full a subnet is.
type PoolView struct {
	survey.Pool
	Host   string         `json:"host,omitempty"`   // the only one that has the network
	ByHost map[string]int `json:"byHost,omitempty"` // containers' addresses by what people call the host
	Grows  float64        `json:"grows,omitempty"`  // addresses a day, lately
	FullAt time.Time      `json:"fullAt,omitzero"`  // at that rate; zero: never, or too little is known
	// AsOf is set while etcd does not answer this host: counted is then what
	// containers had when it last did.
	AsOf time.Time `json:"asOf,omitzero"`
}

// LeasePage is how many addresses a list of leases is sent in at a time.
const LeasePage = 500

// AskLeases gets a list of leases, which comes in pages, so that neither side
// holds it twice and this one reads while the agent goes on. An empty page is
// the end.
func AskLeases(ctx context.Context, s *Client, network, node string) (all []LeaseView, err error) {
	route := LeasesRoute + "?" + url.Values{"network": {network}, "node": {node}}.Encode()
	err = Follow(ctx, s, route, func(page []LeaseView) error {
		if len(page) == 0 {
			return errWhole
		}
		all = append(all, page...)
		return nil
	})
	switch {
	case errors.Is(err, errWhole):
		return all, nil
	case err == nil: // ctx ended
		return nil, ctx.Err()
	}
	return nil, err
}

// errWhole ends the reading of a list.
var errWhole = errors.New("the list is whole")

// Whois is the route that asks whose an address, a MAC or a name is.
func Whois(of string) string { return WhoisRoute + "?" + url.Values{"of": {of}}.Encode() }

// Lease is the route of one address: "" is any network, or segment.
func Lease(address, network, segment string) string {
	return LeaseRoute + "?" + url.Values{"address": {address}, "network": {network}, "segment": {segment}}.Encode()
}

// LeaseAt is the route that releases an address as it was shown.
func LeaseAt(a survey.Entry, force bool) string {
	query := url.Values{"address": {a.Address.String()}, "segment": {a.Segment}, "revision": {strconv.FormatInt(int64(a.Modified), 10)}}
	if force {
		query.Set("force", "")
	}
	return LeaseRoute + "?" + query.Encode()
}

// ConflictsRoute is of the addresses that somebody on the LAN has who is none of
// the cluster's; of a DELETE ?address=&segment=, both "" for all.
const ConflictsRoute = "/v1/conflicts"

// ConflictView is one of them.
type ConflictView struct {
	Address   netip.Addr `json:"address"`
	Segment   string     `json:"segment"`
	Network   string     `json:"network,omitempty"`
	Container string     `json:"container,omitempty"` // that has it by right, and its host; "": it is free, and not given
	MAC       string     `json:"mac"`                 // of who else has it
	Vendor    string     `json:"vendor,omitempty"`    // of the MAC
	Node      string     `json:"node"`                // that saw it
	Host      string     `json:"host"`                // what people call it
	Since     time.Time  `json:"since"`
	Seen      time.Time  `json:"seen,omitzero"` // it answered last
}

// ConflictsOf is the route of an address's conflicts; "" is all.
func ConflictsOf(address, segment string) string {
	return ConflictsRoute + "?" + url.Values{"address": {address}, "segment": {segment}}.Encode()
}
