package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// In a swarm one address is asked for twice and released twice: by the
// manager, which chooses it for a task or a service, and by the worker that
// runs the task. Both are claims on one lease, which is free when neither is
// left. The manager's claim belongs to the swarm and not to a node: every
// leader repeats it, and no eviction takes it. The worker's belongs to one
// endpoint of one node.

// managerPrefix marks the leader's side of a swarm network, which has pools
// of its own beside those of the worker on the same host.
const managerPrefix = "manager:"

// ManagerNetwork is what the leader's side of a swarm network is attached
// as.
func ManagerNetwork(id string) string { return managerPrefix + id }

// swarmIDLength is that of a swarm network's id.
const swarmIDLength = 25

// IsSwarmID tells a swarm network's id (25 digits of base 36) from an engine's
// own (64 of base 16).
func IsSwarmID(id string) bool {
	notDigit := func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'z') }
	return len(id) == swarmIDLength && !strings.ContainsFunc(id, notDigit)
}

// byManager tells that the swarm's manager asks.
func (p opened) byManager() bool { return strings.HasPrefix(p.Network, managerPrefix) }

// byWorker tells that a worker asks, for one of the swarm's networks.
func (p opened) byWorker() bool { return IsSwarmID(p.Network) }

// claimAny gives the swarm any free address.
func (a *Allocator) claimAny(ctx context.Context, p opened, r AddressRequest) (netip.Prefix, error) {
	if err := a.distrust(); err != nil {
		return netip.Prefix{}, err
	}
	return a.allocateWith(ctx, p, r, func(v view, at pool.Place) (bool, error) {
		_, won, err := a.makeClaim(ctx, p, at)
		return won, err
	})
}

// claimThis gives the swarm an explicit address. A new leader repeats the
// claims of the last: what the swarm has already is a success.
func (a *Allocator) claimThis(ctx context.Context, p opened, addr netip.Addr) (netip.Prefix, error) {
	if err := a.distrust(); err != nil {
		return netip.Prefix{}, err
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	at := pool.At(p.parsed().Segment, addr)
	granted := netip.PrefixFrom(addr, p.parsed().Subnet.Bits())
	for {
		it, won, err := a.makeClaim(ctx, p, at)
		if err != nil || won {
			return granted, err
		}
		rec, err := store.Decode[store.Lease](it)
		switch {
		case err != nil:
			return netip.Prefix{}, err
		case rec.Claims == nil:
			return netip.Prefix{}, a.takenError(ctx, at, rec)
		}
		// Also where it is there: written again it is another claim than the one
		// that somebody may have seen to be nobody's.
		rec.Claims.Manager = true
		if done, err := a.rewrite(ctx, at, it, rec); err != nil || done {
			return granted, err
		}
	}
}

// makeClaim makes the record of an address for the swarm if it is absent.
func (a *Allocator) makeClaim(ctx context.Context, p opened, at pool.Place) (found store.Item, won bool, err error) {
	nonce, err := mintNonce(a.Rand)
	if err != nil {
		return found, false, err
	}
	key := at.Key()
	res, err := a.commit(ctx, store.Txn{
		Gives: true,
		If:    []store.Cond{store.Absent(key)},
		Then: []store.Op{store.Put(key, store.Encode(store.Lease{
			State: store.Leased, Kind: store.Dynamic, Nonce: nonce, Since: a.Now().Unix(),
			Network: strings.TrimPrefix(p.Network, managerPrefix), Claims: &store.Claims{Manager: true},
		}))},
		Else: []store.Op{store.Get(key)},
	})
	if err != nil {
		return found, false, a.unanswered(err)
	}
	a.learn(at, true, res.Revision)
	if res.Done {
		return found, true, nil
	}
	found, _ = res.Item(key)
	return found, createdUnder(found, nonce) != 0, nil // an earlier try may have made it
}

// rewrite replaces a record that is as it was read; done is false when it is
// not.
func (a *Allocator) rewrite(ctx context.Context, at pool.Place, it store.Item, rec store.Lease) (done bool, err error) {
	res, err := a.commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(at.Key(), it.Modified)},
		Then: []store.Op{store.Put(at.Key(), store.Encode(rec))},
	})
	return res.Done, err
}

// unclaim ends one side's claim, and with the last one the lease. An absent
// record, or one without claims, is none of the swarm's. end takes the claim
// out of what it is shown, and tells whether it is the one to end. With a
// worker's claim goes the record of its endpoint.
func (a *Allocator) unclaim(ctx context.Context, at pool.Place, end func(store.Item, *store.Lease) bool) error {
	for {
		it, err := a.read(ctx, at.Key())
		if err != nil || it.Created == 0 {
			return err
		}
		rec, err := store.Decode[store.Lease](it)
		if err != nil || rec.Claims == nil {
			return err
		}
		had := rec.Endpoint
		if !end(it, &rec) {
			return nil
		}
		var then []store.Op
		if had != "" && rec.Endpoint == "" {
			then = append(then, store.Delete(store.EndpointKey(a.Self.Node(), had)))
		}
		last := !rec.Claims.Manager && !rec.Claims.Worker
		if last {
			then = append(then, store.Delete(at.Key()))
		} else {
			then = append(then, store.Put(at.Key(), store.Encode(rec)))
		}
		res, err := a.commit(ctx, store.Txn{If: []store.Cond{store.Unchanged(at.Key(), it.Modified)}, Then: then})
		if err != nil {
			return err
		}
		if res.Done && last {
			a.learn(at, false, res.Revision)
		}
		if res.Done {
			return nil
		}
	}
}

