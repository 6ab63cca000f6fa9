package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/addrset"
	"gvlan/ipam/census"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
	"gvlan/ipam/probe"
	"gvlan/ipam/reserve"
)

// requests answers Docker's requests for addresses.
type requests struct {
	*node.Node
	holders      *holders
	claims       *claims
	leases       *leases
	reservations *reservations
	pools        *pools
	debts        *debts
	kept         *kept
	answering    answering
	lists        *census.Lists
	counts       counts
	prober       *probe.Prober
}

// leaseAny gives any free address. While the store is away it can only be
// one that this node itself gave up and the store does not know of yet.
func (rq *requests) leaseAny(ctx context.Context, p journal.Pool, r AddressRequest) (netip.Prefix, error) {
	err := rq.Distrust()
	if err == nil {
		var prefix netip.Prefix
		if prefix, err = rq.allocate(ctx, p, r); err == nil {
			return prefix, nil
		}
	}
	if errors.Is(err, store.ErrUnavailable) {
		if prefix, ok := rq.reissueAny(ctx, p, rq.kept.asker(ctx, p, netip.Addr{}, r)); ok {
			return prefix, nil
		}
	}
	return netip.Prefix{}, err
}

// allocate proposes candidates to the store until one is taken: from the
// mirrors, and once they offer nothing from a list that is true right now,
// because only that may say that the network is full.
func (rq *requests) allocate(ctx context.Context, p journal.Pool, r AddressRequest) (netip.Prefix, error) {
	return rq.allocateWith(ctx, p, r, rungsMost, func(all []candidate) (tried, error) { return rq.takeDynamic(ctx, p, all) })
}

// tried is what became of candidates.
type tried struct {
	won      int   // which one was taken; -1: none
	free     []int // had no record, and were reserved for somebody else than was thought
	revision store.Revision
}

// allocateWith proposes candidates, up to so many at once, until take wins one.
func (rq *requests) allocateWith(ctx context.Context, p journal.Pool, r AddressRequest, most int, take func([]candidate) (tried, error)) (netip.Prefix, error) {
	ctx, cancel := rq.Bounded(ctx)
	defer cancel()
	views, err := rq.views(p)
	if err != nil {
		return netip.Prefix{}, err
	}
	hosts, err := rq.holders.hostAddresses(ctx)
	if err != nil {
		return netip.Prefix{}, err
	}
	if err := rq.kept.read(ctx); err != nil {
		return netip.Prefix{}, err
	}
	who := rq.kept.asker(ctx, p, netip.Addr{}, r)
	name := who.Name
	pick := picker{a: rq, network: p.Network, views: views, hosts: hosts, late: rq.kept.late.Late(p.Parsed.Segment), own: rq.kept.late.Of(p.Network, name, r.Newcomers), named: name != "", passed: &addrset.Set{}}
	pick.mine = rq.kept.book.For(p.Parsed.Segment, who.Is())
	if err := pick.look(ctx); err != nil {
		return netip.Prefix{}, err
	}
	for {
		some, err := pick.some(ctx, most)
		if err != nil {
			return netip.Prefix{}, err
		}
		was, err := take(some)
		for _, one := range some {
			one.release()
		}
		if err != nil {
			return netip.Prefix{}, err
		}
		if was.won >= 0 {
			one := some[was.won]
			rq.mirrorOf(one.view).Took()
			return netip.PrefixFrom(one.at.Addr, one.view.subnet.Bits()), nil
		}
		for i, one := range some {
			if slices.Contains(was.free, i) {
				pick.reserved(one)
			} else {
				pick.lost(one, was.revision)
			}
		}
	}
}

// takeDynamic takes the first of the candidates that nobody has.
func (rq *requests) takeDynamic(ctx context.Context, p journal.Pool, all []candidate) (tried, error) {
	wishes := make([]wish, len(all))
	for i, one := range all {
		l, err := rq.NewLease(one.at, p, store.Dynamic)
		if err != nil {
			return tried{won: -1}, err
		}
		l.Pool = one.view.pool
		wishes[i] = wish{l, one.kept}
	}
	return rq.leases.takeFirst(ctx, wishes)
}

