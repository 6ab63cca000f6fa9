package ipam

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/mirror"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// leases is the life of this node's leases in the store: taken once, deleted once.
type leases struct {
	*node.Node
	holders  *holders
	claims   *claims
	closings *closings
	coolings *coolings
	kept     *kept
	silent   func(network string, at pool.Place) // a container gave an address back
}

// reconcile makes memory and store agree about one place. It
// returns the conflict if somebody else has an address that a container of
// this node uses.
func (ls *leases) reconcile(ctx context.Context, at pool.Place) (*Conflict, error) {
	release, err := ls.Places.Hold(ctx, at)
	if err != nil {
		return nil, err
	}
	defer release()
	it, err := ls.Read(ctx, at.Key())
	if err != nil {
		return nil, err
	}
	rec := store.Lease{}
	if it.Created != 0 {
		rec, err = store.Decode[store.Lease](it)
		if err != nil {
			return nil, err
		}
	}
	own := rec.State == store.Leased && rec.Node == ls.Self.Node()
	l, known := ls.Memory.Lease(at)
	switch {
	case !known && own:
		return nil, ls.Memory.KnownPut(ls.adopted(at, it, rec))
	case !known:
		return nil, nil
	case own && l.IsGiven() && rec.Endpoint != "" && rec.Endpoint != l.Endpoint && !ls.Memory.Complete:
		return nil, ls.Memory.KnownPut(ls.adopted(at, it, rec)) // that it was bound is lost here; else its Bind was not answered
	case own && (rec.Nonce == l.Nonce || l.State == journal.Bound):
		l.Nonce, l.Created = rec.Nonce, it.Created
		l.Doubt = l.Doubt && l.State == journal.Releasing // what an earlier epoch sent cannot happen any more
		return nil, ls.Memory.KnownPut(l)
	case own:
		return nil, ls.Memory.KnownPut(ls.adopted(at, it, rec))
	case l.IsGiven() && !l.Doubt && it.Created == 0:
		return ls.assert(ctx, l) // another driver's network never binds what it uses
	case l.State == journal.Releasing && (l.Created == 0 || l.Claimed):
		return nil, nil // it may still be on its way: its release settles that
	case l.State != journal.Bound:
		return nil, ls.Memory.NoteDrop(l)
	case it.Created == 0:
		return ls.assert(ctx, l)
	case ls.resting(rec) || vacated(l, it, rec) || rec.State == store.Conflicted:
		if done, err := ls.retake(ctx, l, it, rec); err != nil || done {
			return nil, err
		}
		return ls.assert(ctx, l)
	}
	return ls.holders.conflict(ctx, l, rec), nil
}

// adopted is a lease rebuilt from its record.
func (ls *leases) adopted(at pool.Place, it store.Item, rec store.Lease) journal.Lease {
	l := journal.Lease{
		Segment:  at.Segment,
		Address:  at.Addr,
		Nonce:    rec.Nonce,
		Created:  it.Created,
		Kind:     rec.Kind,
		Since:    rec.Since,
		State:    journal.Given,
		Endpoint: rec.Endpoint,
		Claimed:  rec.Claims != nil,
	}
	if n, ok := ls.Memory.AddressingOf(rec.Network); ok {
		l.Network = n.ID
	} else if id, ok := store.EngineNetworkOf(rec.Network); ok {
		l.Network = id
	}
	if rec.Endpoint != "" {
		l.State = journal.Bound
	}
	if e, ok := ls.Memory.Binding(rec.Endpoint); ok && e.State == journal.Closing {
		l.State = journal.Unbound
	}
	return l
}

// assert writes a live lease again where it is absent.
func (ls *leases) assert(ctx context.Context, l journal.Lease) (*Conflict, error) {
	found, won, err := ls.put(ctx, l, false)
	if won {
		ls.Log.Warn("a lease of this node had vanished from the store: made again", "address", l.Address, "segment", l.Segment, "endpoint", node.Short(l.Endpoint))
	}
	if err != nil || won {
		return nil, err
	}
	rec, err := store.Decode[store.Lease](found)
	if err != nil {
		return nil, err
	}
	if l.State != journal.Bound {
		ls.Log.Error("an address that was given on this node has another holder", "address", l.Address, "holder", ls.holders.holderOf(ctx, l.Address, rec))
		return nil, ls.Memory.NoteDrop(l)
	}
	return ls.holders.conflict(ctx, l, rec), nil
}

