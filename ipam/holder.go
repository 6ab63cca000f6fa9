package ipam

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/addrset"
	"gvlan/ipam/census"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// holders says who has an address, in words for people.
type holders struct {
	*node.Node
	hosts     *hosts
	conflicts conflicts
}

// Conflict is an address of this node that somebody else holds in the store:
// the record of a living lease or reservation was gone, and somebody came first.
type Conflict struct {
	Segment  string
	Address  netip.Addr
	Endpoint string // this node's endpoint that has the address; "": it is reserved for a network here
	Holder   string // a sentence's end: "in use by container web on node h1"
}

// conflicts are those found since the start, by place.
type conflicts struct {
	mu  sync.Mutex
	all map[pool.Place]Conflict
}

// add reports whether a conflict is news.
func (c *conflicts) add(at pool.Place, found Conflict) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	had, known := c.all[at]
	if c.all == nil {
		c.all = map[pool.Place]Conflict{}
	}
	c.all[at] = found
	return !known || had != found
}

// only forgets those that matter no more, and returns the others.
func (c *conflicts) only(matters func(pool.Place, Conflict) bool) []Conflict {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.all, func(at pool.Place, found Conflict) bool { return !matters(at, found) })
	return slices.SortedFunc(maps.Values(c.all), func(x, y Conflict) int {
		return cmp.Or(cmp.Compare(x.Segment, y.Segment), x.Address.Compare(y.Address))
	})
}

// Conflicts returns the addresses of this node's endpoints and networks that
// somebody else has. One of an endpoint lasts until the endpoint is deleted,
// since its link stays silenced.
func (h *holders) Conflicts() []Conflict {
	return h.conflicts.only(func(at pool.Place, c Conflict) bool {
		if c.Endpoint == "" {
			_, reserved := h.Memory.ReservedAt(at)
			return reserved
		}
		l, known := h.Memory.Lease(at)
		return known && l.State == journal.Bound && l.Endpoint == c.Endpoint
	})
}

// conflict tells that somebody else holds the address of a bound lease, and
// has the endpoint's link silenced: two answers for one address harm both. The
// lease is one of no record from then on, so that its release takes nobody's.
func (h *holders) conflict(ctx context.Context, l journal.Lease, rec store.Lease) *Conflict {
	c := Conflict{Segment: l.Segment, Address: l.Address, Endpoint: l.Endpoint, Holder: h.holderOf(ctx, l.Address, rec)}
	if l.Kind == store.Service && h.lost(l, c.Holder) {
		return nil
	}
	l.Created = 0
	if err := h.Memory.NotePut(l); err != nil {
		h.Log.Error("a conflict over an address cannot be journaled: known until this agent ends", "address", l.Address, "err", err)
	}
	if !h.conflicts.add(l.Place(), c) {
		return &c
	}
	h.Log.Error("an address of a container on this node has another holder: its link is taken down; stop one of the two and start the other again",
		"address", l.Address, "segment", l.Segment, "endpoint", node.Short(l.Endpoint), "holder", c.Holder)
	n, _ := h.Memory.Addressing(l.Network)
	h.tellConflict(c, n)
	if h.Endpoints == nil {
		return &c
	}
	if err := h.Endpoints.Silence(l.Endpoint, l.Address); err != nil {
		h.Log.Error("the link of an address that somebody else has cannot be taken down: both answer for it", "address", l.Address, "endpoint", node.Short(l.Endpoint), "err", err)
	}
	return &c
}

// lost takes a fixed address that somebody else has out of its container, which
// has another one and waits in line again. It reports whether that was done.
func (h *holders) lost(l journal.Lease, holder string) bool {
	if h.Endpoints == nil {
		return false
	}
	// The memory goes first: whoever looks at it puts the address in again.
	if err := h.Memory.NoteDrop(l); err != nil {
		h.Log.Error("that a fixed address is another's cannot be journaled: compared again after a start", "address", l.Address, "err", err)
	}
	if err := h.Endpoints.Withdraw(l.Endpoint, l.Address); err != nil {
		h.Log.Error("a fixed address that somebody else has cannot be taken out of its container", "address", l.Address, "endpoint", node.Short(l.Endpoint), "err", err)
		return false
	}
	h.Log.Warn("a fixed address of a container on this node went to another one: taken out of it", "address", l.Address, "endpoint", node.Short(l.Endpoint), "holder", holder)
	return true
}

