package ipam

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/addrset"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// Docker's own default pools begin at 172.17.0.0/16, which docker0 has.
var (
	firstDefault = netip.MustParsePrefix("172.18.0.0/16")
	lastDefault  = netip.MustParsePrefix("172.31.0.0/16")
)

// takeDefault takes the next free default subnet, once for the cluster: one
// that no network has, that no route of this host overlaps and that nobody
// takes at the same moment. Engines up to 27 ask again and again within one
// create while the answer does not suit them; since each answer stays taken,
// none comes twice.
func (ps *pools) takeDefault(ctx context.Context, id *pool.ID, r PoolRequest) error {
	if r.SubPool != "" {
		return fmt.Errorf("--ip-range %s needs a --subnet", r.SubPool)
	}
	avoid, err := ps.usedSpans(ctx)
	if err != nil {
		return fmt.Errorf("choose a default subnet: %w", err)
	}
	for _, pools := range ps.defaultPools(r.V6) {
		for subnet := pools.First; ; subnet = following(subnet) {
			if !avoid.Overlaps(addrset.Of(subnet)) {
				taken, err := ps.reservations.putDefault(ctx, subnet, id.Nonce)
				if err != nil || taken {
					id.Subnet = subnet
					return err
				}
			}
			if subnet == pools.Last || !subnet.IsValid() {
				break
			}
		}
	}
	return ps.noDefault(ctx)
}

// noDefault says who has the default subnets: networks of the cluster by name,
// and hosts, whose local networks and unfinished creates have no definition.
func (ps *pools) noDefault(ctx context.Context) error {
	items, _, err := ps.List(ctx, store.DefaultPoolsSpan())
	if err != nil {
		return ps.Unanswered(err)
	}
	defs, err := ps.Definitions(ctx)
	if err != nil {
		return ps.Unanswered(err)
	}
	called := map[string]string{}
	for _, def := range defs {
		called[def.UUID] = "network " + def.Name
	}
	nameless := map[string]int{} // by node: no definition has them
	var holders []string
	for _, it := range items {
		rec, err := store.Decode[store.DefaultPool](it)
		if err != nil {
			return err
		}
		if rec.Node != "" {
			nameless[rec.Node]++
		}
		for _, uuid := range rec.By {
			holders = append(holders, cmp.Or(called[uuid], "network "+uuid))
		}
	}
	slices.Sort(holders)
	holders = slices.Compact(holders)
	for _, node := range slices.Sorted(maps.Keys(nameless)) {
		holders = append(holders, fmt.Sprintf("host %s (%d: local networks, and creates that have not ended, which it gives back within two minutes while it is up)", ps.HostOf(ctx, node), nameless[node]))
	}
	if len(holders) == 0 {
		return errors.New("no default subnet is free: this host's routes cover them all; give one with --subnet, or others with --default-pools")
	}
	return fmt.Errorf("no default subnet is free: they are those of %s; give one with --subnet, or more with --default-pools", strings.Join(holders, ", "))
}

// following is the next subnet of the same length.
func following(subnet netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(pool.LastOf(subnet).Next(), subnet.Bits())
}

// usedSpans is everything a default subnet must keep clear of.
func (ps *pools) usedSpans(ctx context.Context) (*addrset.Set, error) {
	used, err := ps.subnetsIn(ctx, "")
	if err != nil {
		return nil, err
	}
	routes, err := ps.Routes()
	if err != nil {
		return nil, fmt.Errorf("read this host's routes: %w", err)
	}
	items, _, err := ps.List(ctx, store.DefaultPoolsSpan())
	if err != nil {
		return nil, err
	}
	avoid := &addrset.Set{}
	for _, u := range used {
		avoid.Add(addrset.Of(u.subnet))
	}
	for _, route := range routes {
		if route.Bits() > 0 {
			avoid.Add(addrset.Of(route))
		}
	}
	for _, it := range items {
		rec, err := store.Decode[store.DefaultPool](it)
		if err != nil {
			return nil, err
		}
		if subnet, err := netip.ParsePrefix(rec.Subnet); err == nil {
			avoid.Add(addrset.Of(subnet))
		}
	}
	return avoid, nil
}