// wish is a lease that is to be taken.
type wish struct {
	journal.Lease
	// kept is at which revision its address is reserved for who asks; 0: it must not
	// be reserved.
	kept store.Revision
}

// unreserved compares that the address of a wish is not reserved for somebody else.
func (w wish) unreserved() store.Cond {
	return store.Unchanged(store.ReservationKey(w.Segment, w.Address), w.kept)
}

// take is put for a lease that nobody has yet: when the reply is missing it
// is given back.
func (ls *leases) take(ctx context.Context, w wish) (found store.Item, won bool, err error) {
	l := w.Lease
	found, won, err = ls.put(ctx, l, true, w.unreserved())
	switch {
	case errors.Is(err, store.ErrUnavailable):
		l.State = journal.Releasing
		err = errors.Join(ls.Unanswered(err), ls.Memory.NotePut(l))
	case errors.Is(err, store.ErrSuspect):
		err = ls.Untrusted(err)
	case won && err != nil: // Docker is refused: nobody will give it back
		err = errors.Join(err, ls.postpone(l))
	}
	return found, won, err
}

// takeFirst takes the first of several addresses that nobody has yet, in one
// transaction. When the reply is missing all of them are given back.
func (ls *leases) takeFirst(ctx context.Context, all []wish) (tried, error) {
	res, err := ls.Commit(ctx, store.Txn{Gives: true, Then: []store.Op{ls.rung(all)}})
	switch {
	case errors.Is(err, store.ErrUnavailable):
		given := make([]journal.Record, len(all))
		for i, w := range all {
			w.State = journal.Releasing
			given[i] = w.Lease
		}
		return tried{won: -1}, errors.Join(ls.Unanswered(err), ls.Memory.NotePut(given...))
	case errors.Is(err, store.ErrSuspect):
		return tried{won: -1}, ls.Untrusted(err)
	case err != nil:
		return tried{won: -1}, err
	}
	return ls.climbed(all, res)
}

// rung takes the first of the leases, or where somebody has its address one of
// the others.
func (ls *leases) rung(all []wish) store.Op {
	txn := ls.creation(all[0].Lease, all[0].unreserved())
	if len(all) > 1 {
		txn.Else = append(txn.Else, ls.rung(all[1:]))
	}
	return store.Op{Kind: store.OpNested, Nested: &txn}
}

// climbed reads which of the leases a transaction took. Where its first reply
// was lost it may have taken two: what an earlier try took stands in the way of
// the next one, which then takes another. That one is given back.
func (ls *leases) climbed(all []wish, res store.Result) (tried, error) {
	was := tried{won: -1, revision: res.Revision}
	var failed error
	for i, w := range all {
		if len(res.Nested) == 0 {
			break
		}
		res = res.Nested[0]
		l := w.Lease
		found, there := res.Item(l.Place().Key())
		l.Created = createdUnder(found, l.Nonce)
		if res.Done {
			l.Created = was.revision
		} else if !there {
			was.free = append(was.free, i) // it is reserved, or is no more
			continue
		}
		ls.Learn(l.Place(), mirror.Taken, was.revision)
		switch {
		case l.Created == 0:
			if ls.IsUnknown(l.Place(), found) {
				ls.SuspectAt(l.Place())
			}
		case was.won < 0:
			was.won = i
			if err := ls.Memory.KnownPut(l); err != nil { // Docker is refused: nobody will give it back
				failed = errors.Join(failed, err, ls.postpone(l))
			}
		default:
			failed = errors.Join(failed, ls.postpone(l))
		}
	}
	return was, failed
}

// creation makes a lease's key if it is absent, and what else is compared holds;
// it reads what stands there otherwise.
func (ls *leases) creation(l journal.Lease, also ...store.Cond) store.Txn {
	key, rec := l.Place().Key(), ls.Record(l)
	return store.Txn{
		If:    append([]store.Cond{store.Absent(key)}, also...),
		Then:  []store.Op{store.Put(key, store.Encode(rec))},
		Else:  []store.Op{store.Get(key)},
		Epoch: rec.Epoch,
	}
}