// leaseThis gives an explicit address, by the state of its record:
//
//   - free: it is leased;
//   - given to this network and not bound yet: the same answer again;
//   - bound to an endpoint of this node: refused, unless that endpoint is
//     dead, which is then closed first;
//   - anything else: refused, naming the holder;
//   - reserved for somebody else: refused, whatever its record says.
//
// Refusing here and not later is what keeps a living container's lease:
// Docker releases an address it was given when the endpoint then fails, and
// that release is byte for byte the true holder's own.
func (rq *requests) leaseThis(ctx context.Context, p journal.Pool, addr netip.Addr, who reserve.Asker) (netip.Prefix, error) {
	at := pool.At(p.Parsed.Segment, addr)
	if err := rq.checkGiven(ctx, p, at); err != nil {
		return netip.Prefix{}, err
	}
	if r, found := rq.kept.book.At(at); found && !who.May(r.Reservation) {
		return netip.Prefix{}, reserve.Refused{Reservation: r}
	}
	granted := netip.PrefixFrom(addr, p.Parsed.Subnet.Bits())
	for tries := 0; ; tries++ {
		holder, err := rq.tryThis(ctx, p, at, who)
		if err != nil {
			return netip.Prefix{}, err
		}
		if holder == "" {
			return granted, nil
		}
		closed, err := rq.CloseDead(ctx, holder)
		if err != nil || !closed || tries == 2 {
			return netip.Prefix{}, errors.Join(rq.heldHere(ctx, at, holder), err)
		}
	}
}

// heldHere refuses an address that an endpoint of this node has.
func (rq *requests) heldHere(ctx context.Context, at pool.Place, holder string) error {
	l, _ := rq.Memory.Lease(at)
	l.Address, l.Endpoint = at.Addr, holder
	return rq.holders.heldError(ctx, l)
}

// checkGiven refuses what the network keeps to itself. What a reservation says
// is told before that the address is excluded: it may be both, a gateway that
// is a host's own address.
func (rq *requests) checkGiven(ctx context.Context, p journal.Pool, at pool.Place) error {
	n, _ := rq.Memory.Addressing(p.Network)
	v, err := viewOf(p, n)
	if err != nil {
		return err
	}
	hosts := rq.holders.checkHosts(ctx, at.Addr)
	if hosts == nil && !v.excluded.Has(at.Addr) {
		return nil
	}
	if rec, ok := rq.reserved(ctx, at); ok {
		return rq.holders.takenError(ctx, at, rec)
	}
	if hosts != nil {
		return hosts
	}
	return fmt.Errorf("address %s is excluded from %s: give another one", at.Addr, n.Title())
}

// CheckFixed refuses an address that no endpoint of a network can have besides the
// one it is given, whoever has it now: one of no subnet, a gateway, a host's own.
// It returns the address as its subnet has it.
func (rq *requests) CheckFixed(ctx context.Context, network string, addr netip.Addr) (netip.Prefix, error) {
	n, _ := rq.Memory.Addressing(network)
	for _, p := range rq.Memory.Pools(func(p journal.Pool) bool { return p.Network == network && !p.Closed }) {
		subnet := p.Parsed.Subnet
		if !subnet.Contains(addr) {
			continue
		}
		if _, err := pool.ParseAddress(addr.String(), subnet); err != nil {
			return netip.Prefix{}, err
		}
		at := pool.At(p.Parsed.Segment, addr)
		if err := rq.checkGiven(ctx, p, at); err != nil {
			return netip.Prefix{}, err
		}
		if rec, ok := rq.reserved(ctx, at); ok {
			return netip.Prefix{}, rq.holders.takenError(ctx, at, rec)
		}
		return netip.PrefixFrom(addr, subnet.Bits()), nil
	}
	return netip.Prefix{}, fmt.Errorf("address %s lies in no subnet of %s: give one that does", addr, n.Title())
}