// defaultPools returns the runs of a family.
func (ps *pools) defaultPools(v6 bool) []node.DefaultPools {
	var runs []node.DefaultPools
	for _, d := range ps.DefaultPools {
		if d.First.Addr().Is6() == v6 {
			runs = append(runs, d)
		}
	}
	switch {
	case len(runs) > 0:
		return runs
	case v6:
		return []node.DefaultPools{uniqueLocal(ps.Self.Cluster())}
	}
	return []node.DefaultPools{{First: firstDefault, Last: lastDefault}}
}

// uniqueLocal is the cluster's own IPv6 network: fd and a 40-bit global id
// (RFC 4193), the first bits of SHA-256(cluster uuid), in /64s.
func uniqueLocal(cluster string) node.DefaultPools {
	sum := sha256.Sum256([]byte(cluster))
	raw := [16]byte{0xfd}
	copy(raw[1:6], sum[:5])
	first := netip.PrefixFrom(netip.AddrFrom16(raw), 64)
	raw[6], raw[7] = 0xff, 0xff
	return node.DefaultPools{First: first, Last: netip.PrefixFrom(netip.AddrFrom16(raw), 64)}
}

// pools are opened by Docker, joined to networks and closed.
type pools struct {
	*node.Node
	reservations *reservations
	want         func(network string) // has it asked for what it gives next
	mu           sync.Mutex
	read         map[string]readDefinition // by key, as last seen; under mu
}

// atOnce is how long after Docker's last word about one pool it may speak of
// another and both creates still be running: within a create its calls follow
// each other at once, while an engine that died needs longer to come back. The
// clock only puts an order on what may be joined.
const atOnce = time.Second

// Attach joins pools to a network when it is created: CreateNetwork does not
// say which PoolIDs are its own, so each of its pools is one not joined yet
// that has the same space, subnet, gateway and aux addresses, or failing that
// the same space and subnet; of several the oldest whose create may still run
// (see oldestRunning). Docker opens a create's pools before the call that
// arrived then. Attaching again changes nothing, but for a swarm's
// network (see closeReplaced). A pool that nobody requested here (the journal was
// lost) is joined by the first request for an address of it.
func (ps *pools) Attach(c *journal.Change, id string, pools []pool.Data, arrived time.Time) {
	c.After(ps.Wake)
	c.After(func() { ps.want(id) })
	n, ok := c.Addressing(id)
	if !ok {
		n = journal.Addressing{ID: id}
	}
	n.Waiting = nil
	joined := map[string]bool{}
	for _, data := range pools {
		p, ok := match(c, id, data, arrived, joined)
		if !ok {
			n.Waiting = append(n.Waiting, data)
			continue
		}
		joined[p.ID] = true
		closeReplaced(c, id, p)
		c.Put(p.Join(id, data))
	}
	c.Put(n)
}

// match finds the pool that a network means by data.
func match(c *journal.Change, network string, data pool.Data, arrived time.Time, except map[string]bool) (journal.Pool, bool) {
	data.Subnet = data.Subnet.Masked()
	open := c.Pools(func(p journal.Pool) bool {
		id := p.Parsed
		return !p.Closed && !except[p.ID] && (p.Network == network || !p.Joined()) &&
			id.Space == data.Space && id.Subnet == data.Subnet
	})
	own := func(p journal.Pool) bool { return p.Joined() }
	fresh := func(p journal.Pool) bool { return !p.Joined() }
	alike := func(p journal.Pool) bool { return fresh(p) && p.Gateway == p.GatewayIn(data) && sameAux(p, data) }
	order := []func(journal.Pool) bool{own, alike, fresh}
	pick := func(some []journal.Pool) journal.Pool { return oldestRunning(some, arrived) }
	if keepsID(network) {
		order, pick = []func(journal.Pool) bool{alike, fresh, own}, newest
	}
	for _, same := range order {
		some := slices.DeleteFunc(slices.Clone(open), func(p journal.Pool) bool { return !same(p) })
		if len(some) > 0 {
			return pick(some), true
		}
	}
	return journal.Pool{}, false
}

func newest(pools []journal.Pool) journal.Pool { return pools[len(pools)-1] }