// put makes the lease's key if it is absent, and what else is compared holds. When
// it is not, found is what stands there. With gives the address is given for the
// first time, else a lease is written again. The caller holds the place.
func (ls *leases) put(ctx context.Context, l journal.Lease, gives bool, also ...store.Cond) (found store.Item, won bool, err error) {
	txn := ls.creation(l, also...)
	txn.Gives = gives
	res, err := ls.Commit(ctx, txn)
	if err != nil {
		return found, false, err
	}
	l.Created = res.Revision
	if !res.Done {
		found, _ = res.Item(l.Place().Key())
		if found.Created == 0 {
			return found, false, nil // something else does not hold
		}
		// An earlier try of this very transaction may have made it.
		l.Created = createdUnder(found, l.Nonce)
	}
	ls.Learn(l.Place(), mirror.Taken, res.Revision)
	if l.Created == 0 {
		return found, false, nil
	}
	return found, true, ls.Memory.KnownPut(l)
}

func (ls *leases) freeAddress(ctx context.Context, h Held) error {
	ctx, cancel := ls.Bounded(ctx)
	defer cancel()
	at := pool.At(h.Segment, h.Address)
	release, err := ls.Places.Hold(ctx, at)
	if err != nil {
		return err
	}
	defer release()
	l, ok := ls.Memory.Lease(at)
	if !ok || !l.IsGiven() && l.State != journal.Unbound || heldAddress(l) != h {
		return nil
	}
	return ls.giveUp(ctx, l)
}

// An eviction does not free a node's addresses at once: its containers may
// still answer for them. They rest in quarantine, under the node's name, so
// that it can take its own again when it comes back, and are free afterwards.
// What the swarm's manager claims too rests under that claim instead.

// retake takes an address that an eviction took from this node, for the
// container that still has it. It fails to when somebody else changed it first.
func (ls *leases) retake(ctx context.Context, l journal.Lease, it store.Item, found store.Lease) (done bool, err error) {
	rec := ls.Record(l)
	switch {
	case l.Claimed && found.Claims != nil:
		rec = claimedRecord(found, rec)
	case ls.resting(found): // else it is no lease of this node's
		rec.Unknown = found.Unknown
	}
	done, err = ls.claims.rewrite(ctx, l.Place(), it, rec, rec.Epoch)
	if err != nil || !done {
		return done, err
	}
	l.Created, l.Doubt = it.Created, false
	ls.Log.Info("took an address again after this node's eviction", "address", l.Address, "endpoint", node.Short(l.Endpoint))
	return true, ls.Memory.KnownPut(l)
}

// resting reports whether this node's eviction left a record behind.
func (ls *leases) resting(rec store.Lease) bool {
	return rec.State == store.Quarantined && rec.Node == ls.Self.Node()
}

// vacated reports whether a record is what an eviction leaves of a swarm
// worker's lease: the manager's claim, of the same life or at least of the same
// network, which no worker has joined since. If the manager means another task by it now, that
// one is refused until the container here is gone.
func vacated(l journal.Lease, it store.Item, rec store.Lease) bool {
	return l.Claimed && rec.Claims != nil && rec.Claims.Manager && !rec.Claims.Worker &&
		(it.Created == l.Created || rec.Network == l.Network)
}

// giveUp releases a lease: in the store at once, else in the journal. A
// store that did not answer the last call is asked a question first: what
// was not sent to it is certain to be still this node's (see request.go).
// The caller holds the place.
func (ls *leases) giveUp(ctx context.Context, l journal.Lease) error {
	ls.left(l)
	if ls.Self.Trusted() != nil || !ls.Answers(ctx) {
		return ls.postpone(l)
	}
	err := ls.discharge(ctx, l)
	if err == nil {
		return nil
	}
	ls.Log.Warn("release of an address not written to etcd: queued", "address", l.Address, "err", err)
	return ls.postponeInDoubt(l)
}

// left notes, before an address is free, that whoever had it may want it again.
func (ls *leases) left(l journal.Lease) {
	if l.Kind == store.Static {
		ls.kept.late.Left(l.Segment, l.Address)
		return
	}
	had, _ := ls.Memory.Binding(l.Endpoint)
	if name := had.Record.Container.Name; name != "" && ls.kept.OptionsOf(l.Network).KeepsRemoved(0) {
		ls.kept.late.LetGo(l.Network, name, l.Segment, l.Address)
	}
}