// CheckUnused refuses an address of a network that somebody on the LAN has, where
// the store has it for free and the network asks the LAN (probe=), or every one does
// for a while after a recovery.
func (rq *requests) CheckUnused(ctx context.Context, network string, at pool.Place) error {
	pools := rq.Memory.Pools(func(p journal.Pool) bool {
		return p.Network == network && !p.Closed && p.Parsed.Segment == at.Segment && p.Parsed.Subnet.Contains(at.Addr)
	})
	if len(pools) == 0 {
		return nil
	}
	return rq.checkSilent(ctx, pools[0], at)
}

// reserved reads the record of an address that is reserved. A store that
// does not answer knows none: the words are all that depend on it.
func (rq *requests) reserved(ctx context.Context, at pool.Place) (store.Lease, bool) {
	ctx, cancel := rq.Bounded(ctx)
	defer cancel()
	it, err := rq.Read(ctx, at.Key())
	if err != nil || it.Created == 0 {
		return store.Lease{}, false
	}
	rec, err := store.Decode[store.Lease](it)
	return rec, err == nil && rec.State == store.Reserved
}

// tryThis returns the endpoint of this node that the address is bound to, ""
// when the address was given.
func (rq *requests) tryThis(call context.Context, p journal.Pool, at pool.Place, who reserve.Asker) (holder string, err error) {
	ctx, cancel := rq.Bounded(call)
	defer cancel()
	release, err := rq.Places.Hold(ctx, at)
	if err != nil {
		return "", err
	}
	defer release()
	if l, own := rq.Memory.Lease(at); own {
		return rq.tryOwn(ctx, call, p, l, who)
	}
	return rq.tryFree(ctx, call, p, at, who)
}

// tryOwn is tryThis for an address this node has a lease of. ctx is what of
// Docker's call is for the store.
func (rq *requests) tryOwn(ctx, call context.Context, p journal.Pool, l journal.Lease, who reserve.Asker) (holder string, err error) {
	switch l.State {
	case journal.Bound:
		return l.Endpoint, nil
	case journal.Given, journal.Reissued:
		return "", rq.giveSame(p, l)
	}
	return rq.takeBack(ctx, call, p, l, who)
}

// takeBack gives an address again whose endpoint is gone: freed and taken anew
// where the store answers, else from the journal. A release is only sent to a
// store that answers, since afterwards the journal alone may not give it.
func (rq *requests) takeBack(ctx, call context.Context, p journal.Pool, l journal.Lease, who reserve.Asker) (holder string, err error) {
	err = rq.Distrust()
	if err == nil && !rq.Answers(ctx) {
		err = rq.Unanswered(store.ErrUnavailable)
	}
	if errors.Is(err, store.ErrUnavailable) && rq.reissuable(l, p) && len(rq.stillOurs(call, p.Network, []journal.Lease{l})) == 1 {
		return "", rq.reissue(l, p)
	}
	if err != nil {
		return "", err
	}
	if err := rq.leases.discharge(ctx, l); err != nil {
		return "", errors.Join(rq.Unanswered(err), rq.leases.postponeInDoubt(l))
	}
	return rq.tryFree(ctx, call, p, l.Place(), who)
}

// giveSame gives an address again that was given and is not bound yet, to the
// network it was given to or the one that took its place. Another driver's
// network never binds: there it may be in use.
func (rq *requests) giveSame(p journal.Pool, l journal.Lease) error {
	switch {
	case !p.Joined():
	case l.Network == p.Network && l.Pool == p.ID:
		return nil
	case l.Network == p.Network || rq.Memory.SameDefinition(l.Network, p.Network):
		l.Network, l.Pool = p.Network, p.ID
		return rq.Memory.KnownPut(l)
	}
	return fmt.Errorf("address %s is being given to another container on this node", l.Address)
}