// oldestRunning returns the oldest pool whose create may run at once with that
// of the newest. One that Docker was silent about before is another driver's,
// or of a create that ended with its engine or agent and that was repeated:
// joined in place of the new one it would leave that without a network, and
// the engine asks the new one. Creates that do run at once are told apart by
// nothing but their order: the newest first would give each the other's pool.
func oldestRunning(pools []journal.Pool, arrived time.Time) journal.Pool {
	last := newest(pools).Heard
	for _, p := range slices.Backward(pools) {
		if p.Heard <= arrived.UnixMilli() {
			last = p.Heard
			break
		}
	}
	i := slices.IndexFunc(pools, func(p journal.Pool) bool {
		return max(last-p.Heard, p.Heard-last) <= atOnce.Milliseconds()
	})
	return pools[i]
}

// keepsID reports whether a network is made anew under one id: a swarm's, by every
// new leader and by a worker whose engine was killed. Nobody releases the
// pools it had before, and the newest one is what is asked from then on.
func keepsID(network string) bool {
	p := journal.Pool{Network: network}
	return p.ByManager() || p.ByWorker()
}

// closeReplaced closes the pools of a swarm's network in whose place p comes.
func closeReplaced(c *journal.Change, network string, p journal.Pool) {
	if p.Joined() || !keepsID(network) {
		return
	}
	for _, old := range c.Pools(func(o journal.Pool) bool { return o.Network == network && !o.Closed }) {
		if old.Parsed.Space == p.Parsed.Space && old.Parsed.Subnet == p.Parsed.Subnet {
			old.Closed = true
			c.Put(old)
		}
	}
}

func sameAux(p journal.Pool, data pool.Data) bool {
	return slices.Equal(journal.Pool{Extra: p.Extra}.Reserved(), journal.Pool{Aux: data.Aux}.Reserved())
}

// rejoin gives a pool that only its id is known of to the network that
// waits for such a one.
func (ps *pools) rejoin(p journal.Pool) journal.Pool {
	for _, n := range ps.Memory.Addressings(func(n journal.Addressing) bool { return len(n.Waiting) > 0 }) {
		for _, data := range n.Waiting {
			if data.Space == p.Parsed.Space && data.Subnet.Masked() == p.Parsed.Subnet {
				return p.Join(n.ID, data)
			}
		}
	}
	return p
}

// AddressingOf returns what the pools joined to a network say, in the order they
// were requested; false when it has none. Of a Memory it is what stands, of a
// Change what would.
func AddressingOf(from interface {
	Pools(which func(journal.Pool) bool) []journal.Pool
}, id string) (pool.Addressing, bool) {
	pools := from.Pools(func(p journal.Pool) bool { return p.Network == id && !p.Closed })
	if len(pools) == 0 {
		return pool.Addressing{}, false
	}
	all := pool.Addressing{Segment: pools[0].Parsed.Segment, Options: maps.Clone(pools[0].Options)}
	for _, p := range pools {
		all.Pools = append(all.Pools, p.Record())
	}
	return all, true
}

