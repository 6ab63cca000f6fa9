package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// Bind is the commit point of an endpoint: in one transaction it compares
// this node's epoch, the token of every lease and the state of the network's
// definition, ties the leases to the endpoint and writes its record. What
// was asked for before and given up meanwhile does not start a container;
// nothing starts on a network that is being removed.
//
// While the store does not answer, only addresses that were given again from
// the journal are bound, in the journal.
func (a *Allocator) Bind(ctx context.Context, b Binding) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	b.Record.Node, b.Record.Endpoint = a.Self.Node(), b.Endpoint
	if err := a.checkMAC(ctx, b.Record); err != nil {
		return err
	}
	n, pools := a.attached(b.Network)
	places, err := placesOf(n, pools, b.Addresses)
	if err != nil {
		return err
	}
	release, err := a.ledger.hold(ctx, places...)
	if err != nil {
		return err
	}
	defer release()
	leases, err := a.bindable(ctx, b, places)
	if err != nil {
		return err
	}
	return a.bindHeld(ctx, b, n, leases)
}

// attached returns a network and its pools. A network that was never
// attached (Docker's own IPAM) has no addresses of ours to bind.
func (a *Allocator) attached(id string) (network, []opened) {
	n, ok := a.ledger.network(id)
	if !ok {
		n = network{ID: id}
	}
	return n, a.ledger.poolsWhere(func(p opened) bool { return p.Network == id && !p.Closed })
}

// placesOf finds the segment of each address by the pool it lies in.
func placesOf(n network, pools []opened, addrs []netip.Addr) ([]pool.Place, error) {
	var places []pool.Place
	for _, addr := range addrs {
		found := false
		for _, p := range pools {
			if id := p.parsed(); id.Subnet.Contains(addr) {
				places, found = append(places, pool.At(id.Segment, addr)), true
				break
			}
		}
		if !found {
			return nil, fmt.Errorf("address %s lies in no subnet of %s", addr, n.title())
		}
	}
	return places, nil
}

// bindable returns the leases of the places, each of which must have been
// given to this network, or be bound to this very endpoint already.
func (a *Allocator) bindable(ctx context.Context, b Binding, places []pool.Place) ([]lease, error) {
	var leases []lease
	for _, at := range places {
		l, own := a.ledger.lease(at)
		switch {
		case !own:
			return nil, a.notGiven(ctx, at)
		case l.State == bound && l.Endpoint != b.Endpoint:
			return nil, a.heldError(ctx, at, a.Self.Node(), l.Endpoint)
		case l.Network != "" && l.Network != b.Network:
			return nil, fmt.Errorf("address %s is being given to a container of another network", at.Addr)
		case l.State == unbound || l.State == releasing:
			return nil, goneError{at}
		}
		l.State, l.Endpoint, l.Network = bound, b.Endpoint, b.Network
		leases = append(leases, l)
	}
	return leases, nil
}

// notGiven says why an address that this node has no lease of cannot be
// bound.
func (a *Allocator) notGiven(ctx context.Context, at pool.Place) error {
	it, err := a.read(ctx, at.Key())
	if err != nil {
		return a.unanswered(err)
	}
	if it.Created == 0 {
		return goneError{at}
	}
	rec, err := store.Decode[store.Lease](it)
	if err != nil {
		return err
	}
	return a.takenError(ctx, at, rec)
}

// bindHeld commits a binding whose places are held.
func (a *Allocator) bindHeld(ctx context.Context, b Binding, n network, leases []lease) error {
	bound := endpoint{Record: b.Record, Network: b.Network, State: written}
	sent, err := false, a.distrust()
	if err == nil {
		sent, err = a.writeBinding(ctx, n, bound, leases, a.macSteps(bound.Record))
	}
	switch {
	case err == nil:
		failpoint("endpoint: written")
		for i := range leases {
			leases[i].Reissued, leases[i].Doubt = false, false
		}
		return a.ledger.keep(entriesOf(bound, leases)...)
	case !sent && !errors.Is(err, store.ErrUnavailable):
		return err
	case errors.Is(err, store.ErrUnavailable) && allReissued(leases):
		bound.State = unwritten
		a.wake()
		return a.ledger.keep(entriesOf(bound, leases)...)
	}
	// It may have happened: whoever gives the leases back takes the record
	// away too.
	for i := range leases {
		leases[i].State = given
	}
	bound.State = closing
	return errors.Join(fmt.Errorf("the container's addresses cannot be confirmed: %w", err),
		a.ledger.keep(entriesOf(bound, leases)...))
}

func allReissued(leases []lease) bool {
	for _, l := range leases {
		if !l.Reissued || l.Doubt {
			return false
		}
	}
	return len(leases) > 0
}

func entriesOf(e endpoint, leases []lease) []entry {
	entries := []entry{e}
	for _, l := range leases {
		entries = append(entries, l)
	}
	return entries
}

