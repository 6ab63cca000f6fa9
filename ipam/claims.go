package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/mirror"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// claims are the two claims of a swarm on one address.
type claims struct {
	*node.Node
	holders  *holders
	closings *closings

	mu   sync.Mutex
	made map[pool.Place]string // by this agent as the swarm's leader: what its last claim is marked with
}

// claimed notes a claim of the manager's that this agent made.
func (cs *claims) claimed(at pool.Place, made string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.made == nil {
		cs.made = map[pool.Place]string{}
	}
	cs.made[at] = made
}

// madeHere is the mark of the claim that this agent made last; "" for none.
func (cs *claims) madeHere(at pool.Place) string {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.made[at]
}

// unclaimed forgets a claim.
func (cs *claims) unclaimed(at pool.Place) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.made, at)
}

// makeClaim makes the record of an address for the swarm if it is absent, and the
// address is not reserved: the swarm does not say which container it is for.
func (cs *claims) makeClaim(ctx context.Context, p journal.Pool, at pool.Place) (found store.Item, won bool, err error) {
	nonce, err := node.MintNonce(cs.Rand, node.LeaseNonce)
	if err != nil {
		return found, false, err
	}
	key := at.Key()
	overlay, _ := store.ManagerNetworkOf(p.Network)
	res, err := cs.Commit(ctx, store.Txn{
		Gives: true,
		If:    []store.Cond{store.Absent(key), store.Absent(store.ReservationKey(at.Segment, at.Addr))},
		Then: []store.Op{store.Put(key, store.Encode(store.Lease{
			State: store.Leased, Kind: store.Dynamic, Nonce: nonce, Since: cs.Now().Unix(),
			Network: overlay, Claims: &store.Claims{Manager: true, Made: nonce},
		}))},
		Else: []store.Op{store.Get(key)},
	})
	if err != nil {
		return found, false, cs.Unanswered(err)
	}
	if !res.Done {
		found, _ = res.Item(key)
		won = createdUnder(found, nonce) != 0 // an earlier try may have made it
	}
	if res.Done || found.Created != 0 {
		cs.Learn(at, mirror.Taken, res.Revision)
	}
	if res.Done || won {
		cs.claimed(at, nonce)
		return found, true, nil
	}
	if cs.IsUnknown(at, found) {
		cs.SuspectAt(at)
	}
	return found, false, nil
}

// repeatClaim claims for the swarm what it has a claim on already. Written again
// it is another claim than the one that somebody may have seen to be nobody's, or
// that an earlier leader's release, which comes late, is of.
func (cs *claims) repeatClaim(ctx context.Context, at pool.Place, it store.Item, rec store.Lease) (done bool, err error) {
	made, err := node.MintNonce(cs.Rand, node.LeaseNonce)
	if err != nil {
		return false, err
	}
	rec.Claims.Manager, rec.Claims.Made = true, made
	done, err = cs.rewrite(ctx, at, it, rec, 0)
	if done {
		cs.claimed(at, made)
	}
	return done, err
}

// rewrite replaces a record that is as it was read; done is false when it is
// not. Epoch is the Txn's.
func (cs *claims) rewrite(ctx context.Context, at pool.Place, it store.Item, rec store.Lease, epoch int64) (done bool, err error) {
	res, err := cs.Commit(ctx, store.Txn{
		If:    []store.Cond{store.Unchanged(at.Key(), it.Modified)},
		Then:  []store.Op{store.Put(at.Key(), store.Encode(rec))},
		Epoch: epoch,
	})
	return res.Done, err
}

// unclaim ends one side's claim, and with the last one the lease. An absent
// record, or one without claims, is none of the swarm's. end takes the claim
// out of what it is shown, and reports whether it is the one to end. With a
// worker's claim goes the record of its endpoint; ended is what the journal may
// forget then.
func (cs *claims) unclaim(ctx context.Context, at pool.Place, end func(store.Item, *store.Lease) bool) (ended []journal.Record, err error) {
	for {
		it, err := cs.Read(ctx, at.Key())
		if err != nil || it.Created == 0 {
			return nil, err
		}
		rec, err := store.Decode[store.Lease](it)
		if err != nil || rec.Claims == nil {
			return nil, err
		}
		had := rec.Endpoint
		if !end(it, &rec) {
			return nil, nil
		}
		if rec.Endpoint != "" {
			had = ""
		}
		then, ended, err := cs.closings.steps(ctx, had)
		if err != nil {
			return nil, err
		}
		last := !rec.Claims.Manager && !rec.Claims.Worker
		if last {
			then = append(then, store.Delete(at.Key()))
		} else {
			then = append(then, store.Put(at.Key(), store.Encode(rec)))
		}
		res, err := cs.Commit(ctx, store.Txn{If: []store.Cond{store.Unchanged(at.Key(), it.Modified)}, Then: then})
		if err != nil {
			return nil, err
		}
		if res.Done && last {
			cs.Learn(at, mirror.Free, res.Revision)
		}
		if res.Done {
			return ended, nil
		}
	}
}

