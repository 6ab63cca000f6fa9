package ipam

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/driver/failpoint"
	"gvlan/driver/journal"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// bindings tie addresses and a MAC address to an endpoint.
type bindings struct {
	*node.Node
	holders  *holders
	leases   *leases
	closings *closings
	macs     *macs
	awaited  *awaited
	// given tells that a container has an address from now on.
	given func(network string, at pool.Place)
}

// Bind is the commit point of an endpoint: in one transaction it compares
// this node's epoch, the token of every lease and the state of the network's
// definition, ties the leases to the endpoint and writes its record. What
// was asked for before and given up meanwhile does not start a container;
// nothing starts on a network that is being removed.
//
// While the store does not answer, only addresses that were given again from
// the journal are bound, in the journal.
func (bs *bindings) Bind(ctx context.Context, b Binding) error {
	ctx, cancel := bs.Bounded(ctx)
	defer cancel()
	b.Record.Node, b.Record.Endpoint = bs.Self.Node(), b.Endpoint
	if err := bs.checkMAC(ctx, b.Record); err != nil {
		return err
	}
	n, pools := bs.attached(b.Network)
	places, err := placesOf(n, pools, b.Addresses)
	if err != nil {
		return err
	}
	release, err := bs.Places.Hold(ctx, places...)
	if err != nil {
		return err
	}
	defer release()
	leases, ours, err := bs.bindable(ctx, b, places)
	if err != nil {
		return err
	}
	return bs.bindHeld(ctx, b, n, leases, ours)
}

// attached returns a network and its pools. A network that was never
// attached (Docker's own IPAM) has no addresses of ours to bind.
func (bs *bindings) attached(id string) (journal.Addressing, []journal.Pool) {
	n, ok := bs.Memory.Addressing(id)
	if !ok {
		n = journal.Addressing{ID: id}
	}
	return n, bs.Memory.Pools(func(p journal.Pool) bool { return p.Network == id && !p.Closed })
}

// placesOf finds the segment of each address by the pool it lies in.
func placesOf(n journal.Addressing, pools []journal.Pool, addrs []netip.Addr) ([]pool.Place, error) {
	var places []pool.Place
	for _, addr := range addrs {
		found := false
		for _, p := range pools {
			if id := p.Parsed; id.Subnet.Contains(addr) {
				places, found = append(places, pool.At(id.Segment, addr)), true
				break
			}
		}
		if !found {
			return nil, fmt.Errorf("address %s lies in no subnet of %s", addr, n.Title())
		}
	}
	return places, nil
}

// bindable returns the leases of the places, each of which must have been
// given to this network, or be bound to this very endpoint already. Ours reports
// that nobody else can have any of them, whatever the store says: they were given
// again while it was away.
func (bs *bindings) bindable(ctx context.Context, b Binding, places []pool.Place) (leases []journal.Lease, ours bool, err error) {
	had, _ := bs.Memory.Binding(b.Endpoint)
	ours = len(places) > 0
	for _, at := range places {
		l, own := bs.Memory.Lease(at)
		switch {
		case !own:
			return nil, false, bs.notGiven(ctx, at)
		case l.State == journal.Bound && l.Endpoint != b.Endpoint:
			return nil, false, bs.holders.heldError(ctx, l)
		case l.Network != "" && l.Network != b.Network:
			return nil, false, fmt.Errorf("address %s is being given to a container of another network", at.Addr)
		case l.State == journal.Unbound || l.State == journal.Releasing:
			return nil, false, goneError{at}
		}
		again := l.State == journal.Reissued || l.State == journal.Bound && had.State == journal.Unwritten
		ours = ours && again && !l.Doubt
		l.State, l.Endpoint, l.Network = journal.Bound, b.Endpoint, b.Network
		leases = append(leases, l)
	}
	return leases, ours, nil
}

