package ipam

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// atOnce is how long after Docker's last word about one pool it may speak of
// another and both creates still be running: within a create its calls follow
// each other at once, while an engine that died needs longer to come back. The
// clock only puts an order on what may be joined.
const atOnce = time.Second

// Attach joins pools to a network when it is created: CreateNetwork does not
// say which PoolIDs are its own, so each of its pools is one not joined yet
// that has the same space, subnet, gateway and aux addresses, or failing that
// the same space and subnet; of several the oldest whose create may still run
// (see oldestRunning). Attaching again changes nothing, but for a swarm's
// network (see replaced). A pool that nobody requested here (the journal was
// lost) is joined by the first request for an address of it. Errors are the
// journal's.
func (a *Allocator) Attach(id string, pools []pool.Data) error {
	defer a.wake()
	return a.ledger.change(func() []entry {
		n, ok := a.ledger.network(id)
		if !ok {
			n = network{ID: id}
		}
		n.Waiting = nil
		joined := map[string]bool{}
		var entries []entry
		for _, data := range pools {
			p, ok := a.ledger.match(id, data, joined)
			if !ok {
				n.Waiting = append(n.Waiting, data)
				continue
			}
			joined[p.ID] = true
			entries = append(entries, a.ledger.replaced(id, p)...)
			entries = append(entries, p.join(id, data))
		}
		return append(entries, n)
	})
}

// match finds the pool that a network means by data.
func (b *ledger) match(network string, data pool.Data, except map[string]bool) (opened, bool) {
	data.Subnet = data.Subnet.Masked()
	open := b.poolsWhere(func(p opened) bool {
		id := p.parsed()
		return !p.Closed && !except[p.ID] && (p.Network == network || !p.joined()) &&
			id.Space == data.Space && id.Subnet == data.Subnet
	})
	own := func(p opened) bool { return p.joined() }
	fresh := func(p opened) bool { return !p.joined() }
	alike := func(p opened) bool { return fresh(p) && p.Gateway == p.gatewayIn(data) && sameAux(p, data) }
	order, pick := []func(opened) bool{own, alike, fresh}, oldestRunning
	if keepsID(network) {
		order, pick = []func(opened) bool{alike, fresh, own}, newest
	}
	for _, same := range order {
		some := slices.DeleteFunc(slices.Clone(open), func(p opened) bool { return !same(p) })
		if len(some) > 0 {
			return pick(some), true
		}
	}
	return opened{}, false
}

func newest(pools []opened) opened { return pools[len(pools)-1] }

// oldestRunning returns the oldest pool whose create may run at once with that
// of the newest. One that Docker was silent about before is another driver's,
// or of a create that ended with its engine or agent and that was repeated:
// joined in place of the new one it would leave that without a network, and
// the engine asks the new one. Creates that do run at once are told apart by
// nothing but their order: the newest first would give each the other's pool.
func oldestRunning(pools []opened) opened {
	last := newest(pools).Heard
	i := slices.IndexFunc(pools, func(p opened) bool {
		return max(last-p.Heard, p.Heard-last) <= atOnce.Milliseconds()
	})
	return pools[i]
}

// keepsID tells that a network is made anew under one id: a swarm's, by every
// new leader and by a worker whose engine was killed. Nobody releases the
// pools it had before, and the newest one is what is asked from then on.
func keepsID(network string) bool {
	p := opened{Network: network}
	return p.byManager() || p.byWorker()
}

// replaced closes the pools of a swarm's network in whose place p comes.
func (b *ledger) replaced(network string, p opened) (entries []entry) {
	if p.joined() || !keepsID(network) {
		return nil
	}
	space, subnet := p.parsed().Space, p.parsed().Subnet
	for _, old := range b.poolsWhere(func(o opened) bool { return o.Network == network && !o.Closed }) {
		if id := old.parsed(); id.Space == space && id.Subnet == subnet {
			old.Closed = true
			entries = append(entries, old)
		}
	}
	return entries
}

