package ipam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/driver/trouble"
	"gvlan/ipam/mirror"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// compare brings this node's leases and the store's records of them
// together after a start or an outage: everything the store holds under
// this node's name is looked for, and each place where the two differ is
// reconciled. It takes as long as the store has leases of anybody, and holds
// this node's only.
func (u *upkeep) compare(ctx context.Context) error {
	subnets, from, err := u.List(ctx, store.DefaultPoolsSpan())
	if err != nil {
		return err
	}
	u.comparedAt.CompareAndSwap(0, int64(from)) // what lands while this reads is news in a mirror's first list
	for _, it := range subnets {
		if rec, err := store.Decode[store.DefaultPool](it); err == nil {
			u.findStrayDefault(rec)
		}
	}
	there := map[pool.Place]string{} // nonce of the record under this node's name
	rev, err := u.Scan(ctx, store.AllLeasesSpan(), store.Whole, func(page []store.Item) error {
		u.compareOwn(page, there)
		return nil
	})
	if err != nil {
		return err
	}
	for at, nonce := range there {
		if l, ok := u.Memory.Lease(at); !ok || l.Nonce != nonce || l.Doubt && l.State != journal.Releasing {
			u.Suspect.Add(at)
		}
	}
	for _, l := range u.Memory.Leases(func(l journal.Lease) bool { return there[l.Place()] != l.Nonce }) {
		u.Suspect.Add(l.Place())
	}
	u.comparedAt.Store(int64(rev))
	return nil
}

// compareOwn finds this node's records in a page, and enters the nonce of each
// lease.
func (u *upkeep) compareOwn(page []store.Item, there map[pool.Place]string) {
	for _, it := range page {
		if !u.NamesThisNode(it) {
			continue
		}
		segment, addr, err := store.LeaseOf(it.Key)
		rec, bad := store.Decode[store.Lease](it)
		if err != nil || bad != nil {
			u.Log.Error("a lease cannot be read: left alone", "key", it.Key, "err", errors.Join(err, bad))
			continue
		}
		if rec.State == store.Leased && rec.Node == u.Self.Node() {
			there[pool.At(segment, addr)] = rec.Nonce
		}
		u.findStray(pool.At(segment, addr), rec)
	}
}

// findStray notes a reservation of this node for a pool its journal does not
// know.
func (u *upkeep) findStray(at pool.Place, rec store.Lease) {
	if rec.State != store.Reserved {
		return
	}
	for _, name := range rec.By {
		nonce, node, unfinished := store.PoolOf(name)
		if unfinished && node == u.Self.Node() && !u.Memory.Knew(nonce) {
			u.strays.add(Held{Kind: HeldStray, Segment: at.Segment, Address: at.Addr, Nonce: nonce})
		}
	}
}

// Reassert writes every live lease of this node, the records of their
// endpoints, and what is reserved for its networks again where they are
// absent: the store lost its past and this node has not. It returns the
// addresses of its endpoints that somebody else has by now.
func (u *upkeep) Reassert(ctx context.Context) ([]Conflict, error) {
	var found []Conflict
	for _, l := range u.Memory.Leases(func(l journal.Lease) bool { return l.State != journal.Releasing }) {
		c, err := u.reassertOne(ctx, l)
		if err != nil {
			return found, err
		}
		if c != nil {
			found = append(found, *c)
		}
	}
	for _, e := range u.Memory.Bindings(func(e journal.Binding) bool { return e.State == journal.Written }) {
		if err := u.bindings.restoreEndpoint(ctx, e.Record.Endpoint); err != nil {
			return found, err
		}
	}
	for _, p := range u.Memory.Pools(func(p journal.Pool) bool { return !p.Closed }) {
		if err := u.reservations.reassertPool(ctx, p); err != nil {
			return found, err
		}
	}
	return found, nil
}

func (u *upkeep) reassertOne(ctx context.Context, was journal.Lease) (*Conflict, error) {
	ctx, cancel := context.WithTimeout(ctx, u.Timeout)
	defer cancel()
	if was.State != journal.Bound {
		release, err := u.Places.Hold(ctx, was.Place())
		if err != nil {
			return nil, err
		}
		defer release()
		if l, ok := u.Memory.Lease(was.Place()); ok && l == was {
			return u.leases.assert(ctx, l)
		}
		return nil, nil
	}
	return u.leases.reconcile(ctx, was.Place())
}

// mirror has the subnets of open pools followed. Only Run calls it.
func (u *upkeep) mirror(ctx context.Context) {
	subnets := map[mirror.Subnet]bool{}
	for _, p := range u.Memory.Pools(func(p journal.Pool) bool { return !p.Closed }) {
		subnets[mirror.Subnet{Segment: p.Parsed.Segment, Subnet: p.Parsed.Subnet}] = true
	}
	u.Mirrors.Want(subnets, func(m *mirror.Mirror) context.CancelFunc {
		ctx, cancel := context.WithCancel(ctx)
		u.Mirrors.Work.Go(func() { u.follow(ctx, m) })
		return cancel
	})
}