// notGiven says why an address that this node has no lease of cannot be
// bound.
func (bs *bindings) notGiven(ctx context.Context, at pool.Place) error {
	it, err := bs.Read(ctx, at.Key())
	if err != nil {
		return bs.Unanswered(err)
	}
	if it.Created == 0 {
		return goneError{at}
	}
	rec, err := store.Decode[store.Lease](it)
	if err != nil {
		return err
	}
	return bs.holders.takenError(ctx, at, rec)
}

// bindHeld commits a binding whose places are held.
func (bs *bindings) bindHeld(ctx context.Context, b Binding, n journal.Addressing, leases []journal.Lease, ours bool) error {
	bound := journal.Binding{Record: b.Record, Network: b.Network, State: journal.Written}
	before, _ := bs.Memory.Binding(b.Endpoint)
	sent, err := false, bs.Distrust()
	if err == nil {
		sent, err = bs.writeBinding(ctx, n, bound, leases, bs.macSteps(bound.Record))
	}
	switch {
	case err == nil:
		failpoint.Reach("endpoint: written")
		for i := range leases {
			leases[i].Doubt = false
		}
		if err = bs.Memory.KnownPut(entriesOf(bound, leases)...); err == nil {
			bs.tellGiven(n, bound, leases, before)
			for _, l := range leases {
				bs.given(bound.Network, l.Place())
			}
			return nil
		}
	case !sent && !errors.Is(err, store.ErrUnavailable):
		return err
	case errors.Is(err, store.ErrUnavailable) && ours:
		bound.State = journal.Unwritten
		bs.Wake()
		bs.tellGiven(n, bound, leases, before)
		return bs.Memory.NotePut(entriesOf(bound, leases)...)
	}
	// It may have happened, or did and this host cannot keep it: whoever gives the
	// leases back takes the record away too.
	for i := range leases {
		leases[i].State = journal.Given
	}
	bound.State = journal.Closing
	return errors.Join(fmt.Errorf("the container's addresses cannot be confirmed: %w", err),
		bs.Memory.NotePut(entriesOf(bound, leases)...))
}

// tellGiven tells that a container has addresses, once for each endpoint: an
// engine may ask twice.
func (bs *bindings) tellGiven(n journal.Addressing, bound journal.Binding, leases []journal.Lease, before journal.Binding) {
	if before.Record.Endpoint != "" && before.State != journal.Closing {
		return
	}
	for _, l := range leases {
		bs.Events.Tell(events.Event{
			Kind: events.Given, Network: cmp.Or(bound.Record.Name, n.Name), Segment: l.Segment, Address: l.Address,
			MAC: bound.Record.MAC, Endpoint: l.Endpoint,
		})
	}
}

func entriesOf(e journal.Binding, leases []journal.Lease) []journal.Record {
	entries := []journal.Record{e}
	for _, l := range leases {
		entries = append(entries, l)
	}
	return entries
}

// writeBinding runs the transaction of Bind, again while only the revision
// of the definition or of a swarm's claim had moved on, or while the hardware
// address is claimed by an endpoint that is gone. With an error, sent reports
// whether it may have happened nonetheless.
func (bs *bindings) writeBinding(ctx context.Context, n journal.Addressing, e journal.Binding, leases []journal.Lease, mac macSteps) (sent bool, err error) {
	for {
		txn := bs.bindingTxn(n, e, leases)
		mac.join(&txn)
		if err := bs.bindClaimed(ctx, &txn, leases); err != nil {
			return false, err
		}
		res, err := bs.Commit(ctx, txn)
		if err != nil || res.Done || bs.landed(res, e, leases) {
			return true, err
		}
		for _, l := range leases {
			if it, _ := res.Item(l.Place().Key()); it.Created != l.Created {
				return false, goneError{l.Place()}
			}
		}
		if mac.key != "" {
			if mac, err = bs.meetMAC(ctx, e.Record, res); err != nil {
				return false, err
			}
		}
		if n.UUID == "" {
			continue // a claim moved on
		}
		if n, err = bs.checkDefinition(n, res); err != nil {
			return false, err
		}
	}
}

