package audit

import (
	"hash/maphash"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
)

// look is the store at one revision, as far as judging one of its records needs
// to know it: of all records there may be a million of it keeps 8 bytes each.
type look struct {
	revision   store.Revision
	recovering bool
	nodes      map[string]*node
	networks   map[string]bool           // by uuid
	graves     map[string]store.Revision // when a tombstone was written, by uuid
	pools      pools
	rests      map[string]bool // nodes whose addresses in quarantine somebody ends

	// brief: the records of endpoints and leases were not read, and are taken to
	// agree.
	brief     bool
	seed      maphash.Seed
	endpoints marks // that have a record
	claimed   marks // endpoints with an address each, as their records have it
	bound     marks // the same, as the leases have it
	macs      marks // endpoints that hardware addresses are said to be of
	unread    bool  // an endpoint's record cannot be read
	// hidden is that a network or the description of a host cannot be read: anything
	// may be of theirs.
	hidden bool
}

func newLook() *look {
	return &look{
		nodes: map[string]*node{}, networks: map[string]bool{}, graves: map[string]store.Revision{},
		pools: pools{}, rests: map[string]bool{}, seed: maphash.MakeSeed(),
	}
}

// frame covers what a look knows in full.
func frame() []store.Span {
	return []store.Span{
		store.EpochsSpan(), store.LiveSpan(), store.NetworksSpan(), store.NodesSpan(),
		store.QuarantinesSpan(), store.RecoverySpan(), store.TombstonesSpan(),
	}
}

// node is what the store knows of a node's standing.
type node struct {
	epoch   store.Epoch
	epochAt store.Revision // 0: it has none
	// described is that it describes itself, live that its agent is connected.
	described, live bool
}

// standing is what may be concluded of a node's records.
type standing uint8

const (
	// unknown: no agent ever wrote under that name.
	unknown standing = iota
	// gone: it was evicted, and the eviction is over.
	gone
	// moving: it is being evicted, comes back, or another install has its name.
	moving
	// away: its agent is not connected; all it has stays its own.
	away
	// connected: what it has is in its own agent's hands.
	connected
)

func (l *look) standing(of string) standing {
	n := l.nodes[of]
	switch {
	case n == nil || n.epochAt == 0:
		return unknown
	case n.epoch.Evicted && !n.described && !n.live:
		return gone
	case n.epoch.Evicted || n.epoch.Returning || n.epoch.Elder != "":
		return moving
	case n.live:
		return connected
	}
	return away
}

// notOfUs reports whether a node is not of the cluster, and which conditions
// hold as long as that is so.
func (l *look) notOfUs(of string) ([]store.Cond, bool) {
	key := store.EpochKey(of)
	switch l.standing(of) {
	case unknown:
		return []store.Cond{store.Absent(key)}, true
	case gone:
		return []store.Cond{store.Unchanged(key, l.nodes[of].epochAt), store.Absent(store.NodeKey(of))}, true
	}
	return nil, false
}

// pools are the subnets of all networks, by segment.
type pools map[string]map[netip.Prefix]bool

func (p pools) add(segment string, all []store.Pool) {
	if p[segment] == nil {
		p[segment] = map[netip.Prefix]bool{}
	}
	for _, one := range all {
		p[segment][one.Subnet.Masked()] = true
	}
}

// have reports whether an address lies in a network.
func (p pools) have(segment string, addr netip.Addr) bool {
	in := p[segment]
	if len(in) == 0 {
		return false
	}
	for bits := addr.BitLen(); bits >= 0; bits-- {
		if prefix, err := addr.Prefix(bits); err == nil && in[prefix] {
			return true
		}
	}
	return false
}

// marks is a set of texts, of which it keeps hashes.
type marks []uint64

// seal ends the adding.
func (m marks) seal() { slices.Sort(m) }

func (m marks) has(mark uint64) bool {
	_, found := slices.BinarySearch(m, mark)
	return found
}

// within reports whether all of them are among others; both are sealed.
func (m marks) within(others marks) bool {
	return !slices.ContainsFunc(m, func(mark uint64) bool { return !others.has(mark) })
}

// endpointMark is of an endpoint.
func (l *look) endpointMark(node, endpoint string) uint64 {
	return maphash.Comparable(l.seed, [2]string{node, endpoint})
}

// tie is an endpoint's right to an address.
type tie struct {
	node, endpoint, segment string
	addr                    netip.Addr
}

func (l *look) tieMark(t tie) uint64 { return maphash.Comparable(l.seed, t) }