// followAgain is how long after the store refused to be followed it is asked
// again: somebody may give the right back that was taken away.
const followAgain = 30 * time.Second

func (u *upkeep) follow(ctx context.Context, m *mirror.Mirror) {
	again(ctx, func() error {
		err := store.FollowKeys(ctx, u.KV, store.LeasesSpan(m.Segment, m.Subnet), &feeding{u, m, 0})
		if err != nil {
			u.Troubles.Tell(mirroring(m), err)
			m.Lose()
		}
		return err
	})
}

// mirroring is what a subnet is filed under that cannot be followed.
func mirroring(m *mirror.Mirror) trouble.Matter {
	return trouble.Matter{What: fmt.Sprintf("following who has the addresses of subnet %s", m.Subnet), Then: "each address that is given costs a list of them all"}
}

// again runs what follows the store until ctx ends, or it ends without an error.
func again(ctx context.Context, follow func() error) {
	for follow() != nil && store.Sleep(ctx, followAgain) {
	}
}

// feeding feeds a mirror, and has compared with the memory what is not as it
// should be.
type feeding struct {
	*upkeep
	m    *mirror.Mirror
	news int // in the list that is under way
}

// newsRead is how many records of one list are read one by one that were written
// while nobody watched. Beyond it all are compared.
const newsRead = 256

// Begin implements store.Following.
func (f *feeding) Begin() {
	f.m.Begin(store.Revision(f.comparedAt.Load()))
	f.news = 0
}

// Page implements store.Following.
func (f *feeding) Page(items []store.Item) {
	f.m.Since(store.Revision(f.comparedAt.Load()))
	for _, it := range f.m.Page(items) {
		at, ok := placeOf(it)
		if _, known := f.Memory.Lease(at); !ok || known {
			continue
		}
		f.news++
		if f.news <= newsRead {
			f.SuspectAt(at)
		}
		f.missAt(at, it.Modified) // as a reservation
	}
	if f.news > newsRead {
		f.outran.Store(true) // a comparison that is under way may have read too early
		f.Wake()
	}
	for _, it := range items {
		if at, ok := placeOf(it); ok {
			f.missSince(at, it.Created)
		}
	}
}

// Apply implements store.Following.
func (f *feeding) Apply(c store.Change) {
	news, deleted := f.m.Apply(c)
	for _, it := range news {
		f.compareNews(f.m, it)
	}
	for _, g := range deleted {
		f.missAt(pool.At(f.m.Segment, g.Addr), g.At)
	}
	if c.Reset {
		f.Troubles.Over(mirroring(f.m))
		f.vanished(f.m, c.Revision)
	}
}

func placeOf(it store.Item) (pool.Place, bool) {
	segment, addr, err := store.LeaseOf(it.Key)
	return pool.At(segment, addr), err == nil
}

// compareNews has a record compared that carries this node's name and that
// this node does not know (the journal was lost, or a transaction that was
// given up landed late), and one that does not and stands where this node's
// should. While a call is about its place a record of this node may be that
// call's own, and one that is not is found by that call. A call that ended
// since the news was brought may have deleted the record: the mirror, which
// learns so before the memory forgets, is asked last.
func (u *upkeep) compareNews(m *mirror.Mirror, it store.Item) {
	segment, addr, err := store.LeaseOf(it.Key)
	if err != nil {
		return
	}
	at := pool.At(segment, addr)
	switch {
	case !u.NamesThisNode(it):
		u.missSince(at, it.Modified)
	case !u.Places.IsBusy(at) && u.IsUnknown(at, it) && m.Has(addr):
		u.SuspectAt(at)
	}
}

// What this node holds must stand in the store as long as it does: its leases,
// its endpoints' records, and what is reserved for its networks. A record that
// is gone though nobody here gave it up (a key deleted by hand, a store that
// lost it) frees an address that is in use. Every deletion of such a record,
// and every list, is compared with the memory: what is absent is written again,
// and what is somebody else's by now is a conflict.

// missing are things whose record Run will compare with the memory.
type missing struct {
	places    node.Suspects[pool.Place] // of leases and reservations
	endpoints node.Suspects[string]     // by id
	defaults  node.Suspects[string]     // default subnets, by PoolID
}

// vanished compares what a list of a subnet does not show.
func (u *upkeep) vanished(m *mirror.Mirror, rev store.Revision) {
	gone := func(at pool.Place) bool {
		return at.Segment == m.Segment && m.Subnet.Contains(at.Addr) && !m.Has(at.Addr)
	}
	for _, l := range u.Memory.Leases(func(l journal.Lease) bool { return l.Segment == m.Segment }) {
		if gone(l.Place()) {
			u.missAt(l.Place(), rev)
		}
	}
	for _, p := range u.Memory.Pools(func(p journal.Pool) bool { return !p.Closed && p.Parsed.Segment == m.Segment }) {
		for _, addr := range p.Reserved() {
			if at := pool.At(m.Segment, addr); gone(at) {
				u.missAt(at, rev)
			}
		}
	}
}