// landed reports, by what a transaction of Bind found, whether an earlier try of
// it, whose answer was lost, happened: what it compares may have moved on
// since, by that very try.
func (bs *bindings) landed(res store.Result, e journal.Binding, leases []journal.Lease) bool {
	if _, ok := res.Item(store.EndpointKey(bs.Self.Node(), e.Record.Endpoint)); !ok {
		return false
	}
	for _, l := range leases {
		it, _ := res.Item(l.Place().Key())
		rec, err := store.Decode[store.Lease](it)
		if it.Created != l.Created || err != nil || rec.Nonce != l.Nonce || rec.Endpoint != e.Record.Endpoint {
			return false
		}
	}
	return true
}

func (bs *bindings) bindingTxn(n journal.Addressing, e journal.Binding, leases []journal.Lease) store.Txn {
	var txn store.Txn
	if n.UUID != "" {
		key := store.NetworkKey(n.Name)
		txn.If = append(txn.If, store.Unchanged(key, n.Definition))
		txn.Else = append(txn.Else, store.Get(key))
	}
	for _, l := range leases {
		key := l.Place().Key()
		if l.Claimed {
			continue // see bindClaimed
		}
		rec := bs.Record(l)
		txn.Epoch = cmp.Or(txn.Epoch, rec.Epoch)
		txn.If = append(txn.If, store.SameLife(key, l.Created))
		txn.Then = append(txn.Then, store.Put(key, store.Encode(rec)))
		txn.Else = append(txn.Else, store.Get(key))
	}
	key := store.EndpointKey(bs.Self.Node(), e.Record.Endpoint)
	txn.Then = append(txn.Then, store.Put(key, store.Encode(e.Record)))
	txn.Else = append(txn.Else, store.Get(key))
	return txn
}