// tryFree is tryThis for an address this node has no lease of.
func (rq *requests) tryFree(ctx, call context.Context, p journal.Pool, at pool.Place, who reserve.Asker) (holder string, err error) {
	if err := rq.Distrust(); err != nil {
		return "", err
	}
	if err := rq.checkSilent(ctx, p, at); err != nil {
		return "", err
	}
	l, err := rq.NewLease(at, p, store.Static)
	if err != nil {
		return "", err
	}
	it, err := rq.takeFree(ctx, l, who)
	if err != nil || it.Created == 0 {
		return "", err
	}
	rec, err := store.Decode[store.Lease](it)
	if err != nil {
		return "", err
	}
	if rec.State == store.Leased && rec.Node == rq.Self.Node() {
		// The journal was lost, or a transaction given up landed late.
		l := rq.leases.adopted(at, it, rec)
		if err := rq.Memory.KnownPut(l); err != nil {
			return "", err
		}
		return rq.tryOwn(ctx, call, p, l, who)
	}
	if p.ByWorker() && rec.Claims != nil {
		return rq.claims.takeClaimed(ctx, l, it, rec)
	}
	return "", rq.holders.takenError(ctx, at, rec)
}

// takeFree takes an address for who asks; a record that stands there is returned.
func (rq *requests) takeFree(ctx context.Context, l journal.Lease, who reserve.Asker) (there store.Item, err error) {
	want := wish{Lease: l}
	if r, known := rq.kept.book.At(l.Place()); known {
		want.kept = r.Modified // else it was refused before
	}
	for {
		found, won, err := rq.leases.take(ctx, want)
		if err != nil || won || found.Created != 0 {
			return found, err
		}
		r, reserved, err := rq.kept.now(ctx, l.Place())
		if err != nil {
			return store.Item{}, rq.Unanswered(err)
		}
		if reserved && !who.May(r.Reservation) {
			return store.Item{}, reserve.Refused{Reservation: r}
		}
		want.kept = r.Modified
	}
}

// While the store is away no address can be taken, but one that this node
// gave up and never told the store of is still this node's: nobody else can
// have got it. (Where a release was sent and no answer came, somebody may.) It
// may be given again on the same network, bound in the
// journal alone, and written once the store is back, under the same token.
// That is what brings a rack back from a power cut: containers come up
// before the host that holds etcd does.
//
// It is this node's until an eviction's quarantine could be over. From then on,
// and after a start, when nothing tells how long the store has been away, the
// LAN is asked first.

// stillOurs returns those of a network's leases that nobody else can have, or
// that nobody on the LAN answers for. It has what is left of Docker's call.
func (rq *requests) stillOurs(ctx context.Context, network string, leases []journal.Lease) []journal.Lease {
	if len(leases) == 0 || rq.Recent() {
		return leases
	}
	if rq.Ask == nil {
		return nil
	}
	var addrs []netip.Addr
	for _, l := range leases {
		addrs = append(addrs, l.Address)
	}
	answering, err := rq.Ask(ctx, network, addrs)
	if err != nil {
		rq.Log.Warn("etcd unreachable, and the LAN cannot be asked: no address is given again", "network", node.Short(network), "err", err)
		return nil
	}
	if len(answering) > 0 {
		rq.Log.Warn("etcd unreachable, and somebody on the LAN has addresses of this node: they are not given again", "network", node.Short(network), "addresses", answering)
	}
	return slices.DeleteFunc(leases, func(l journal.Lease) bool { return slices.Contains(answering, l.Address) })
}

// reissuable reports whether a lease can be given again in a pool.
func (rq *requests) reissuable(l journal.Lease, p journal.Pool) bool {
	return l.State == journal.Releasing && !l.Doubt && !l.Claimed && l.Created != 0 &&
		p.Joined() && l.Network == p.Network
}

func (rq *requests) reissue(l journal.Lease, p journal.Pool) error {
	l.State, l.Pool = journal.Reissued, p.ID
	return rq.Memory.NotePut(l)
}