// missAt has a place looked at whose record was not there at a revision, if
// it should be.
func (u *upkeep) missAt(at pool.Place, rev store.Revision) {
	l, leased := u.Memory.Lease(at)
	if _, reserved := u.Memory.ReservedAt(at); !reserved && (!leased || l.Created > rev) {
		return
	}
	u.missing.places.Add(at)
	u.Wake()
}

// missSince has a place looked at where something stands in the place of this
// node's lease that came after it: a stranger's record, or where nothing but the
// key is known one that was made later.
func (u *upkeep) missSince(at pool.Place, rev store.Revision) {
	if l, ok := u.Memory.Lease(at); ok && l.Created < rev {
		u.missing.places.Add(at)
		u.Wake()
	}
}

// followOwn compares this node's endpoint records and default subnets, which
// no mirror of addresses holds, until ctx ends.
func (u *upkeep) followOwn(ctx context.Context) {
	u.followKeys(ctx, store.NodeEndpointsSpan(u.Self.Node()), &u.missing.endpoints, func() map[string]string {
		ids := map[string]string{}
		for _, e := range u.Memory.Bindings(func(e journal.Binding) bool { return e.State == journal.Written }) {
			ids[store.EndpointKey(u.Self.Node(), e.Record.Endpoint)] = e.Record.Endpoint
		}
		return ids
	})
	u.followKeys(ctx, store.DefaultPoolsSpan(), &u.missing.defaults, func() map[string]string {
		ids := map[string]string{}
		for _, p := range u.Memory.Pools(func(p journal.Pool) bool { return p.Default && !p.Closed }) {
			ids[store.DefaultPoolKey(p.Parsed.Subnet)] = p.ID
		}
		return ids
	})
}

// followReserved keeps what is known of reservations, until ctx ends.
func (u *upkeep) followReserved(ctx context.Context) {
	about := trouble.Matter{What: "following what operators reserve", Then: "what was reserved since is not kept back here"}
	u.Mirrors.Work.Go(func() {
		again(ctx, func() error {
			err := store.Follow(ctx, u.KV, store.ReservationsSpan(), func(c store.Change) {
				u.kept.book.Apply(c)
				if c.Reset {
					u.Troubles.Over(about)
				}
			})
			if err != nil {
				u.Troubles.Tell(about, err)
			}
			return err
		})
	})
}

// followKeys notes which of the keys that own names vanish from a span.
func (u *upkeep) followKeys(ctx context.Context, span store.Span, found *node.Suspects[string], own func() map[string]string) {
	about := trouble.Matter{What: "noticing records of this node that vanish, in " + span.From, Then: "such a record is not written again"}
	follow := func() error {
		return store.Follow(ctx, u.KV, span, func(c store.Change) {
			gone := c.Reset
			if c.Reset {
				u.Troubles.Over(about)
			}
			for _, e := range c.Events {
				gone = gone || e.Deleted
			}
			if !gone {
				return
			}
			for key, id := range own() {
				deleted := func(e store.Event) bool { return e.Deleted && e.Item.Key == key }
				absent := c.Reset && !slices.ContainsFunc(c.Items, func(it store.Item) bool { return it.Key == key })
				if absent || slices.ContainsFunc(c.Events, deleted) {
					found.Add(id)
					u.Wake()
				}
			}
		})
	}
	u.Mirrors.Work.Go(func() {
		again(ctx, func() error {
			err := follow()
			if err != nil {
				u.Troubles.Tell(about, err)
			}
			return err
		})
	})
}

// restoreMissing writes again what is found to be gone. It ends at the first
// call that is not answered.
func (u *upkeep) restoreMissing(ctx context.Context) {
	restoreEach(ctx, u.Troubles, &u.missing.places, u.restorePlace)
	restoreEach(ctx, u.Troubles, &u.missing.endpoints, u.bindings.restoreEndpoint)
	restoreEach(ctx, u.Troubles, &u.missing.defaults, u.reservations.restoreDefault)
}

// restoreEach tells of a record that it cannot write again, once; that the store is
// away others tell.
func restoreEach[K comparable](ctx context.Context, troubles *trouble.Book, found *node.Suspects[K], restore func(context.Context, K) error) {
	away := false
	for _, k := range found.Drain() {
		if away {
			found.Add(k)
			continue
		}
		about := trouble.Matter{What: fmt.Sprintf("writing a record of this node again that vanished, of %v", k), Then: "other hosts do not know of it"}
		err := restore(ctx, k)
		troubles.Settle(ctx, about, err, store.ErrUnavailable)
		if err != nil {
			found.Add(k)
			away = errors.Is(err, store.ErrUnavailable)
		}
	}
}

// restorePlace compares one address. One that a call is about is looked at
// after it.
func (u *upkeep) restorePlace(ctx context.Context, at pool.Place) error {
	if u.Places.IsBusy(at) {
		u.missing.places.Add(at)
		return nil
	}
	if _, leased := u.Memory.Lease(at); leased {
		if _, err := u.leases.reconcile(ctx, at); err != nil {
			return err
		}
	}
	return u.reservations.restoreReservation(ctx, at)
}