// bindClaimed adds the leases of a swarm's worker: their records hold the
// manager's claim too, so they are rewritten as they were read.
func (bs *bindings) bindClaimed(ctx context.Context, txn *store.Txn, leases []journal.Lease) error {
	for _, l := range leases {
		if !l.Claimed {
			continue
		}
		key := l.Place().Key()
		it, err := bs.Read(ctx, key)
		if err != nil {
			return err
		}
		rec, err := store.Decode[store.Lease](it)
		if it.Created == 0 || err != nil || rec.Nonce != l.Nonce {
			return goneError{l.Place()}
		}
		txn.If = append(txn.If, store.Unchanged(key, it.Modified))
		bound := claimedRecord(rec, bs.Record(l))
		txn.Epoch = cmp.Or(txn.Epoch, bound.Epoch)
		txn.Then = append(txn.Then, store.Put(key, store.Encode(bound)))
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
func (bs *bindings) checkDefinition(n journal.Addressing, res store.Result) (journal.Addressing, error) {
	it, ok := res.Item(store.NetworkKey(n.Name))
	if !ok {
		return n, fmt.Errorf("%s was removed from the cluster: nothing starts on it", n.Title())
	}
	def, err := store.Decode[store.Network](it)
	switch {
	case err != nil:
		return n, err
	case def.UUID != n.UUID:
		return n, fmt.Errorf("%s was removed from the cluster and another one made under its name: nothing starts on the old one", n.Title())
	case def.State != store.NetworkActive:
		return n, fmt.Errorf("%s is being removed from the cluster: nothing starts on it", n.Title())
	}
	n.Definition = it.Modified
	return n, bs.Memory.KnownAddressing(n.ID, func(kept *journal.Addressing) { kept.Definition = it.Modified })
}

// Leftovers returns the endpoints of this node that have a record in the
// store and that its memory does not know: their agent died between what it
// wrote to the store and what it noted of it, or their journal is lost. Any of
// them may be of a start that is under way. While the store is away or not
// trusted there are none.
func (bs *bindings) Leftovers(ctx context.Context) ([]string, error) {
	if bs.Self.Trusted() != nil {
		return nil, nil
	}
	ctx, cancel := bs.Bounded(ctx)
	defer cancel()
	items, _, err := bs.List(ctx, store.NodeEndpointsSpan(bs.Self.Node()))
	if err != nil {
		return nil, fmt.Errorf("list this node's endpoints: %w", err)
	}
	var left []string
	for _, it := range items {
		id := store.NameOf(it.Key)
		if _, known := bs.Memory.Binding(id); known || len(bs.Memory.LeasesOf(id, journal.Bound)) > 0 {
			continue
		}
		left = append(left, id)
	}
	return left, nil
}

// DropLeftover deletes the record of an endpoint that nothing here knows, with
// what holds its hardware address, if that is still so.
func (bs *bindings) DropLeftover(ctx context.Context, endpoint string) error {
	if _, known := bs.Memory.Binding(endpoint); known || len(bs.Memory.LeasesOf(endpoint, journal.Bound)) > 0 {
		return nil
	}
	ctx, cancel := bs.Bounded(ctx)
	defer cancel()
	key := store.EndpointKey(bs.Self.Node(), endpoint)
	for {
		it, err := bs.Read(ctx, key)
		if err != nil || it.Created == 0 {
			return err
		}
		txn := store.Txn{If: []store.Cond{store.Unchanged(key, it.Modified)}, Then: []store.Op{store.Delete(key)}}
		if e, err := store.Decode[store.Endpoint](it); err == nil { // else nothing tells of an address
			mac, err := bs.closings.unclaimMAC(ctx, e)
			if err != nil {
				return err
			}
			txn.Then = append(txn.Then, mac...)
		}
		if res, err := bs.Commit(ctx, txn); err != nil || res.Done {
			return err
		}
	}
}

// Free releases everything a dead endpoint has, without waiting for Docker
// to say so: the reconcile loop found it dead. It fails only when the
// journal does; with the store away the releases are written later.
func (bs *bindings) Free(ctx context.Context, endpoint string) error {
	if err := bs.Unbind(ctx, endpoint); err != nil {
		return err
	}
	ctx, cancel := bs.Bounded(ctx)
	defer cancel()
	var errs []error
	for _, l := range bs.Memory.LeasesOf(endpoint, journal.Unbound) {
		errs = append(errs, bs.leases.freeOne(ctx, l))
	}
	return errors.Join(errs...)
}

// settleBinding writes what was bound while the store was away. The state of
// the network's definition is not asked: the container runs.
func (bs *bindings) settleBinding(ctx context.Context, was journal.Binding) error {
	id := was.Record.Endpoint
	release, err := bs.Places.Hold(ctx, placesOfLeases(bs.Memory.LeasesOf(id, journal.Bound))...)
	if err != nil {
		return err
	}
	defer release()
	e, ok := bs.Memory.Binding(id)
	if !ok || e.State != journal.Unwritten {
		return nil
	}
	leases := bs.Memory.LeasesOf(id, journal.Bound)
	_, err = bs.writeBinding(ctx, journal.Addressing{}, e, leases, bs.macSteps(e.Record))
	if errors.Is(err, ErrMACTaken) {
		bs.Log.Error("two containers of a segment have one MAC address: stop one of them", "endpoint", node.Short(id), "err", err)
		_, err = bs.writeBinding(ctx, journal.Addressing{}, e, leases, macSteps{})
	}
	var gone goneError
	if errors.As(err, &gone) {
		bs.Suspect.Add(gone.at)
	}
	if err != nil {
		return err
	}
	e.State = journal.Written
	for i := range leases {
		leases[i].Doubt = false
	}
	return bs.Memory.KnownPut(entriesOf(e, leases)...)
}

// Unbind tells that an endpoint was deleted: the releases of its addresses that
// follow count, and the first takes its record away, and with it its names: that
// is one transaction and not two. Where none follows, Run does it. An endpoint
// without addresses is closed at once, and link-local ones are released at once:
// not every engine does it. With the store away all that goes later; it fails
// only when the journal does.
func (bs *bindings) Unbind(ctx context.Context, id string) error {
	e, known := bs.Memory.Binding(id)
	had := bs.Memory.LeasesOf(id, journal.Bound)
	if !known && len(had) == 0 {
		return nil
	}
	ctx, cancel := bs.Bounded(ctx)
	defer cancel()
	release, err := bs.Places.Hold(ctx, placesOfLeases(had)...)
	if err != nil {
		return err
	}
	defer release()
	before := e
	e.Record.Node, e.Record.Endpoint, e.State = bs.Self.Node(), id, journal.Closing
	entries, bound := []journal.Record{e}, []journal.Record{}
	for _, l := range had {
		if now, ok := bs.Memory.Lease(l.Place()); ok && now.Nonce == l.Nonce && now.State == journal.Bound {
			bound = append(bound, now)
			now.State = journal.Unbound
			entries = append(entries, now)
		}
	}
	if len(entries) > 1 { // before Run can see that it is to be closed
		bs.awaited.add(id, bs.Now().Add(releaseComes))
	}
	// A release that is the first to find that the store is away may have reached
	// it: then nobody knows whose the address is. So this asks, beside the journal.
	var ask sync.WaitGroup
	if len(entries) > 1 && bs.Self.Trusted() == nil {
		ask.Go(func() { _, _ = bs.Read(ctx, store.MetaKey()) })
	}
	err = bs.Memory.NotePut(entries...)
	ask.Wait()
	if err != nil {
		// The releases come nonetheless, and count for nothing: an agent that starts
		// anew would have the addresses as a container's.
		_ = bs.Memory.Note(func(c *journal.Change) {
			c.Put(bound...)
			if known {
				c.Put(before)
			} else {
				c.Drop(e)
			}
		})
		return err
	}
	if len(entries) == 1 && (bs.Self.Trusted() != nil || bs.closeEndpoint(ctx, e) != nil) {
		bs.Wake()
	}
	return bs.giveUpUnreleased(ctx, entries)
}

// releaseComes is how long after DeleteEndpoint Docker's release of the
// endpoint's addresses may take: an endpoint whose release did not come by then is closed
// without it.
const releaseComes = 500 * time.Millisecond

// awaited are deleted endpoints whose record the release of an address will take
// away.
type awaited struct {
	mu    sync.Mutex
	until map[string]time.Time // by endpoint
}

func newAwaited() *awaited { return &awaited{until: map[string]time.Time{}} }

func (a *awaited) add(endpoint string, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until[endpoint] = until
}

// at returns those who are awaited at a time.
func (a *awaited) at(now time.Time) map[string]time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.until, func(_ string, until time.Time) bool { return !now.Before(until) })
	return maps.Clone(a.until)
}