// releaseClaim is a release by the manager. One that the store does not hear
// is found again by the managers' own reconciling. It ends the claim that this
// agent made: one that another leader has made since, which repeats what it
// finds, is that one's to end.
func (cs *claims) releaseClaim(ctx context.Context, at pool.Place) error {
	made := cs.madeHere(at)
	_, err := cs.unclaim(ctx, at, func(it store.Item, rec *store.Lease) bool {
		if made != "" && rec.Claims.Made != "" && rec.Claims.Made != made {
			cs.Log.Info("the swarm's release of an address is of an earlier claim than the one that stands: ignored", "address", at.Addr)
			return false
		}
		return endManager(it, rec)
	})
	if err == nil {
		cs.unclaimed(at)
	}
	if errors.Is(err, store.ErrUnavailable) {
		cs.Log.Warn("the swarm's release of an address is not written: its claim ends at a later look", "address", at.Addr, "err", err)
		return nil
	}
	return err
}

// endManager takes the manager's claim out of a record.
func endManager(_ store.Item, rec *store.Lease) bool {
	had := rec.Claims.Manager
	rec.Claims.Manager, rec.Claims.Made = false, ""
	return had
}

// dischargeClaim is discharge for a worker's claim. One whose reply was lost may
// still be on its way: the record that it was to replace is written again as it
// is, so that it never lands.
func (cs *claims) dischargeClaim(ctx context.Context, l journal.Lease) error {
	for {
		var before store.Item
		var open store.Lease
		ended, err := cs.unclaim(ctx, l.Place(), func(it store.Item, rec *store.Lease) bool {
			if rec.Nonce != l.Nonce || rec.Node != cs.Self.Node() {
				before, open = it, *rec
				return false
			}
			rec.Claims.Worker, rec.Node, rec.Epoch, rec.Endpoint = false, "", 0, ""
			return true
		})
		if err != nil {
			return err
		}
		settled := before.Created != l.Created || open.Claims == nil || open.Claims.Worker
		if !settled {
			if settled, err = cs.rewrite(ctx, l.Place(), before, open, 0); err != nil {
				return err
			}
		}
		if settled {
			return cs.Memory.KnownDrop(append(ended, l)...)
		}
	}
}

// takeClaimed gives a worker the address that the manager chose for its task,
// unless another endpoint has it still.
func (cs *claims) takeClaimed(ctx context.Context, l journal.Lease, it store.Item, rec store.Lease) (holder string, err error) {
	l.Claimed = true
	for rec.Nonce != l.Nonce { // an earlier try may have made it
		if rec.Claims == nil || rec.Claims.Worker || !rec.Claims.Manager {
			return "", cs.holders.takenError(ctx, l.Place(), rec)
		}
		l.Created = it.Created
		own := cs.Record(l)
		done, err := cs.rewrite(ctx, l.Place(), it, claimedRecord(rec, own), own.Epoch)
		if err != nil || done {
			return "", errors.Join(err, cs.keepUnless(err, l))
		}
		if it, err = cs.Read(ctx, l.Place().Key()); err != nil {
			return "", errors.Join(cs.Unanswered(err), cs.keepUnless(err, l))
		}
		if it.Created == 0 {
			return "", fmt.Errorf("address %s was given up by the swarm's manager: the task starts elsewhere", l.Address)
		}
		if rec, err = store.Decode[store.Lease](it); err != nil {
			return "", err
		}
	}
	return "", cs.Memory.KnownPut(l)
}

// keepUnless enters a lease; one whose reply is missing is given back.
func (cs *claims) keepUnless(err error, l journal.Lease) error {
	if err == nil {
		return cs.Memory.KnownPut(l)
	}
	l.State = journal.Releasing
	return cs.Memory.NotePut(l)
}