// reissueAny gives the lowest address that this node released and the store
// does not know of, else one of an endpoint that is found to be dead.
func (rq *requests) reissueAny(ctx context.Context, p journal.Pool, who reserve.Asker) (netip.Prefix, bool) {
	views, err := rq.views(p)
	if err != nil || !p.Joined() {
		return netip.Prefix{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, node.WithoutStore)
	defer cancel()
	if prefix, ok := rq.reissueReleased(ctx, p, views, who); ok {
		return prefix, true
	}
	dead := rq.Memory.Leases(func(l journal.Lease) bool { return l.Network == p.Network && l.State == journal.Bound })
	for _, l := range dead {
		if closed, err := rq.CloseDead(ctx, l.Endpoint); err != nil || !closed {
			continue
		}
		if prefix, ok := rq.reissueReleased(ctx, p, views, who); ok {
			return prefix, true
		}
	}
	return netip.Prefix{}, false
}

func (rq *requests) reissueReleased(ctx context.Context, p journal.Pool, views []view, who reserve.Asker) (netip.Prefix, bool) {
	released := rq.Memory.Leases(func(l journal.Lease) bool {
		r, reserved := rq.kept.book.At(l.Place())
		if reserved && (who.Is() == "" || r.For != who.Is()) {
			return false
		}
		return rq.reissuable(l, p) && slices.ContainsFunc(views, func(v view) bool { return l.Segment == v.segment && v.subnet.Contains(l.Address) })
	})
	released = rq.stillOurs(ctx, p.Network, released)
	for _, late := range []bool{false, true} {
		for _, v := range views {
			for _, l := range released {
				if l.Segment == v.segment && v.subnet.Contains(l.Address) && rq.kept.late.Late(l.Segment).Has(l.Address) == late && rq.reissueHeld(ctx, p, l) {
					return netip.PrefixFrom(l.Address, v.subnet.Bits()), true
				}
			}
		}
	}
	return netip.Prefix{}, false
}

// reissueHeld gives one lease again if it still is what it was.
func (rq *requests) reissueHeld(ctx context.Context, p journal.Pool, was journal.Lease) bool {
	release, err := rq.Places.Hold(ctx, was.Place())
	if err != nil {
		return false
	}
	defer release()
	now, ok := rq.Memory.Lease(was.Place())
	return ok && now == was && rq.reissue(now, p) == nil
}

// ReleaseAddress takes an address back. It is free in the store when it
// returns, or, when the store does not answer, in the journal and soon
// after. Docker ignores the error of a release and never asks again, so
// there is one only when the journal fails.
//
// Not every release is one: that of a bound address whose endpoint was not
// deleted first is Docker's rollback of somebody else's request; that of a
// gateway or aux address follows from removing a replica.
func (rq *requests) ReleaseAddress(ctx context.Context, poolID, address string) error {
	id, err := pool.ParseID(poolID)
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return fmt.Errorf("release address %q: %w", address, err)
	}
	ctx, cancel := rq.Bounded(ctx)
	defer cancel()
	at := pool.At(id.Segment, addr.Unmap())
	release, err := rq.Places.Hold(ctx, at)
	if err != nil {
		return err
	}
	defer release()
	if p, ok := rq.Memory.Pool(poolID); ok && p.ByManager() {
		return rq.claims.releaseClaim(ctx, at)
	}
	l, own := rq.Memory.Lease(at)
	if !own {
		return rq.releaseReserved(ctx, poolID, at)
	}
	switch l.State {
	case journal.Bound:
		rq.Log.Info("release of an address ignored: its endpoint was not deleted, the container keeps it", "address", addr, "endpoint", node.Short(l.Endpoint))
		return nil
	case journal.Releasing:
		rq.Wake()
		return nil
	}
	return rq.leases.giveUp(ctx, l)
}