// postpone leaves a release to Run.
func (ls *leases) postpone(l journal.Lease) error {
	l.State = journal.Releasing
	defer ls.Wake()
	return ls.Memory.NotePut(l)
}

// postponeInDoubt is postpone for a release that was sent: it may have landed
// unseen, and somebody else may have the address.
func (ls *leases) postponeInDoubt(l journal.Lease) error {
	l.Doubt = true
	return ls.postpone(l)
}

// discharge deletes a lease's key, and with it the record of the endpoint that
// had it: a name must not outlive the right to its address. Only the life of
// the key that this lease began is deleted: after an eviction another node may
// have the address. The caller holds the place.
func (ls *leases) discharge(ctx context.Context, l journal.Lease) error {
	released := ls.released(l)
	if l.Claimed {
		if err := ls.claims.dischargeClaim(ctx, l); err != nil {
			return err
		}
		released()
		return nil
	}
	if l.Created == 0 {
		// What was sent before may still be on its way, and land on an absent key.
		// So the same is sent until it is answered.
		_, won, err := ls.put(ctx, l, true)
		if err != nil {
			return err
		}
		if !won {
			return ls.Memory.KnownDrop(l)
		}
		l, _ = ls.Memory.Lease(l.Place())
	}
	if l.State == journal.Releasing && !l.Doubt {
		l.Doubt = true
		if err := ls.Memory.NotePut(l); err != nil {
			return err
		}
	}
	res, shown, ended, err := ls.deleteLease(ctx, l)
	if err != nil {
		return err
	}
	ls.Learn(l.Place(), shown, res.Revision)
	if shown != mirror.Taken { // else it was not this node's any more
		if l.Endpoint != "" {
			ls.silent(l.Network, l.Place())
		}
		released()
	}
	return ls.Memory.KnownDrop(append(ended, l)...)
}

// released returns what tells that a container's address is free; with it goes
// what the journal knows of the endpoint.
func (ls *leases) released(l journal.Lease) (tell func()) {
	if l.Endpoint == "" {
		return func() {} // no container ever had it
	}
	had, _ := ls.Memory.Binding(l.Endpoint)
	n, _ := ls.Memory.Addressing(l.Network)
	return func() {
		ls.Events.Tell(events.Event{
			Kind: events.Released, Network: cmp.Or(n.Name, had.Record.Name), Segment: l.Segment, Address: l.Address,
			MAC: had.Record.MAC, Endpoint: l.Endpoint,
		})
	}
}

// deleteLease deletes a lease's key and its endpoint's record; shown is what the
// address is then, and ended what the journal may forget with the lease. A lease
// that names no endpoint may have one in the store: the agent died before it could
// note what it had bound. So only the record as it was made is deleted then, and
// what stands there instead says which endpoint it is.
func (ls *leases) deleteLease(ctx context.Context, l journal.Lease) (res store.Result, shown mirror.Shown, ended []journal.Record, err error) {
	key, endpoint := l.Place().Key(), l.Endpoint
	cond := store.SameLife(key, l.Created)
	if endpoint == "" {
		cond = store.Unchanged(key, l.Created)
	}
	for restless := false; ; {
		var then []store.Op
		then, ended, err = ls.deletions(ctx, key, endpoint)
		if err != nil {
			return res, shown, nil, err
		}
		shown = mirror.Free
		if endpoint != "" && !restless {
			if rest, ok := ls.coolings.step(ctx, l); ok {
				then, shown = append(then, rest), mirror.Resting
			}
		}
		res, err = ls.Commit(ctx, store.Txn{If: []store.Cond{cond}, Then: then, Else: []store.Op{store.Get(key)}})
		if errors.Is(err, store.ErrNotFound) { // what it was to rest by is gone
			ls.coolings.forget()
			restless = true
			continue
		}
		if err != nil || res.Done {
			return res, shown, ended, err
		}
		it, there := res.Item(key)
		switch {
		case !there:
			return res, mirror.Free, nil, nil
		case it.Created != l.Created: // another life: the endpoint's record goes by itself
			return res, mirror.Taken, nil, nil
		}
		rec, err := store.Decode[store.Lease](it)
		if err != nil {
			return res, shown, nil, err
		}
		cond, endpoint = store.Unchanged(key, it.Modified), rec.Endpoint
	}
}