// overdue returns the deleted endpoints whose record no release takes away.
func (bs *bindings) overdue() []journal.Binding {
	awaited, comes := bs.awaited.at(bs.Now()), map[string]bool{}
	if len(awaited) > 0 {
		for _, l := range bs.Memory.Leases(func(l journal.Lease) bool { return l.State == journal.Unbound }) {
			_, comes[l.Endpoint] = awaited[l.Endpoint]
		}
	}
	return bs.Memory.Bindings(func(e journal.Binding) bool {
		return e.State == journal.Closing && !comes[e.Record.Endpoint]
	})
}

// giveUpUnreleased releases the fixed addresses among what an endpoint had, which
// Docker knows nothing of, and the link-local IPv6 ones: libnetwork of engines like
// 20.10 releases global unicast ones only. Where the release comes after all it
// finds nothing to do. The caller holds the places.
func (bs *bindings) giveUpUnreleased(ctx context.Context, had []journal.Record) error {
	var failed error
	for _, x := range had {
		if l, ok := x.(journal.Lease); ok && (l.Kind == store.Service || l.Address.Is6() && l.Address.IsLinkLocalUnicast()) {
			failed = errors.Join(failed, bs.leases.giveUp(ctx, l))
		}
	}
	return failed
}

func placesOfLeases(leases []journal.Lease) []pool.Place {
	places := make([]pool.Place, len(leases))
	for i, l := range leases {
		places[i] = l.Place()
	}
	return places
}