// Holder ends a sentence: who has the address that a record is of.
func (h *holders) Holder(ctx context.Context, addr netip.Addr, rec store.Lease) string {
	if rec.State == store.Quarantined {
		return fmt.Sprintf("resting since node %s was evicted", h.HostOf(ctx, rec.Node))
	}
	return h.holderOf(ctx, addr, rec)
}

// reservationConflict tells that somebody holds an address that is reserved
// for a network here. There is no link to silence: a gateway is the LAN's.
func (h *holders) reservationConflict(ctx context.Context, at pool.Place, p journal.Pool, rec store.Lease) {
	c := Conflict{Segment: at.Segment, Address: at.Addr, Holder: h.holderOf(ctx, at.Addr, rec)}
	if h.conflicts.add(at, c) {
		n, _ := h.Memory.Addressing(p.Network)
		h.Log.Error("an address that is reserved for a network on this node has a holder: stop it",
			"address", at.Addr, "segment", at.Segment, "network", n.Title(), "holder", c.Holder)
		h.tellConflict(c, n)
	}
}

func (h *holders) tellConflict(c Conflict, n journal.Addressing) {
	h.Events.Tell(events.Event{
		Kind: events.Conflict, Network: n.Name, Segment: c.Segment, Address: c.Address, Endpoint: c.Endpoint, Text: c.Holder,
	})
}

// holderOf says who a record gives an address to.
func (h *holders) holderOf(ctx context.Context, addr netip.Addr, rec store.Lease) string {
	if rec.State == store.Reserved {
		return h.reservedFor(ctx, addr, rec.By)
	}
	return h.who(ctx, rec)
}

// The sentences of this file name who has an address. What they say is read
// when they are needed: a lease holds no names.

// takenError refuses an address whose record another holder has.
func (h *holders) takenError(ctx context.Context, at pool.Place, rec store.Lease) error {
	switch {
	case rec.State == store.Reserved:
		return fmt.Errorf("address %s is %s", at.Addr, h.reservedFor(ctx, at.Addr, rec.By))
	case rec.State == store.Quarantined:
		return fmt.Errorf("address %s was in use a moment ago and rests: try again later", at.Addr)
	case rec.State == store.Conflicted:
		return fmt.Errorf("address %s is %s: give another one, or that machine another address (gvlan conflict ls)", at.Addr, h.foreign(ctx, rec))
	}
	return fmt.Errorf("address %s is %s", at.Addr, h.leasedBy(ctx, rec))
}

// heldError refuses an address that an endpoint of this node has.
func (h *holders) heldError(ctx context.Context, l journal.Lease) error {
	return fmt.Errorf("address %s is %s", l.Address, h.leasedBy(ctx, h.Record(l)))
}

// leasedBy ends a sentence: "in use by container web on node h1 (network lan1)
// since 2027-01-02 15:04 UTC".
func (h *holders) leasedBy(ctx context.Context, rec store.Lease) string {
	since := ""
	if rec.Since != 0 {
		since = " since " + time.Unix(rec.Since, 0).UTC().Format("2006-01-02 15:04 MST")
	}
	return h.who(ctx, rec) + since
}

// who ends a sentence like leasedBy, without the time.
func (h *holders) who(ctx context.Context, rec store.Lease) string {
	if rec.State == store.Conflicted {
		return h.foreign(ctx, rec)
	}
	if rec.Node == "" && rec.Claims != nil {
		return "a service's or task's of the swarm" + h.onNetwork(ctx, rec.Network)
	}
	return h.heldBy(ctx, rec.Node, rec.Endpoint)
}