// Joined lists the networks that pools were joined to (Attach) and not closed
// since (Detach), in order.
func (ps *pools) Joined() []string {
	var ids []string
	for _, p := range ps.Memory.Pools(func(p journal.Pool) bool { return p.Joined() && !p.Closed }) {
		ids = append(ids, p.Network)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// NetworkOf is the network that a pool was joined to, "" while it was to none.
func (ps *pools) NetworkOf(id string) string {
	p, _ := ps.Memory.Pool(id)
	return p.Network
}

// Adopt tells that a network has a definition, or that the definition
// changed: its overrides hold from now on, and Bind compares it. at is the
// revision it was last modified at, 0 when that is not known.
func (ps *pools) Adopt(c *journal.Change, id string, def store.Network, at store.Revision) {
	c.After(ps.Wake)
	n, ok := c.Addressing(id)
	if !ok {
		n = journal.Addressing{ID: id}
	}
	n.UUID, n.Name, n.Overrides, n.Options = def.UUID, def.Name, def.Overrides, def.Created.IPAMOptions
	n.Definition = max(n.Definition, at)
	c.Put(n)
}

// Detach forgets a network and closes its pools. What they owe is given
// back in the background; a definition's reservations stay.
func (ps *pools) Detach(c *journal.Change, id string) {
	c.After(ps.Wake)
	for _, p := range c.Pools(func(p journal.Pool) bool { return p.Network == id }) {
		p.Closed = true
		c.Put(p)
	}
	c.Drop(journal.Addressing{ID: id})
}

// RequestPool opens a view on a subnet, which for an empty Pool is the next
// free of the default pools. Bad input is refused in one sentence and leaves
// nothing behind.
func (ps *pools) RequestPool(ctx context.Context, r PoolRequest) (PoolReply, error) {
	if !pool.IsSpace(r.Space) {
		return PoolReply{}, fmt.Errorf("address space %q is not gvlan's: want %s or %s", r.Space, pool.LocalSpace, pool.GlobalSpace)
	}
	o, err := pool.ParseOptions(r.Options)
	if err != nil {
		return PoolReply{}, err
	}
	ps.AwaitOpening(ctx)
	if err := ps.Distrust(); err != nil {
		return PoolReply{}, err
	}
	nonce, err := node.MintNonce(ps.Rand, node.PoolNonce)
	if err != nil {
		return PoolReply{}, err
	}
	ctx, cancel := ps.Bounded(ctx)
	defer cancel()
	id := pool.ID{Space: r.Space, Segment: o.Segment, Nonce: nonce}
	p := journal.Pool{Options: r.Options, Default: r.Pool == ""}
	if p.Default {
		err = ps.takeDefault(ctx, &id, r)
	} else {
		err = ps.readSubnet(ctx, &id, r, o)
	}
	inDoubt := p.Default && id.Subnet.IsValid() && errors.Is(err, store.ErrUnavailable)
	if err != nil && !inDoubt {
		return PoolReply{}, err
	}
	p.ID, p.Parsed, p.Closed = id.String(), id, inDoubt // closed: the subnet is given back
	if err := errors.Join(err, ps.openPool(p)); err != nil {
		return PoolReply{}, err
	}
	return PoolReply{ID: p.ID, Subnet: id.Subnet}, nil
}

// readSubnet fills an id with the subnet and range that were asked for.
func (ps *pools) readSubnet(ctx context.Context, id *pool.ID, r PoolRequest, o pool.Options) (err error) {
	if id.Subnet, err = pool.ParseSubnet(r.Pool); err != nil {
		return err
	}
	if id.Range, err = pool.ParseRange(r.SubPool, id.Subnet); err != nil {
		return err
	}
	return ps.checkOverlap(ctx, *id, o)
}

// checkOverlap looks at the other subnets of the segment. Overlap is legal:
// an address exists once per segment whatever views are on it. It is
// reported, because it is seldom meant. The same base with another length is
// nearly always a typing error.
func (ps *pools) checkOverlap(ctx context.Context, id pool.ID, o pool.Options) error {
	others, err := ps.subnetsIn(ctx, id.Segment)
	if err != nil {
		return fmt.Errorf("compare --subnet %s with other networks: %w", id.Subnet, err)
	}
	for _, other := range others {
		switch {
		case other.subnet == id.Subnet || !other.subnet.Overlaps(id.Subnet):
		case other.subnet.Addr() == id.Subnet.Addr() && !o.OverlapOK:
			return fmt.Errorf("--subnet %s begins where %s of %s does: give the same length, or --ipam-opt overlap=ok if you mean it",
				id.Subnet, other.subnet, other.of)
		default:
			ps.Log.Warn("subnets overlap; no address is given twice, but hosts may not reach each other",
				"subnet", id.Subnet, "other", other.subnet, "of", other.of)
		}
	}
	return nil
}

// usedSubnet is a subnet in use.
type usedSubnet struct {
	subnet netip.Prefix
	of     string // "network lan1"
}

// subnetsIn returns the subnets of a segment: those of definitions, and of
// this host's pools that have none yet. With segment "" of all segments.
func (ps *pools) subnetsIn(ctx context.Context, segment string) ([]usedSubnet, error) {
	defs, err := ps.defined(ctx)
	if err != nil {
		return nil, err
	}
	var used []usedSubnet
	for _, def := range defs {
		if segment != "" && def.Created.Segment != segment {
			continue
		}
		for _, p := range def.Created.Pools {
			used = append(used, usedSubnet{p.Subnet, "network " + def.Name})
		}
	}
	for _, p := range ps.Memory.Pools(func(p journal.Pool) bool { return !p.Closed }) {
		if id := p.Parsed; segment == "" || id.Segment == segment {
			used = append(used, usedSubnet{id.Subnet, "another network of this host"})
		}
	}
	return used, nil
}

// readDefinition is a definition as it was at a revision.
type readDefinition struct {
	modified store.Revision
	network  store.Network
}

// readSingly is how many changed definitions are read one by one, before all are
// read at once.
const readSingly = 4

// defined returns the definitions as they are now. Each pool that Docker opens
// needs them, and a host may have to open a thousand: their keys tell which
// changed since they were last read.
func (ps *pools) defined(ctx context.Context) (all []store.Network, err error) {
	now, changed := map[string]readDefinition{}, []string(nil)
	_, err = ps.Scan(ctx, store.NetworksSpan(), store.KeysOnly, func(page []store.Item) error {
		ps.mu.Lock()
		defer ps.mu.Unlock()
		for _, it := range page {
			if had, ok := ps.read[it.Key]; ok && had.modified == it.Modified {
				now[it.Key] = had
			} else {
				changed = append(changed, it.Key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	items, err := ps.readKeys(ctx, changed)
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		if had, ok := now[it.Key]; ok && had.modified == it.Modified {
			continue
		}
		network, err := store.Decode[store.Network](it)
		if err != nil {
			return nil, err
		}
		now[it.Key] = readDefinition{it.Modified, network}
	}
	ps.mu.Lock()
	ps.read = now
	ps.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(now)) {
		all = append(all, now[key].network)
	}
	return all, nil
}

// readKeys reads definitions, and others too where they are many.
func (ps *pools) readKeys(ctx context.Context, keys []string) (items []store.Item, err error) {
	if len(keys) > readSingly {
		items, _, err = ps.List(ctx, store.NetworksSpan())
		return items, err
	}
	for _, key := range keys {
		it, err := ps.Read(ctx, key)
		if err != nil {
			return nil, err
		}
		if it.Created != 0 { // else removed since
			items = append(items, it)
		}
	}
	return items, nil
}

// openPool enters a pool and has its subnet mirrored.
func (ps *pools) openPool(p journal.Pool) error {
	defer ps.Wake()
	return ps.Memory.Note(func(c *journal.Change) {
		p.Seq, p.Heard = ps.Memory.NextSeq(), ps.Now().UnixMilli()
		c.Put(p)
	})
}

// ReleasePool closes a pool. One that a network was joined to stays until
// that network is detached. One without, or whose network is detached, gives
// back what was reserved for it: its create failed. It fails only when the
// journal does.
func (ps *pools) ReleasePool(ctx context.Context, id string) error {
	p, ok := ps.Memory.Pool(id)
	if !ok || p.Joined() && !p.Closed {
		return nil
	}
	if err := ps.Memory.NotePool(id, func(p *journal.Pool) { p.Closed = true }); err != nil {
		return err
	}
	ctx, cancel := ps.Bounded(ctx)
	defer cancel()
	if ps.Self.Trusted() != nil || ps.settlePool(ctx, id) != nil {
		ps.Wake()
	}
	return nil
}

// settlePool gives back what a closed pool owes and forgets it, or what an
// adopted one owes, now that its definition has it.
func (ps *pools) settlePool(ctx context.Context, id string) error {
	p, ok := ps.Memory.Pool(id)
	if !ok {
		return nil
	}
	uuid := ""
	if !p.Closed {
		n, _ := ps.Memory.Addressing(p.Network)
		if uuid = n.UUID; uuid == "" {
			return nil
		}
	}
	for _, addr := range p.Owed {
		if err := ps.reservations.unreserve(ctx, p, addr, uuid); err != nil {
			return err
		}
	}
	if !p.Closed {
		return nil
	}
	if p.Default {
		if err := ps.reservations.giveDefault(ctx, p.Parsed); err != nil {
			return err
		}
	}
	return ps.Memory.NoteDrop(p)
}