// closeEndpoint deletes the record of a deleted endpoint.
func (bs *bindings) closeEndpoint(ctx context.Context, e journal.Binding) error {
	mac, err := bs.closings.unclaimMAC(ctx, e.Record)
	if err != nil {
		return err
	}
	remove := store.Delete(store.EndpointKey(bs.Self.Node(), e.Record.Endpoint))
	if _, err := bs.Commit(ctx, store.Txn{Then: append(mac, remove)}); err != nil {
		return err
	}
	return bs.Memory.KnownDrop(e)
}

// Bound returns the addresses of every endpoint of this node that has any,
// by endpoint id.
func (bs *bindings) Bound() map[string][]pool.Place {
	all := map[string][]pool.Place{}
	for _, l := range bs.Memory.Leases(func(l journal.Lease) bool { return l.State == journal.Bound }) {
		all[l.Endpoint] = append(all[l.Endpoint], l.Place())
	}
	return all
}

// Describe puts what has been learned of an endpoint into its record, which Bind
// made: never where there is none, since that endpoint is gone. Done reports
// whether the record says so now; it does not where somebody else changed it
// meanwhile.
func (bs *bindings) Describe(ctx context.Context, rec store.Endpoint) (done bool, err error) {
	key := store.EndpointKey(bs.Self.Node(), rec.Endpoint)
	it, err := bs.KV.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	have, err := store.Decode[store.Endpoint](it)
	if errors.Is(err, store.ErrNewer) {
		return false, err
	}
	rec.Unknown, rec.Container.Unknown = have.Unknown, have.Container.Unknown
	if err == nil && reflect.DeepEqual(have, rec) {
		return true, nil
	}
	res, err := bs.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(key, it.Modified)},
		Then: []store.Op{store.Put(key, store.Encode(rec))},
	})
	if err != nil {
		return false, fmt.Errorf("write %s: %w", key, err)
	}
	return res.Done, nil
}

// restoreEndpoint makes an endpoint's record again where it is absent, as it
// was bound, with what holds its MAC address; the driver adds what it has learned since.
func (bs *bindings) restoreEndpoint(ctx context.Context, id string) error {
	e, ok := bs.Memory.Binding(id)
	if !ok || e.State != journal.Written {
		return nil
	}
	key := store.EndpointKey(bs.Self.Node(), id)
	then := []store.Op{store.Put(key, store.Encode(e.Record))}
	if bs.closings.isGiven(e.Record) { // its MAC address is held by a record of its own
		claim := store.MACKey(e.Record.Segment, e.Record.MAC)
		then = append(then, store.Op{Kind: store.OpNested, Nested: &store.Txn{
			If:   []store.Cond{store.Absent(claim)},
			Then: []store.Op{store.Put(claim, store.Encode(bs.closings.macRecord(e.Record)))},
		}})
	}
	res, err := bs.Commit(ctx, store.Txn{If: []store.Cond{store.Absent(key)}, Then: then})
	if err != nil || !res.Done {
		return err
	}
	if now, ok := bs.Memory.Binding(id); !ok || now.State == journal.Closing {
		return bs.closeEndpoint(ctx, e) // it was deleted meanwhile
	}
	bs.Log.Warn("the record of an endpoint on this node had vanished from the store: made again", "endpoint", node.Short(id))
	if bs.Endpoints != nil {
		bs.Endpoints.Restored(id)
	}
	return nil
}