// releaseReserved gives back what a pool without a network reserved: its
// create failed, or it is another driver's. A network's own reservations
// stay until its definition is gone.
func (rq *requests) releaseReserved(ctx context.Context, poolID string, at pool.Place) error {
	p, ok := rq.Memory.Pool(poolID)
	if !ok || p.Joined() {
		return nil
	}
	if err := rq.reservations.unreserve(ctx, p, at.Addr, ""); err != nil {
		rq.Log.Warn("a reservation cannot be given back: it goes with its pool", "address", at.Addr, "err", err)
		return nil // the pool still owes it
	}
	return nil
}

// RequestAddress gives an address, or reserves one. What a request means
// depends on where its pool is in its life:
//
//   - With Docker's gateway option, and with an explicit address in a pool
//     that no network was joined to yet (an aux address), it reserves; the
//     gateway without an address is the first usable one of the subnet, which
//     a subnet of one address keeps for a container.
//   - Else it leases: any free address of the network's ranges, or the
//     explicit one, anywhere in the pool.
//
// The prefix has the length of the subnet the address is in, which for a
// network of several subnets may be another one than the pool's.
func (rq *requests) RequestAddress(ctx context.Context, r AddressRequest) (netip.Prefix, error) {
	given, err := rq.request(ctx, r)
	rq.counts.note(err)
	if err == nil {
		rq.prober.Want(rq.pools.NetworkOf(r.PoolID))
	}
	return given, err
}

// request is RequestAddress.
func (rq *requests) request(ctx context.Context, r AddressRequest) (netip.Prefix, error) {
	rq.AwaitOpening(ctx)
	p, err := rq.poolFor(r.PoolID)
	if err != nil {
		return netip.Prefix{}, err
	}
	subnet := p.Parsed.Subnet
	gateway := r.Options[pool.RequestType] == pool.RequestGateway
	addr := pool.FirstUsable(subnet)
	if r.Address != "" {
		if addr, err = pool.ParseAddress(r.Address, subnet); err != nil {
			return netip.Prefix{}, err
		}
	}
	switch {
	case r.Address == "" && !gateway && p.ByManager():
		return rq.claimAny(ctx, p, r)
	case r.Address == "" && !gateway:
		return rq.leaseAny(ctx, p, r)
	}
	switch {
	case gateway && r.Address == "" && subnet.IsSingleIP():
		// Docker insists on an answer, and the network on its one address.
	case gateway:
		err = rq.reserveGateway(ctx, p, addr, r.Address != "")
	case p.ByManager():
		return rq.claimThis(ctx, p, addr)
	case p.Joined() || forEndpoint(r.Options):
		return rq.leaseThis(ctx, p, addr, rq.kept.asker(ctx, p, addr, r))
	default:
		err = rq.reserveExtra(ctx, p, addr)
	}
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(addr, subnet.Bits()), nil
}

// forEndpoint reports whether an endpoint asks, which engines from 29 on say.
func forEndpoint(options map[string]string) bool {
	return options[pool.EndpointName] != "" || options[pool.EndpointMAC] != ""
}

// poolFor returns the pool of an id. One that the journal does not know is
// rebuilt from the id alone, and joined to the network that waits for it.
func (rq *requests) poolFor(id string) (journal.Pool, error) {
	if p, ok := rq.Memory.Pool(id); ok {
		return p, nil
	}
	parsed, err := pool.ParseID(id)
	if err != nil {
		return journal.Pool{}, err
	}
	p := rq.pools.rejoin(journal.Pool{ID: id, Parsed: parsed})
	if err := rq.pools.openPool(p); err != nil {
		return journal.Pool{}, err
	}
	p, _ = rq.Memory.Pool(id)
	return p, nil
}

// reserveGateway answers the gateway request of a network's create. After
// the create only the network's own gateway is still answered.
func (rq *requests) reserveGateway(ctx context.Context, p journal.Pool, addr netip.Addr, asked bool) error {
	if p.Joined() && p.Gateway == addr {
		return nil
	}
	if p.Joined() {
		return fmt.Errorf("address %s cannot become the gateway of a network that exists", addr)
	}
	return rq.reservations.reserve(ctx, p, addr, func(p *journal.Pool) { p.Gateway, p.Asked = addr, asked })
}