func sameAux(p opened, data pool.Data) bool {
	return slices.Equal(opened{Extra: p.Extra}.reserved(), opened{Aux: data.Aux}.reserved())
}

// join is the pool as the network's.
func (p opened) join(network string, data pool.Data) opened {
	p.Network, p.Aux = network, maps.Clone(data.Aux)
	p.Extra = slices.DeleteFunc(slices.Clone(p.Extra), func(addr netip.Addr) bool {
		return slices.Contains(slices.Collect(maps.Values(data.Aux)), addr)
	})
	if gateway := p.gatewayIn(data); gateway.IsValid() {
		p.Gateway = gateway
	}
	return p
}

// gatewayIn is the gateway that a network has by data: none where Docker only
// repeats a subnet's one address, which nobody gave as a gateway.
func (p opened) gatewayIn(data pool.Data) netip.Addr {
	if data.Subnet.IsSingleIP() && !p.Asked {
		return netip.Addr{}
	}
	return data.Gateway
}

// rejoin gives a pool that only its id is known of to the network that
// waits for such a one.
func (a *Allocator) rejoin(p opened, id pool.ID) opened {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	for _, n := range a.ledger.networks {
		for _, data := range n.Waiting {
			if data.Space == id.Space && data.Subnet.Masked() == id.Subnet {
				return p.join(n.ID, data)
			}
		}
	}
	return p
}

// Pools returns what the pools joined to a network say, in the order they
// were requested; false when it has none.
func (a *Allocator) Pools(id string) (pool.Addressing, bool) {
	pools := a.ledger.poolsWhere(func(p opened) bool { return p.Network == id && !p.Closed })
	if len(pools) == 0 {
		return pool.Addressing{}, false
	}
	all := pool.Addressing{Segment: pools[0].parsed().Segment, Options: maps.Clone(pools[0].Options)}
	for _, p := range pools {
		all.Pools = append(all.Pools, p.record())
	}
	return all, true
}

// Joined lists the networks that pools were joined to (Attach) and not closed
// since (Detach), in order.
func (a *Allocator) Joined() []string {
	var ids []string
	for _, p := range a.ledger.poolsWhere(func(p opened) bool { return p.joined() && !p.Closed }) {
		ids = append(ids, p.Network)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Adopt tells that a network has a definition, or that the definition
// changed: its overrides hold from now on, and Bind compares it. at is the
// revision it was last modified at, 0 when that is not known. Errors are the
// journal's.
func (a *Allocator) Adopt(id string, def store.Network, at store.Revision) error {
	defer a.wake()
	return a.ledger.change(func() []entry {
		n, ok := a.ledger.network(id)
		if !ok {
			n = network{ID: id}
		}
		n.UUID, n.Name, n.Overrides, n.Options = def.UUID, def.Name, def.Overrides, def.Created.IPAMOptions
		n.Definition = max(n.Definition, at)
		return []entry{n}
	})
}

// sameDefinition tells whether two of the engine's networks stand for one
// definition: the network that an import holds addresses for, and the one that
// then takes its place.
func (b *ledger) sameDefinition(one, other string) bool {
	first, ok1 := b.network(one)
	second, ok2 := b.network(other)
	return ok1 && ok2 && first.UUID != "" && first.UUID == second.UUID
}

// Detach forgets a network and closes its pools. What they owe is given
// back in the background; a definition's reservations stay. Errors are the
// journal's.
func (a *Allocator) Detach(id string) error {
	defer a.wake()
	err := a.ledger.change(func() []entry {
		var entries []entry
		for _, p := range a.ledger.poolsWhere(func(p opened) bool { return p.Network == id }) {
			p.Closed = true
			entries = append(entries, p)
		}
		return entries
	})
	if err != nil {
		return fmt.Errorf("detach network %s: %w", short(id), err)
	}
	return a.ledger.forget(network{ID: id})
}