// foreign ends a sentence: "in use on the LAN by MAC 00:11:22:33:44:55, as host h1
// saw".
func (h *holders) foreign(ctx context.Context, rec store.Lease) string {
	vendor := ""
	if mac, err := net.ParseMAC(rec.MAC); err == nil {
		if made := h.Vendor(mac); made != "" {
			vendor = fmt.Sprintf(" (%s)", made)
		}
	}
	return fmt.Sprintf("in use on the LAN by MAC %s%s, as host %s saw", rec.MAC, vendor, h.HostOf(ctx, rec.Node))
}

// heldBy ends a sentence: "in use by container web on node h1 (network lan1)".
func (h *holders) heldBy(ctx context.Context, id, endpoint string) string {
	ctx, cancel := h.Bounded(ctx)
	defer cancel()
	host := h.HostOf(ctx, id)
	if endpoint == "" {
		return fmt.Sprintf("being given to a container on node %s", host)
	}
	holder, on := "endpoint "+node.Short(endpoint), ""
	if it, err := h.Read(ctx, store.EndpointKey(id, endpoint)); err == nil && it.Created != 0 {
		if rec, err := store.Decode[store.Endpoint](it); err == nil {
			if rec.Container.Name != "" {
				holder = "container " + rec.Container.Name
			}
			if rec.Name != "" {
				on = fmt.Sprintf(" (network %s)", rec.Name)
			}
		}
	}
	return fmt.Sprintf("in use by %s on node %s%s", holder, host, on)
}

// fullness says what a full network is full of.
func (h *holders) fullness(ctx context.Context, t census.Tally) string {
	var words []string
	if n := t.Held(); n > 0 {
		words = append(words, fmt.Sprintf("%s on %s (%s)", number(n, "lease"), number(len(t.Leases), "host"), h.byHost(ctx, t.Leases)))
	}
	for _, more := range []struct {
		n    int
		what string
	}{{t.Reserved, "reserved"}, {t.Quarantined, "resting after an eviction"}, {t.Conflicted, "in use on the LAN by others (gvlan conflict ls)"}} {
		if more.n > 0 {
			words = append(words, fmt.Sprintf("%d %s", more.n, more.what))
		}
	}
	if len(words) == 0 {
		return "no lease"
	}
	said := strings.Join(words, ", ")
	if t.OldestAt.IsValid() {
		said += fmt.Sprintf("; the oldest lease is %s, %s", t.OldestAt, h.leasedBy(ctx, t.Oldest))
	}
	return said
}

