package ipam

import (
	"context"
	"errors"
	"net/netip"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// Unbind tells that an endpoint was deleted: its record goes, and with it its
// names, and the releases of its addresses that follow count. Link-local
// addresses are released at once: not every engine does it. With the store
// away all that goes later; it fails only when the journal does.
func (a *Allocator) Unbind(ctx context.Context, id string) error {
	e, known := a.ledger.endpoint(id)
	had := a.ledger.leasesWhere(func(l lease) bool { return l.Endpoint == id && l.State == bound })
	if !known && len(had) == 0 {
		return nil
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	release, err := a.ledger.hold(ctx, placesOfLeases(had)...)
	if err != nil {
		return err
	}
	defer release()
	e.Record.Node, e.Record.Endpoint, e.State = a.Self.Node(), id, closing
	entries := []entry{e}
	for _, l := range had {
		if now, ok := a.ledger.lease(l.place()); ok && now.Nonce == l.Nonce && now.State == bound {
			now.State = unbound
			entries = append(entries, now)
		}
	}
	if err := a.ledger.keep(entries...); err != nil {
		return err
	}
	if a.Self.Trusted() != nil || a.closeEndpoint(ctx, e) != nil {
		a.wake()
	}
	return a.giveUpUnreleased(ctx, entries)
}

// giveUpUnreleased releases the link-local IPv6 addresses among what an
// endpoint had: libnetwork of engines like 20.10 releases global unicast
// ones only. Where the release comes after all it finds nothing to do. The
// caller holds the places.
func (a *Allocator) giveUpUnreleased(ctx context.Context, had []entry) error {
	var failed error
	for _, x := range had {
		if l, ok := x.(lease); ok && l.Address.Is6() && l.Address.IsLinkLocalUnicast() {
			failed = errors.Join(failed, a.giveUp(ctx, l))
		}
	}
	return failed
}

func placesOfLeases(leases []lease) []pool.Place {
	places := make([]pool.Place, len(leases))
	for i, l := range leases {
		places[i] = l.place()
	}
	return places
}

// closeEndpoint deletes the record of a deleted endpoint.
func (a *Allocator) closeEndpoint(ctx context.Context, e endpoint) error {
	for {
		txn := store.Txn{Then: []store.Op{store.Delete(store.EndpointKey(a.Self.Node(), e.Record.Endpoint))}}
		if err := a.unclaimMAC(ctx, &txn, e.Record); err != nil {
			return err
		}
		if res, err := a.commit(ctx, txn); err != nil {
			return err
		} else if res.Done {
			return a.ledger.forget(e)
		}
	}
}

// Bound returns the addresses of every endpoint of this node that has any,
// by endpoint id.
func (a *Allocator) Bound() map[string][]netip.Addr {
	all := map[string][]netip.Addr{}
	for _, l := range a.ledger.leasesWhere(func(l lease) bool { return l.State == bound }) {
		all[l.Endpoint] = append(all[l.Endpoint], l.Address)
	}
	return all
}
