package survey

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
)

// State says what has become of an address.
type State string

// The states of an address.
const (
	Leased      State = "leased"      // a container has it
	Starting    State = "starting"    // it was given, and no container has it yet
	Swarm       State = "swarm"       // the swarm keeps it for a task or service that runs nowhere yet
	Quarantined State = "quarantined" // a host had it that was evicted
	Resting     State = "resting"     // a container left it a moment ago
	Awaited     State = "awaited"     // free, and a stopped container will want it again
	Conflict    State = "conflict"    // two have it
	Foreign     State = "foreign"     // somebody on the LAN has it who is none of the cluster's
	Gateway     State = "gateway"     // of a network
	Auxiliary   State = "aux"         // --aux-address of a network
	Reserved    State = "reserved"    // by an operator; or for a network that no longer says what for, or is being made
	Excluded    State = "excluded"    // by a network's exclude=
	HostsOwn    State = "host"        // of a host's own interface
	Unusable    State = "unusable"    // a network or broadcast address
	Free        State = "free"        // nobody has it
	Outside     State = "outside"     // no network has it
	Unreadable  State = "unreadable"  // a newer gvlan wrote the record
)

// Held reports whether a container has an address in that state, or is about to.
func (s State) Held() bool { return s == Leased || s == Starting || s == Swarm || s == Conflict }

// Entry is an address of a segment, and who has it.
type Entry struct {
	Address     netip.Addr `json:"address"`
	Segment     string     `json:"segment"`
	State       State      `json:"state"`
	Network     string     `json:"network,omitempty"` // by name; several where they share a pool and nobody has it
	NetworkID   string     `json:"networkId,omitempty"`
	Container   string     `json:"container,omitempty"` // by name; "" while the engine has not said it
	ContainerID string     `json:"containerId,omitempty"`
	Node        string     `json:"node,omitempty"` // that has it, or had it
	MAC         string     `json:"mac,omitempty"`
	Parent      string     `json:"parent,omitempty"` // interface of the node
	Endpoint    string     `json:"endpoint,omitempty"`
	Static      bool       `json:"static,omitempty"` // it was asked for (--ip)
	Fixed       bool       `json:"fixed,omitempty"`  // the container has it besides the one it was given (gvlan.ip)
	Since       time.Time  `json:"since,omitzero"`   // zero: not known
	Why         string     `json:"why,omitempty"`    // what else there is to say
	// Reservation is what an operator said of the address, whoever has it; nil: nothing.
	Reservation *Reservation `json:"reservation,omitempty"`
	// Key and Modified are of its record; "" and 0 without one. Created is when
	// the key came to be.
	Key      string         `json:"key,omitempty"`
	Created  store.Revision `json:"created,omitempty"`
	Modified store.Revision `json:"modified,omitempty"`
}

// Reservation is what an operator said of an address.
type Reservation struct {
	For  string `json:"for,omitempty"` // container that is given it; "": none is
	MAC  string `json:"mac,omitempty"`
	Note string `json:"note,omitempty"`
}

// Place is where the address exists once.
func (a Entry) Place() pool.Place { return pool.At(a.Segment, a.Address) }

// Scanner is what is needed of a store.KV.
type Scanner interface {
	Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error)
}

// Survey tells of addresses by what is known of everything else.
type Survey struct {
	Networks *Networks
	Hosts    map[netip.Addr]string // hosts' own addresses, with what people call the host
	// Endpoint is the record of a container's attachment, as far as it is known.
	Endpoint func(node, endpoint string) (store.Endpoint, bool)
	// Conflicts are addresses that somebody here has besides who the store says,
	// in words.
	Conflicts map[pool.Place]string
	// Reservations are what operators reserve, in the order of their places' keys.
	Reservations []reserve.Reservation
}