// deletions are the steps that delete a lease and what its endpoint has, ""
// for none.
func (ls *leases) deletions(ctx context.Context, key, endpoint string) ([]store.Op, []journal.Record, error) {
	ops, ended, err := ls.closings.steps(ctx, endpoint)
	return append(ops, store.Delete(key)), ended, err
}

// createdUnder returns when a key came into being if its lease carries the
// nonce, else 0.
func createdUnder(it store.Item, nonce string) store.Revision {
	rec, err := store.Decode[store.Lease](it)
	if it.Created == 0 || err != nil || rec.Nonce != nonce {
		return 0
	}
	return it.Created
}

func (ls *leases) freeOne(ctx context.Context, was journal.Lease) error {
	release, err := ls.Places.Hold(ctx, was.Place())
	if err != nil {
		return err
	}
	defer release()
	l, ok := ls.Memory.Lease(was.Place())
	if !ok || l.Nonce != was.Nonce || l.State != journal.Unbound {
		return nil
	}
	if ls.IsAway() {
		return ls.postpone(l) // many may be dead at once, and a handler may wait
	}
	return ls.giveUp(ctx, l)
}

// Pending counts the releases that etcd has not taken yet.
func (ls *leases) Pending() int {
	return len(ls.Memory.Leases(func(l journal.Lease) bool { return l.State == journal.Releasing }))
}

// settleRelease writes a release, unless the address was given again.
func (ls *leases) settleRelease(ctx context.Context, was journal.Lease) error {
	release, err := ls.Places.Hold(ctx, was.Place())
	if err != nil {
		return err
	}
	defer release()
	l, ok := ls.Memory.Lease(was.Place())
	if !ok || l != was {
		return nil
	}
	ls.left(l)
	return ls.discharge(ctx, l)
}

// bucket is for how long one etcd lease is hung from: all addresses that are
// let go in that time rest by it, and so a little longer than they should.
const bucket = 15 * time.Second

// coolings are the etcd leases that resting addresses hang from, one for each
// length of a cooldown.
type coolings struct {
	*node.Node
	mu      sync.Mutex // held while a lease is granted: who needs it too waits
	buckets map[time.Duration]cooling
}

// grantPatience is what of a release's time may go into an etcd lease.
const grantPatience = time.Second

type cooling struct {
	lease store.LeaseID // 0: none was to be had
	until time.Time     // it is hung from, by this host's clock
}

// step has an address that a container leaves rest by the cooldown of its
// network. None where there is no cooldown, or no etcd lease to be had: it puts
// an order on candidates, and a release waits for more than that.
func (cs *coolings) step(ctx context.Context, l journal.Lease) (store.Op, bool) {
	cooldown := cs.of(l)
	if cs.Grant == nil || cooldown == 0 {
		return store.Op{}, false
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	now := cs.Now()
	b, ok := cs.buckets[cooldown]
	if !ok || !now.Before(b.until) {
		b = cooling{cs.grant(ctx, cooldown), now.Add(bucket)}
		cs.buckets[cooldown] = b
	}
	if b.lease == 0 {
		return store.Op{}, false
	}
	op := store.Put(store.CooldownKey(l.Segment, l.Address), store.Encode(store.Cooldown{Since: now.Unix()}))
	op.Lease = b.lease
	return op, true
}

// grant makes the etcd lease of a bucket; 0 where none is to be had.
func (cs *coolings) grant(ctx context.Context, cooldown time.Duration) store.LeaseID {
	ctx, cancel := context.WithTimeout(ctx, grantPatience)
	defer cancel()
	ttl := (cooldown + bucket + time.Second - 1) / time.Second
	lease, err := cs.Grant(ctx, int64(ttl))
	if err != nil {
		cs.Log.Warn("addresses do not rest after their containers: no etcd lease is to be had; asked for again later", "in", bucket, "err", err)
		return 0
	}
	return lease
}

// forget takes up no etcd lease again: one of them is gone. The host slept, or
// the store was restored.
func (cs *coolings) forget() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	clear(cs.buckets)
}

// of is the cooldown of a lease's network.
func (cs *coolings) of(l journal.Lease) time.Duration {
	p, _ := cs.Memory.Pool(l.Pool)
	n, _ := cs.Memory.Addressing(l.Network)
	o, err := n.OptionsOf(p)
	if err != nil {
		o = pool.Options{}
	}
	return o.CooldownUnder(n.Overrides)
}