// claimedRecord is a worker's record with what the manager's side says. The
// network's name is the manager's too: by it the claims of a network are found
// when the swarm has it no longer.
func claimedRecord(found, own store.Lease) store.Lease {
	own.Claims = &store.Claims{}
	if found.Claims != nil {
		*own.Claims = *found.Claims
	}
	own.Claims.Worker = true
	own.Network, own.Unknown = found.Network, found.Unknown
	return own
}

// ManagerClaim is an address that the swarm's manager claims.
type ManagerClaim struct {
	Segment string
	Address netip.Addr
	Network string // the swarm's network id
	// Written is when its record was last written: a claim that ended and was
	// made anew is another one.
	Written store.Revision
}

// ManagerClaims lists what the manager claims on networks whose leader this
// node is or was.
func (cs *claims) ManagerClaims(ctx context.Context) ([]ManagerClaim, error) {
	var claims []ManagerClaim
	seen := map[ManagerClaim]bool{} // two pools may share an address
	for _, p := range cs.Memory.Pools(func(p journal.Pool) bool { return p.ByManager() && !p.Closed }) {
		id := p.Parsed
		some, err := cs.claimsIn(ctx, id.Segment, id.Subnet)
		if err != nil {
			return nil, err
		}
		for _, c := range some {
			if !seen[c] {
				seen[c] = true
				claims = append(claims, c)
			}
		}
	}
	return claims, nil
}

// claimsIn lists what the manager claims in a subnet, for any network. It takes
// as long as the subnet has leases.
func (cs *claims) claimsIn(ctx context.Context, segment string, subnet netip.Prefix) (claims []ManagerClaim, err error) {
	_, err = cs.Scan(ctx, store.LeasesSpan(segment, subnet), store.Whole, func(page []store.Item) error {
		for _, it := range page {
			segment, addr, err := store.LeaseOf(it.Key)
			rec, bad := store.Decode[store.Lease](it)
			if err != nil || bad != nil || rec.Claims == nil || !rec.Claims.Manager {
				continue
			}
			claims = append(claims, ManagerClaim{Segment: segment, Address: addr, Network: rec.Network, Written: it.Modified})
		}
		return nil
	})
	return claims, err
}

// DropManagerClaim ends a claim of a task or service that is no more: a
// leader that died took the release with it. A claim that was made anew since
// it was listed stays. It fails with store.ErrUnavailable while the store is
// away.
func (cs *claims) DropManagerClaim(ctx context.Context, c ManagerClaim) (dropped bool, err error) {
	ctx, cancel := cs.Bounded(ctx)
	defer cancel()
	_, err = cs.unclaim(ctx, pool.At(c.Segment, c.Address), func(it store.Item, rec *store.Lease) bool {
		dropped = it.Modified == c.Written && endManager(it, rec)
		return dropped
	})
	return dropped && err == nil, err
}

// SwarmNetwork says where the claims of one of the swarm's networks are.
type SwarmNetwork struct {
	ID      string // the swarm's
	Segment string
	Subnets []netip.Prefix
}

// EndManagerClaims ends every claim of the manager on a network that the
// swarm no longer has. Workers' claims stay until their endpoints go. It
// fails with store.ErrUnavailable while the store is away.
func (cs *claims) EndManagerClaims(ctx context.Context, n SwarmNetwork) error {
	for _, subnet := range n.Subnets {
		claims, err := cs.claimsIn(ctx, n.Segment, subnet)
		if err != nil {
			return err
		}
		for _, c := range claims {
			if c.Network != n.ID {
				continue
			}
			if err := cs.endClaimOf(ctx, n.ID, c); err != nil {
				return fmt.Errorf("end the swarm's claim of %s: %w", c.Address, err)
			}
		}
	}
	return nil
}

// endClaimOf ends the manager's claim of one address, if it is a network's.
func (cs *claims) endClaimOf(ctx context.Context, network string, c ManagerClaim) error {
	ctx, cancel := cs.Bounded(ctx)
	defer cancel()
	_, err := cs.unclaim(ctx, pool.At(c.Segment, c.Address), func(it store.Item, rec *store.Lease) bool {
		return rec.Network == network && endManager(it, rec)
	})
	return err
}