// reserveExtra reserves an aux address of a network that is being created.
// A second request for it is not Docker asking again (its retries come
// without a body) but somebody wanting one address twice.
func (rq *requests) reserveExtra(ctx context.Context, p journal.Pool, addr netip.Addr) error {
	if slices.Contains(p.Reserved(), addr) {
		return fmt.Errorf("address %s is already reserved for this network", addr)
	}
	return rq.reservations.reserve(ctx, p, addr, func(p *journal.Pool) { p.Extra = append(slices.Clone(p.Extra), addr) })
}

// claimAny gives the swarm any free address.
func (rq *requests) claimAny(ctx context.Context, p journal.Pool, r AddressRequest) (netip.Prefix, error) {
	if err := rq.Distrust(); err != nil {
		return netip.Prefix{}, err
	}
	return rq.allocateWith(ctx, p, r, 1, func(all []candidate) (tried, error) {
		found, won, err := rq.claims.makeClaim(ctx, p, all[0].at)
		switch {
		case won:
			return tried{}, err
		case err != nil:
			return tried{won: -1}, err
		case found.Created == 0:
			return tried{won: -1, free: []int{0}}, nil
		}
		return tried{won: -1, revision: found.Modified}, nil
	})
}

// claimThis gives the swarm an explicit address. A new leader repeats the
// claims of the last: what the swarm has already is a success.
func (rq *requests) claimThis(ctx context.Context, p journal.Pool, addr netip.Addr) (netip.Prefix, error) {
	if err := rq.Distrust(); err != nil {
		return netip.Prefix{}, err
	}
	ctx, cancel := rq.Bounded(ctx)
	defer cancel()
	at := pool.At(p.Parsed.Segment, addr)
	granted := netip.PrefixFrom(addr, p.Parsed.Subnet.Bits())
	for {
		it, won, err := rq.claims.makeClaim(ctx, p, at)
		if err != nil || won {
			return granted, err
		}
		if it.Created == 0 {
			r, reserved, err := rq.kept.now(ctx, at)
			switch {
			case err != nil:
				return netip.Prefix{}, rq.Unanswered(err)
			case reserved:
				return netip.Prefix{}, reserve.Refused{Reservation: r}
			}
			continue // it was released meanwhile
		}
		rec, err := store.Decode[store.Lease](it)
		switch {
		case err != nil:
			return netip.Prefix{}, err
		case rec.Claims == nil:
			return netip.Prefix{}, rq.holders.takenError(ctx, at, rec)
		}
		if done, err := rq.claims.repeatClaim(ctx, at, it, rec); err != nil || done {
			return granted, err
		}
	}
}

// Counts is what became of the requests for addresses since the start.
type Counts struct {
	Given    uint64 // or reserved
	Full     uint64 // nothing was free
	Withheld uint64 // the store did not answer, or is not trusted
	Refused  uint64 // for any other reason: taken, excluded, in no pool
	// Raced counts candidates that another node took first; another was then
	// tried.
	Raced uint64
}

// counts is Counts while it grows.
type counts struct{ given, full, withheld, refused, raced atomic.Uint64 }

// Counts says what became of the requests for addresses.
func (rq *requests) Counts() Counts {
	c := &rq.counts
	return Counts{Given: c.given.Load(), Full: c.full.Load(), Withheld: c.withheld.Load(), Refused: c.refused.Load(), Raced: c.raced.Load()}
}

// full says that a network has no address left.
type full struct{ error }

// note counts a request by how it ended.
func (c *counts) note(err error) {
	_, isFull := errors.AsType[full](err)
	switch {
	case err == nil:
		c.given.Add(1)
	case isFull:
		c.full.Add(1)
	case store.IsUnusable(err), errors.Is(err, store.ErrFenced):
		c.withheld.Add(1)
	default:
		c.refused.Add(1)
	}
}