// Of tells of the addresses of a container's attachment, by its record alone.
func (s *Survey) Of(e store.Endpoint) (all []Entry) {
	for _, addr := range e.Addresses() {
		a := Entry{
			Address: addr, Segment: e.Segment, State: Leased, Network: e.Name, NetworkID: e.Network,
			Container: e.Container.Name, ContainerID: e.Container.ID, Node: e.Node, MAC: e.MAC, Parent: e.Parent, Endpoint: e.Endpoint,
		}
		if n := s.Networks.Called(e.Network); n != nil {
			a.Network = n.Name
		}
		if e.Since > 0 {
			a.Since = time.Unix(e.Since, 0)
		}
		if slices.ContainsFunc(e.Fixed, func(text string) bool { p, err := netip.ParsePrefix(text); return err == nil && p.Addr() == addr }) {
			a.Fixed, a.Why = true, fixedWords
		}
		if words, conflicts := s.Conflicts[a.Place()]; conflicts {
			a.State, a.Why = Conflict, words
		}
		all = append(all, a)
	}
	return all
}

// Each tells of every address of a span of leases that has a record or is reserved,
// in order, holding one at a time.
func (s *Survey) Each(ctx context.Context, kv Scanner, span store.Span, tell func(Entry) error) error {
	unheld := s.reservedIn(span)
	if err := s.recordedIn(ctx, kv, span, unheld.before(tell)); err != nil {
		return err
	}
	return unheld.end(tell)
}

