package fixed

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/mirror"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
)

// Wish is an address that an endpoint of this node is to have besides.
type Wish struct {
	Network  string // the engine's network id
	Endpoint string // the engine's endpoint id
	At       pool.Place
}

// Claims take addresses for endpoints, and free what is taken over.
type Claims struct{ *node.Node }

// errGoing: the endpoint that was to have the address is being deleted.
var errGoing = errors.New("its endpoint is going")

// Has reports whether the endpoint of a wish has the address, as far as this node
// knows.
func (c Claims) Has(w Wish) bool {
	l, own := c.Memory.Lease(w.At)
	return own && l.Kind == store.Service && l.State == journal.Bound && l.Endpoint == w.Endpoint
}

// Take takes the address in one transaction: absent, then the endpoint's. Has is
// false where somebody has it, or is about to give it back. What is reserved for
// somebody else is refused with reserve.Refused. The caller is done with the endpoint
// before it unbinds it.
func (c Claims) Take(ctx context.Context, w Wish) (has bool, err error) {
	ctx, cancel := c.Bounded(ctx)
	defer cancel()
	release, err := c.Places.Hold(ctx, w.At)
	if err != nil {
		return false, err
	}
	defer release()
	if _, own := c.Memory.Lease(w.At); own {
		return c.Has(w), nil
	}
	if err := c.Distrust(); err != nil {
		return false, err
	}
	l, err := c.lease(w)
	if err != nil {
		return false, err
	}
	key := w.At.Key()
	res, err := c.create(ctx, w.At, l)
	if errors.Is(err, store.ErrUnavailable) {
		// It may have happened: then it is given back. The endpoint stays, and so
		// does its record, which a release of an endpoint's lease would take away.
		l.State, l.Endpoint = journal.Releasing, ""
		c.Wake()
		return false, errors.Join(c.Unanswered(err), c.Memory.NotePut(l))
	}
	if err != nil {
		return false, err
	}
	c.Learn(w.At, mirror.Taken, res.Revision)
	l.Created = res.Revision
	if !res.Done {
		found, _ := res.Item(key)
		have, err := store.Decode[store.Lease](found)
		if err != nil || have.Nonce != l.Nonce { // else an earlier try of this very transaction made it
			return false, nil
		}
		l.Created = found.Created
	}
	if err := c.Memory.KnownPut(l); err != nil {
		l.State, l.Endpoint = journal.Releasing, ""
		c.Wake()
		return false, errors.Join(err, c.Memory.NotePut(l))
	}
	c.tell(l)
	return true, nil
}

// create makes the lease's key where it is absent, and the address not reserved for
// somebody else.
func (c Claims) create(ctx context.Context, at pool.Place, l journal.Lease) (store.Result, error) {
	key, kept, rec := at.Key(), store.ReservationKey(at.Segment, at.Addr), c.Record(l)
	who, _ := c.Memory.Endpoint(l.Endpoint) // with what the engine said since it was bound
	for reserved := store.Revision(0); ; {
		res, err := c.Commit(ctx, store.Txn{
			Gives: true, Epoch: rec.Epoch,
			If:   []store.Cond{store.Absent(key), store.Unchanged(kept, reserved)},
			Then: []store.Op{store.Put(key, store.Encode(rec))},
			Else: []store.Op{store.Get(key), store.Get(kept)},
		})
		if _, taken := res.Item(key); err != nil || res.Done || taken {
			return res, err
		}
		it, _ := res.Item(kept)
		r, is := reserve.Read(it)
		if is && !r.Names(who.Container) {
			return res, reserve.Refused{Reservation: r}
		}
		reserved = r.Modified
	}
}

// lease is that of a wish as it is to be.
func (c Claims) lease(w Wish) (journal.Lease, error) {
	b, known := c.Memory.Binding(w.Endpoint)
	if !known || b.State == journal.Closing {
		return journal.Lease{}, fmt.Errorf("take address %s: %w", w.At.Addr, errGoing)
	}
	pools := c.Memory.Pools(func(p journal.Pool) bool {
		return p.Network == w.Network && !p.Closed && p.Parsed.Segment == w.At.Segment && p.Parsed.Subnet.Contains(w.At.Addr)
	})
	from := journal.Pool{Network: w.Network}
	if len(pools) > 0 {
		from = pools[0]
	}
	l, err := c.NewLease(w.At, from, store.Service)
	l.Network, l.Endpoint, l.State, l.Claimed = w.Network, w.Endpoint, journal.Bound, false
	return l, err
}

func (c Claims) tell(l journal.Lease) {
	n, _ := c.Memory.Addressing(l.Network)
	b, _ := c.Memory.Binding(l.Endpoint)
	name := n.Name
	if name == "" {
		name = b.Record.Name
	}
	c.Events.Tell(events.Event{Kind: events.Given, Network: name, Segment: l.Segment, Address: l.Address, MAC: b.Record.MAC, Endpoint: l.Endpoint})
}

// Free frees an address whose holder is not connected, if it is as it was read and
// its holder's node still away: the LAN was silent about it for as long as whoever
// waits for it says. Who takes it then is everybody's to try. What the holder's
// endpoint is said to have goes with it.
func (c Claims) Free(ctx context.Context, at pool.Place, it store.Item) (freed bool, err error) {
	ctx, cancel := c.Bounded(ctx)
	defer cancel()
	rec, err := store.Decode[store.Lease](it)
	if err != nil {
		return false, err
	}
	txn := store.Txn{
		If:   []store.Cond{store.Unchanged(at.Key(), it.Modified), store.Absent(store.LiveKey(rec.Node))},
		Then: []store.Op{store.Delete(at.Key())},
	}
	told, err := c.Read(ctx, store.EndpointKey(rec.Node, rec.Endpoint))
	if err != nil {
		return false, err
	}
	if e, err := store.Decode[store.Endpoint](told); err == nil && told.Created != 0 {
		e.Fixed = slices.DeleteFunc(e.Fixed, isOf(at.Addr))
		txn.Then = append(txn.Then, store.Op{Kind: store.OpNested, Nested: &store.Txn{
			If:   []store.Cond{store.Unchanged(told.Key, told.Modified)},
			Then: []store.Op{store.Put(store.EndpointKey(rec.Node, rec.Endpoint), store.Encode(e))},
		}})
	}
	res, err := c.Commit(ctx, txn)
	if err != nil || !res.Done {
		return false, err
	}
	c.Learn(at, mirror.Free, res.Revision)
	n, _ := c.Memory.AddressingOf(rec.Network)
	c.Events.Tell(events.Event{Kind: events.Released, Node: rec.Node, Network: n.Name, Segment: at.Segment, Address: at.Addr, Endpoint: rec.Endpoint, Text: "its host is away and the LAN is silent: taken over (gvlan.failover)"})
	return true, nil
}

// IsOurs reports whether the store has the address as this node does, read now.
func (c Claims) IsOurs(ctx context.Context, w Wish) (bool, error) {
	ctx, cancel := c.Bounded(ctx)
	defer cancel()
	it, err := c.Read(ctx, w.At.Key())
	if err != nil {
		return false, err
	}
	rec, err := store.Decode[store.Lease](it)
	l, own := c.Memory.Lease(w.At)
	ours := it.Created != 0 && err == nil && own && rec.State == store.Leased && rec.Node == c.Self.Node() && rec.Nonce == l.Nonce
	if !ours {
		c.SuspectAt(w.At)
	}
	return ours, nil
}