// number is a number of things in words.
func number(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// hostsTold is how many hosts a sentence names.
const hostsTold = 4

// byHost are the hosts with the most leases, "h1 120, h2 31".
func (h *holders) byHost(ctx context.Context, leases map[string]int) string {
	nodes := slices.SortedFunc(maps.Keys(leases), func(a, b string) int {
		return cmp.Or(cmp.Compare(leases[b], leases[a]), cmp.Compare(a, b))
	})
	var words []string
	for i, node := range nodes {
		if i == hostsTold {
			words = append(words, fmt.Sprintf("and %d more", len(nodes)-i))
			break
		}
		name := "the swarm's services"
		if node != "" {
			name = h.HostOf(ctx, node)
		}
		words = append(words, fmt.Sprintf("%s %d", name, leases[node]))
	}
	return strings.Join(words, ", ")
}

// onNetwork ends a sentence with the name of a definition, where it has one.
func (h *holders) onNetwork(ctx context.Context, uuid string) string {
	defs, err := h.Definitions(ctx)
	if err != nil {
		return ""
	}
	for _, def := range defs {
		if def.UUID == uuid {
			return fmt.Sprintf(" (network %s)", def.Name)
		}
	}
	return ""
}

// reservedFor ends a sentence: "the gateway of network lan1".
func (h *holders) reservedFor(ctx context.Context, addr netip.Addr, by []string) string {
	defs, err := h.Definitions(ctx)
	if err != nil {
		return "reserved"
	}
	for _, def := range defs {
		if !slices.Contains(by, def.UUID) {
			continue
		}
		for _, p := range def.Created.Pools {
			if p.Subnet.Contains(addr) {
				return roleIn(p, addr) + "network " + def.Name
			}
		}
	}
	for _, name := range by {
		if p, ok := h.poolBy(name); ok && p.Joined() {
			n, _ := h.Memory.Addressing(p.Network)
			return roleIn(p.Record(), addr) + n.Title()
		}
	}
	return "reserved for a network that is being created"
}

// poolBy finds the pool of this node that a reservation's entry means.
func (h *holders) poolBy(entry string) (journal.Pool, bool) {
	for _, p := range h.Memory.Pools(func(p journal.Pool) bool { return p.By(h.Self.Node()) == entry }) {
		return p, true
	}
	return journal.Pool{}, false
}

// roleIn begins what a reserved address is: "the gateway of ".
func roleIn(p store.Pool, addr netip.Addr) string {
	if p.Gateway == addr {
		return "the gateway of "
	}
	for name, aux := range p.Aux {
		if aux == addr {
			return fmt.Sprintf("the auxiliary address %s of ", strings.TrimSpace(name))
		}
	}
	return "reserved for "
}

// hosts are the addresses that the cluster's hosts have themselves. On the LAN
// they are taken whatever a pool says, so no network gives them: neither one
// of the cluster nor a local one, before its definition is committed as after.
type hosts struct {
	mu    sync.Mutex
	of    map[netip.Addr]string // host name by address
	set   *addrset.Set          // of the same addresses; replaced, never changed
	known bool                  // of has what the store said at some time
}

// KeepOut sets the addresses of hosts' own interfaces, each with its host's
// name. Where not all nodes' are among them yet, the next request reads the
// others'.
func (h *holders) KeepOut(of map[netip.Addr]string, all bool) {
	h.hosts.mu.Lock()
	defer h.hosts.mu.Unlock()
	h.hosts.known = all
	h.hosts.enter(of)
}

// hostsNow are those addresses, as far as this host was told.
func (h *holders) hostsNow() *addrset.Set {
	h.hosts.mu.Lock()
	defer h.hosts.mu.Unlock()
	return h.hosts.set
}

func (h *hosts) enter(of map[netip.Addr]string) {
	h.of, h.set = of, &addrset.Set{}
	h.set.Fill(slices.Collect(maps.Keys(of)))
}

// hostAddresses returns the addresses no container gets, after reading what
// nodes say of themselves where nobody told yet: the first request of an agent
// may come before its first look.
func (h *holders) hostAddresses(ctx context.Context) (*addrset.Set, error) {
	h.hosts.mu.Lock()
	set, known := h.hosts.set, h.hosts.known
	h.hosts.mu.Unlock()
	if known {
		return set, nil
	}
	items, _, err := h.List(ctx, store.NodesSpan())
	if err != nil {
		return nil, h.Unanswered(err)
	}
	read := map[netip.Addr]string{}
	for _, it := range items {
		if node, err := store.Decode[store.Node](it); err == nil {
			maps.Copy(read, node.HostAddresses())
		}
	}
	h.hosts.mu.Lock()
	defer h.hosts.mu.Unlock()
	if !h.hosts.known {
		maps.Copy(read, h.hosts.of)
		h.hosts.enter(read)
		h.hosts.known = true // whoever follows the nodes tells the rest
	}
	return h.hosts.set, nil
}

// checkHosts refuses an explicit address that a host has itself. A store that
// does not answer says so when it is asked for the address itself.
func (h *holders) checkHosts(ctx context.Context, addr netip.Addr) error {
	_, _ = h.hostAddresses(ctx)
	h.hosts.mu.Lock()
	defer h.hosts.mu.Unlock()
	if host, has := h.hosts.of[addr]; has {
		return fmt.Errorf("address %s is host %s's own: give another one", addr, host)
	}
	return nil
}