// writeBinding runs the transaction of Bind, again while only the revision
// of the definition or of a swarm's claim had moved on, or while the hardware
// address is claimed by an endpoint that is gone. With an error, sent tells
// that it may have happened nonetheless.
func (a *Allocator) writeBinding(ctx context.Context, n network, e endpoint, leases []lease, mac macSteps) (sent bool, err error) {
	for {
		txn := a.bindingTxn(n, e, leases)
		mac.join(&txn)
		if err := a.bindClaimed(ctx, &txn, leases); err != nil {
			return false, err
		}
		res, err := a.commit(ctx, txn)
		if err != nil || res.Done || a.landed(res, e, leases) {
			return true, err
		}
		for _, l := range leases {
			if it, _ := res.Item(l.place().Key()); it.Created != l.Created {
				return false, goneError{l.place()}
			}
		}
		if mac.key != "" {
			if mac, err = a.meetMAC(ctx, e.Record, res); err != nil {
				return false, err
			}
		}
		if n.UUID == "" {
			continue // a claim moved on
		}
		if n, err = a.checkDefinition(n, res); err != nil {
			return false, err
		}
	}
}

// landed tells from what a transaction of Bind found that an earlier try of
// it, whose answer was lost, happened: what it compares may have moved on
// since, by that very try.
func (a *Allocator) landed(res store.Result, e endpoint, leases []lease) bool {
	if _, ok := res.Item(store.EndpointKey(a.Self.Node(), e.Record.Endpoint)); !ok {
		return false
	}
	for _, l := range leases {
		it, _ := res.Item(l.place().Key())
		rec, err := store.Decode[store.Lease](it)
		if it.Created != l.Created || err != nil || rec.Nonce != l.Nonce || rec.Endpoint != e.Record.Endpoint {
			return false
		}
	}
	return true
}

func (a *Allocator) bindingTxn(n network, e endpoint, leases []lease) store.Txn {
	var txn store.Txn
	if n.UUID != "" {
		key := store.NetworkKey(n.Name)
		txn.If = append(txn.If, store.Unchanged(key, n.Definition))
		txn.Else = append(txn.Else, store.Get(key))
	}
	for _, l := range leases {
		key := l.place().Key()
		if l.Claimed {
			continue // see bindClaimed
		}
		txn.If = append(txn.If, store.SameLife(key, l.Created))
		txn.Then = append(txn.Then, store.Put(key, store.Encode(a.record(l))))
		txn.Else = append(txn.Else, store.Get(key))
	}
	key := store.EndpointKey(a.Self.Node(), e.Record.Endpoint)
	txn.Then = append(txn.Then, store.Put(key, store.Encode(e.Record)))
	txn.Else = append(txn.Else, store.Get(key))
	return txn
}

// bindClaimed adds the leases of a swarm's worker: their records hold the
// manager's claim too, so they are rewritten as they were read.
func (a *Allocator) bindClaimed(ctx context.Context, txn *store.Txn, leases []lease) error {
	for _, l := range leases {
		if !l.Claimed {
			continue
		}
		key := l.place().Key()
		it, err := a.read(ctx, key)
		if err != nil {
			return err
		}
		rec, err := store.Decode[store.Lease](it)
		if it.Created == 0 || err != nil || rec.Nonce != l.Nonce {
			return goneError{l.place()}
		}
		txn.If = append(txn.If, store.Unchanged(key, it.Modified))
		txn.Then = append(txn.Then, store.Put(key, store.Encode(claimedRecord(rec, a.record(l)))))
		txn.Else = append(txn.Else, store.Get(key))
	}
	return nil
}

// goneError says that the store does not have a lease of this node any more.
type goneError struct{ at pool.Place }

func (e goneError) Error() string {
	return fmt.Sprintf("address %s was given up while the engine was away: start the container again", e.at.Addr)
}

// checkDefinition reads the definition that a binding failed on. It returns
// the network with the revision to try again with.
func (a *Allocator) checkDefinition(n network, res store.Result) (network, error) {
	it, ok := res.Item(store.NetworkKey(n.Name))
	if !ok {
		return n, fmt.Errorf("%s was removed from the cluster: nothing starts on it", n.title())
	}
	def, err := store.Decode[store.Network](it)
	switch {
	case err != nil:
		return n, err
	case def.UUID != n.UUID:
		return n, fmt.Errorf("%s was removed from the cluster and another one made under its name: nothing starts on the old one", n.title())
	case def.State != store.NetworkActive:
		return n, fmt.Errorf("%s is being removed from the cluster: nothing starts on it", n.title())
	}
	n.Definition = it.Modified
	return n, a.ledger.changeNetwork(n.ID, func(kept *network) { kept.Definition = it.Modified })
}