// releaseClaim is a release by the manager. One that the store does not hear
// is found again by the managers' own reconciling.
func (a *Allocator) releaseClaim(ctx context.Context, at pool.Place) error {
	err := a.unclaim(ctx, at, endManager)
	if errors.Is(err, store.ErrUnavailable) {
		a.Log.Warn("the swarm's release of an address is found later", "address", at.Addr, "err", err)
		return nil
	}
	return err
}

// endManager takes the manager's claim out of a record.
func endManager(_ store.Item, rec *store.Lease) bool {
	had := rec.Claims.Manager
	rec.Claims.Manager = false
	return had
}

// dischargeClaim is discharge for a worker's claim.
func (a *Allocator) dischargeClaim(ctx context.Context, l lease) error {
	err := a.unclaim(ctx, l.place(), func(_ store.Item, rec *store.Lease) bool {
		if rec.Nonce != l.Nonce || rec.Node != a.Self.Node() {
			return false
		}
		rec.Claims.Worker, rec.Node, rec.Epoch, rec.Endpoint = false, "", 0, ""
		return true
	})
	if err != nil {
		return err
	}
	return a.ledger.forget(l)
}

// takeClaimed gives a worker the address that the manager chose for its task,
// unless another endpoint has it still.
func (a *Allocator) takeClaimed(ctx context.Context, l lease, it store.Item, rec store.Lease) (holder string, err error) {
	l.Claimed = true
	for rec.Nonce != l.Nonce { // an earlier try may have made it
		if rec.Claims == nil || rec.Claims.Worker || !rec.Claims.Manager {
			return "", a.takenError(ctx, l.place(), rec)
		}
		l.Created = it.Created
		done, err := a.rewrite(ctx, l.place(), it, claimedRecord(rec, a.record(l)))
		if err != nil || done {
			return "", errors.Join(err, a.keepUnless(err, l))
		}
		if it, err = a.read(ctx, l.place().Key()); err != nil {
			return "", errors.Join(a.unanswered(err), a.keepUnless(err, l))
		}
		if it.Created == 0 {
			return "", fmt.Errorf("address %s was given up by the swarm's manager: the task starts elsewhere", l.Address)
		}
		if rec, err = store.Decode[store.Lease](it); err != nil {
			return "", err
		}
	}
	return "", a.ledger.keep(l)
}

// keepUnless enters a lease; one whose reply is missing is given back.
func (a *Allocator) keepUnless(err error, l lease) error {
	if err != nil {
		l.State = releasing
	}
	return a.ledger.keep(l)
}

// claimedRecord is a worker's record with what the manager's side says. The
// network's name is the manager's too: by it the claims of a network are found
// when the swarm has it no longer.
func claimedRecord(found, own store.Lease) store.Lease {
	own.Claims = &store.Claims{Manager: found.Claims != nil && found.Claims.Manager, Worker: true}
	own.Network = found.Network
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
func (a *Allocator) ManagerClaims(ctx context.Context) ([]ManagerClaim, error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	var claims []ManagerClaim
	seen := map[ManagerClaim]bool{} // two pools may share an address
	for _, p := range a.ledger.poolsWhere(func(p opened) bool { return p.byManager() && !p.Closed }) {
		id := p.parsed()
		some, err := a.claimsIn(ctx, id.Segment, id.Subnet)
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

// claimsIn lists what the manager claims in a subnet, for any network.
func (a *Allocator) claimsIn(ctx context.Context, segment string, subnet netip.Prefix) ([]ManagerClaim, error) {
	items, _, err := a.list(ctx, store.LeasesSpan(segment, subnet))
	if err != nil {
		return nil, err
	}
	var claims []ManagerClaim
	for _, it := range items {
		segment, addr, err := store.LeaseOf(it.Key)
		rec, bad := store.Decode[store.Lease](it)
		if err != nil || bad != nil || rec.Claims == nil || !rec.Claims.Manager {
			continue
		}
		claims = append(claims, ManagerClaim{Segment: segment, Address: addr, Network: rec.Network, Written: it.Modified})
	}
	return claims, nil
}

// DropManagerClaim ends a claim of a task or service that is no more: a
// leader that died took the release with it. A claim that was made anew since
// it was listed stays. It fails with store.ErrUnavailable while the store is
// away.
func (a *Allocator) DropManagerClaim(ctx context.Context, c ManagerClaim) (dropped bool, err error) {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	err = a.unclaim(ctx, pool.At(c.Segment, c.Address), func(it store.Item, rec *store.Lease) bool {
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
func (a *Allocator) EndManagerClaims(ctx context.Context, n SwarmNetwork) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	for _, subnet := range n.Subnets {
		claims, err := a.claimsIn(ctx, n.Segment, subnet)
		if err != nil {
			return err
		}
		for _, c := range claims {
			if c.Network != n.ID {
				continue
			}
			err := a.unclaim(ctx, pool.At(c.Segment, c.Address), func(it store.Item, rec *store.Lease) bool {
				return rec.Network == n.ID && endManager(it, rec)
			})
			if err != nil {
				return fmt.Errorf("end the swarm's claim of %s: %w", c.Address, err)
			}
		}
	}
	return nil
}