// recordedIn is Each, of those that have a record.
func (s *Survey) recordedIn(ctx context.Context, kv Scanner, span store.Span, tell func(Entry) error) error {
	var last Entry // a lease, which what rests beside it is no news to
	_, err := kv.Scan(ctx, span, store.Whole, func(items []store.Item) error {
		for _, it := range items {
			a, ok := s.of(it)
			if !ok || a.State == Resting && a.Place() == last.Place() {
				continue
			}
			last = a
			if err := tell(a); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// reservations are those that are still to be told of, in order.
type reservations struct {
	survey *Survey
	left   []reserve.Reservation
}

// reservedIn are those in a span of leases.
func (s *Survey) reservedIn(span store.Span) *reservations {
	r := &reservations{survey: s}
	for _, one := range s.Reservations {
		if span.Contains(one.At.Key()) {
			r.left = append(r.left, one)
		}
	}
	return r
}

// before has those told of that come before a record, and the record that one is
// of say so.
func (r *reservations) before(tell func(Entry) error) func(Entry) error {
	return func(a Entry) error {
		key := a.Place().Key()
		for len(r.left) > 0 && r.left[0].At.Key() < key {
			if err := r.next(tell); err != nil {
				return err
			}
		}
		if len(r.left) > 0 && r.left[0].At == a.Place() {
			a.Reservation = reservationOf(r.left[0])
			r.left = r.left[1:]
		}
		return tell(a)
	}
}

// end has the others told of.
func (r *reservations) end(tell func(Entry) error) error {
	for len(r.left) > 0 {
		if err := r.next(tell); err != nil {
			return err
		}
	}
	return nil
}

func (r *reservations) next(tell func(Entry) error) error {
	one := r.left[0]
	r.left = r.left[1:]
	return tell(r.survey.kept(one))
}

func reservationOf(r reserve.Reservation) *Reservation {
	return &Reservation{For: r.For, MAC: r.MAC, Note: r.Note}
}

// kept tells of a reserved address that nobody has.
func (s *Survey) kept(r reserve.Reservation) Entry {
	a := Entry{
		Address: r.At.Addr, Segment: r.At.Segment, State: Reserved, Network: r.Name, NetworkID: r.Network, MAC: r.MAC,
		Reservation: reservationOf(r), Why: "no container is given it (gvlan unreserve ends that)",
	}
	if r.For != "" {
		a.Why = "container " + r.For + " is given it, and no other (gvlan unreserve ends that)"
	}
	if r.Since > 0 {
		a.Since = time.Unix(r.Since, 0)
	}
	return a
}

// reservedAt is the reservation of an address.
func (s *Survey) reservedAt(at pool.Place) (reserve.Reservation, bool) {
	i := slices.IndexFunc(s.Reservations, func(r reserve.Reservation) bool { return r.At == at })
	if i < 0 {
		return reserve.Reservation{}, false
	}
	return s.Reservations[i], true
}

// At tells of one address in every segment whose networks have it, or where it
// has a record: at least once.
func (s *Survey) At(ctx context.Context, kv Scanner, addr netip.Addr) (all []Entry, err error) {
	segments, err := s.recorded(ctx, kv)
	if err != nil {
		return nil, err
	}
	recorded := map[string]bool{}
	for _, segment := range segments {
		span := store.LeasesSpan(segment, netip.PrefixFrom(addr, addr.BitLen()))
		err := s.Each(ctx, kv, span, func(a Entry) error {
			recorded[segment] = true
			all = append(all, a)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return s.beside(addr, all, recorded), nil
}

// Without tells of one address in every segment whose networks have it, besides
// those entries of it that there are, as if it had no other record: at least once.
func (s *Survey) Without(addr netip.Addr, there []Entry) []Entry {
	recorded := map[string]bool{}
	for _, a := range there {
		recorded[a.Segment] = true
	}
	return s.beside(addr, there, recorded)
}

// beside adds an address to its records in the segments whose networks have it and
// where it has none.
func (s *Survey) beside(addr netip.Addr, all []Entry, recorded map[string]bool) []Entry {
	in := map[string][]*Subnet{}
	for _, sub := range s.Networks.Holding(addr) {
		in[sub.Network.Segment] = append(in[sub.Network.Segment], sub)
	}
	for segment, subnets := range in {
		if !recorded[segment] {
			all = append(all, s.unheld(addr, subnets))
		}
	}
	if len(all) == 0 {
		all = append(all, s.outside(addr))
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return strings.Compare(a.Segment, b.Segment) })
	return all
}

// recorded are the segments that have any record, also those of no network any
// more: each is found by the first key behind the one before.
func (s *Survey) recorded(ctx context.Context, kv Scanner) (all []string, err error) {
	found := errors.New("found") // ends a scan at its first page
	span := store.AllLeasesSpan()
	for {
		key := ""
		_, err := kv.Scan(ctx, span, store.KeysOnly, func(items []store.Item) error {
			key = items[0].Key
			return found
		})
		if err == nil {
			return all, nil
		}
		if !errors.Is(err, found) {
			return nil, err
		}
		segment, ok := store.SegmentOf(key)
		if !ok {
			span.From = key + "\x00" // nobody's lease
			continue
		}
		all = append(all, segment)
		span.From = store.SegmentSpan(segment).To
	}
}

// outside tells of an address that no network has.
func (s *Survey) outside(addr netip.Addr) Entry {
	a := Entry{Address: addr, Segment: pool.DefaultSegment, State: Outside}
	if host, own := s.Hosts[addr]; own {
		a.State, a.Why = HostsOwn, "it is of an interface of host "+host
	}
	return a
}

// unheld tells of an address of some networks of one segment that has no record.
func (s *Survey) unheld(addr netip.Addr, in []*Subnet) Entry {
	a := s.outside(addr)
	a.Segment = in[0].Network.Segment
	if r, reserved := s.reservedAt(a.Place()); reserved {
		return s.kept(r)
	}
	var names []string
	for _, sub := range in {
		if !slices.Contains(names, sub.Network.Name) {
			names = append(names, sub.Network.Name)
		}
	}
	a.Network = strings.Join(names, ", ")
	if len(names) == 1 {
		a.NetworkID = in[0].Network.UUID
	}
	if a.State == HostsOwn {
		return a
	}
	a.State, a.Why = in[0].role(addr)
	for _, sub := range in[1:] { // free is what one of them gives
		if state, why := sub.role(addr); state == Free {
			a.State, a.Why = state, why
		}
	}
	return a
}

// of tells what a record says; ok is false for what is none.
func (s *Survey) of(it store.Item) (a Entry, ok bool) {
	if segment, addr, rests := store.CooldownOf(it.Key); rests {
		return s.resting(segment, addr, it), true
	}
	segment, addr, err := store.LeaseOf(it.Key)
	if err != nil {
		return Entry{}, false
	}
	a = Entry{Address: addr, Segment: segment, Key: it.Key, Created: it.Created, Modified: it.Modified}
	rec, err := store.Decode[store.Lease](it)
	if err != nil {
		a.State, a.Why = Unreadable, "its record cannot be read: a newer gvlan wrote it"
		return a, true
	}
	if rec.Since > 0 {
		a.Since = time.Unix(rec.Since, 0)
	}
	switch rec.State {
	case store.Reserved:
		s.reserved(&a, rec)
	case store.Conflicted:
		a.State, a.Node, a.MAC = Foreign, rec.Node, rec.MAC
		a.Why = "somebody on the LAN has it who is none of gvlan's: it is not given before nobody answers for it (gvlan conflict ls)"
		s.within(&a)
	default:
		s.leased(&a, rec)
	}
	return a, true
}

func (s *Survey) resting(segment string, addr netip.Addr, it store.Item) Entry {
	a := Entry{Address: addr, Segment: segment, State: Resting}
	s.within(&a)
	if rec, err := store.Decode[store.Cooldown](it); err == nil && rec.Since > 0 {
		a.Since = time.Unix(rec.Since, 0)
	}
	a.Why = "a container left it a moment ago (cooldown=): it is given when nothing else is free"
	return a
}

// within fills in a network of an address that is no network's by its record.
func (s *Survey) within(a *Entry) {
	for _, sub := range s.Networks.Holding(a.Address) {
		if sub.Network.Segment == a.Segment {
			a.Network, a.NetworkID = sub.Network.Name, sub.Network.UUID
			return
		}
	}
}

// leased fills in who has, or had, an address.
func (s *Survey) leased(a *Entry, rec store.Lease) {
	a.Node, a.Endpoint, a.Static, a.Fixed = rec.Node, rec.Endpoint, rec.Kind == store.Static, rec.Kind == store.Service
	s.named(a, rec.Network)
	e, known := store.Endpoint{}, false
	if rec.Endpoint != "" {
		e, known = s.Endpoint(rec.Node, rec.Endpoint)
	}
	if known {
		a.Container, a.ContainerID, a.MAC, a.Parent = e.Container.Name, e.Container.ID, e.MAC, e.Parent
		if a.Network == "" {
			a.Network = e.Name
		}
	}
	words, conflicts := s.Conflicts[a.Place()]
	switch {
	case rec.State == store.Quarantined:
		a.State = Quarantined
		a.Why = "its host was evicted: it is free ten minutes later, if nobody on the LAN answers for it"
	case conflicts:
		a.State, a.Why = Conflict, words
	case rec.Claims != nil && !rec.Claims.Worker:
		a.State, a.Why = Swarm, "the swarm keeps it for a task or service"
	case rec.Endpoint == "":
		a.State, a.Why = Starting, "it was given, and no container has it yet"
	default:
		a.State = Leased
		if a.Fixed {
			a.Why = fixedWords
		}
		if !known {
			a.Why = "its endpoint has no record"
		}
	}
}

// fixedWords is what there is to say of an address that a container has besides.
const fixedWords = "the container has it besides the one it was given (gvlan.ip)"

// reserved fills in which network keeps an address, and what for.
func (s *Survey) reserved(a *Entry, rec store.Lease) {
	a.State, a.Why = Reserved, "for a network that is being made, or that is gone"
	for _, by := range rec.By {
		if _, node, making := store.PoolOf(by); making {
			a.Node = node
		}
		n := s.Networks.Called(by)
		if n == nil {
			continue
		}
		a.Network, a.NetworkID = n.Name, n.UUID
		a.Why = "kept for network " + n.Name
		for i := range n.Subnets {
			if n.Subnets[i].Pool.Subnet.Contains(a.Address) {
				if state, why := n.Subnets[i].role(a.Address); state == Gateway || state == Auxiliary {
					a.State, a.Why = state, why
				}
				return
			}
		}
		return
	}
}

// named says which network a lease is of.
func (s *Survey) named(a *Entry, called string) {
	a.NetworkID = called
	if n := s.Networks.Called(called); n != nil {
		a.Network, a.NetworkID = n.Name, n.UUID
		return
	}
	if id, engines := store.EngineNetworkOf(called); engines {
		a.NetworkID = id
	}
}

// reservedSet are the addresses of a segment that operators reserve.
func (s *Survey) reservedSet(segment string) *addrset.Set {
	var all []netip.Addr
	for _, r := range s.Reservations {
		if r.At.Segment == segment {
			all = append(all, r.At.Addr)
		}
	}
	set := &addrset.Set{}
	set.Fill(all)
	return set
}

// hostSet are the addresses of hosts' own interfaces.
func (s *Survey) hostSet() *addrset.Set {
	all := make([]netip.Addr, 0, len(s.Hosts))
	for addr := range s.Hosts {
		all = append(all, addr)
	}
	set := &addrset.Set{}
	set.Fill(all)
	return set
}