// take enters a record. What cannot be read says nothing: it is judged for that.
func (l *look) take(it store.Item, in folder) {
	switch in {
	case endpoints:
		l.takeEndpoint(it)
	case leases:
		l.takeLease(it)
	case macs:
		if rec, err := store.Decode[store.MAC](it); err == nil {
			l.macs = append(l.macs, l.endpointMark(rec.Node, rec.Endpoint))
		}
	case epochs:
		n := l.node(store.NameOf(it.Key))
		n.epoch, _ = store.Decode[store.Epoch](it) // one that says nothing is of a node that is away
		n.epochAt = it.Modified
	case live:
		l.node(store.NameOf(it.Key)).live = true
	case descriptions:
		l.takeDescription(it)
	case networks:
		rec, err := store.Decode[store.Network](it)
		if err != nil {
			l.hidden = true
			return
		}
		l.networks[rec.UUID] = true
		l.pools.add(rec.Created.Segment, rec.Created.Pools)
	case tombstones:
		l.graves[store.NameOf(it.Key)] = it.Modified
	case quarantines:
		if node := store.NameOf(it.Key); it.Key == store.QuarantineKey(node) { // else the rest's
			l.rests[node] = true
		}
	case recovery:
		l.recovering = l.recovering || it.Key == store.GateKey()
	}
}

func (l *look) node(of string) *node {
	if l.nodes[of] == nil {
		l.nodes[of] = &node{}
	}
	return l.nodes[of]
}

// takeDescription takes a node's own networks too, which have no definition.
func (l *look) takeDescription(it store.Item) {
	l.node(store.NameOf(it.Key)).described = true
	rec, err := store.Decode[store.Node](it)
	if err != nil {
		l.hidden = true
		return
	}
	for _, n := range rec.Networks {
		if len(n.Pools) > 0 {
			l.pools.add(n.Segment, n.Pools)
		}
	}
}

// attachment is what ties an endpoint to its addresses: reading all of every
// record would take most of a look's time.
type attachment struct {
	Segment string `json:"segment"`
	IPv4    string `json:"ipv4"`
	IPv6    string `json:"ipv6"`
	// Fixed is what it has besides.
	Fixed []string `json:"fixed"`
}

func (l *look) takeEndpoint(it store.Item) {
	node, id, ok := store.EndpointOf(it.Key)
	if !ok {
		return
	}
	l.endpoints = append(l.endpoints, l.endpointMark(node, id))
	rec, err := store.Decode[attachment](it)
	if err != nil {
		l.unread = true
		return
	}
	for _, addr := range (store.Endpoint{IPv4: rec.IPv4, IPv6: rec.IPv6, Fixed: rec.Fixed}).Addresses() {
		l.claimed = append(l.claimed, l.tieMark(tie{node, id, rec.Segment, addr}))
	}
}

func (l *look) takeLease(it store.Item) {
	segment, addr, err := store.LeaseOf(it.Key)
	if err != nil {
		return
	}
	rec, err := store.Decode[store.Lease](it)
	if err == nil && rec.Bound() {
		l.bound = append(l.bound, l.tieMark(tie{rec.Node, rec.Endpoint, segment, addr}))
	}
}

// seal ends a look.
func (l *look) seal(revision store.Revision) {
	l.revision = revision
	for _, m := range []marks{l.endpoints, l.claimed, l.bound, l.macs} {
		m.seal()
	}
}

// agrees reports whether endpoints, all of which can be read, leases and hardware addresses fit together.
func (l *look) agrees() bool {
	return !l.unread && l.claimed.within(l.bound) && l.bound.within(l.claimed) && l.macs.within(l.endpoints)
}

// folder is what a record is of.
type folder uint8

const (
	others folder = iota // nothing is known of it here
	defaults
	endpoints
	epochs
	leases
	live
	macs
	networks
	descriptions
	quarantines
	recovery
	refs
	removals
	reservations
	tombstones
)

// folders tells records apart by their keys.
type folders []struct {
	span store.Span
	of   folder
}

func newFolders() folders {
	return folders{
		{store.AllLeasesSpan(), leases}, {store.EndpointsSpan(), endpoints}, {store.DefaultPoolsSpan(), defaults},
		{store.EpochsSpan(), epochs}, {store.LiveSpan(), live}, {store.MACsSpan(), macs}, {store.NetworksSpan(), networks},
		{store.NodesSpan(), descriptions}, {store.QuarantinesSpan(), quarantines}, {store.RecoverySpan(), recovery},
		{store.RefsSpan(), refs}, {store.RemovalsSpan(), removals},
		{store.ReservationsSpan(), reservations}, {store.TombstonesSpan(), tombstones},
	}
}

func (f folders) of(key string) folder {
	for _, one := range f {
		if one.span.Contains(key) {
			return one.of
		}
	}
	return others
}
