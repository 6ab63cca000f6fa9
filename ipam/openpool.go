package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// RequestPool opens a view on a subnet, which for an empty Pool is the next
// free of the default pools. Bad input is refused in one sentence and leaves
// nothing behind.
func (a *Allocator) RequestPool(ctx context.Context, r PoolRequest) (PoolReply, error) {
	if !pool.IsSpace(r.Space) {
		return PoolReply{}, fmt.Errorf("address space %q is not gvlan's: want %s or %s", r.Space, pool.LocalSpace, pool.GlobalSpace)
	}
	o, err := pool.ParseOptions(r.Options)
	if err != nil {
		return PoolReply{}, err
	}
	a.awaitOpening(ctx)
	if err := a.distrust(); err != nil {
		return PoolReply{}, err
	}
	nonce, err := mintNonce(a.Rand)
	if err != nil {
		return PoolReply{}, err
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	id := pool.ID{Space: r.Space, Segment: o.Segment, Nonce: nonce}
	p := opened{Options: r.Options, Default: r.Pool == ""}
	if p.Default {
		err = a.takeDefault(ctx, &id, r)
	} else {
		err = a.readSubnet(ctx, &id, r, o)
	}
	inDoubt := p.Default && id.Subnet.IsValid() && errors.Is(err, store.ErrUnavailable)
	if err != nil && !inDoubt {
		return PoolReply{}, err
	}
	p.ID, p.Closed = id.String(), inDoubt // closed: the subnet is given back
	if err := errors.Join(err, a.openPool(p)); err != nil {
		return PoolReply{}, err
	}
	return PoolReply{ID: p.ID, Subnet: id.Subnet}, nil
}

// readSubnet fills an id with the subnet and range that were asked for.
func (a *Allocator) readSubnet(ctx context.Context, id *pool.ID, r PoolRequest, o pool.Options) (err error) {
	if id.Subnet, err = pool.ParseSubnet(r.Pool); err != nil {
		return err
	}
	if id.Range, err = pool.ParseRange(r.SubPool, id.Subnet); err != nil {
		return err
	}
	return a.checkOverlap(ctx, *id, o)
}

// checkOverlap looks at the other subnets of the segment. Overlap is legal:
// an address exists once per segment whatever views are on it. It is
// reported, because it is seldom meant. The same base with another length is
// nearly always a typing error.
func (a *Allocator) checkOverlap(ctx context.Context, id pool.ID, o pool.Options) error {
	others, err := a.subnetsIn(ctx, id.Segment)
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
			a.Log.Warn("subnets overlap; no address is given twice, but hosts may not reach each other",
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
func (a *Allocator) subnetsIn(ctx context.Context, segment string) ([]usedSubnet, error) {
	items, _, err := a.list(ctx, store.NetworksSpan())
	if err != nil {
		return nil, err
	}
	var used []usedSubnet
	for _, it := range items {
		def, err := store.Decode[store.Network](it)
		if err != nil {
			return nil, err
		}
		if segment != "" && def.Created.Segment != segment {
			continue
		}
		for _, p := range def.Created.Pools {
			used = append(used, usedSubnet{p.Subnet, "network " + def.Name})
		}
	}
	for _, p := range a.ledger.poolsWhere(func(p opened) bool { return !p.Closed }) {
		if id := p.parsed(); segment == "" || id.Segment == segment {
			used = append(used, usedSubnet{id.Subnet, "another network of this host"})
		}
	}
	return used, nil
}

// openPool enters a pool and has its subnet mirrored.
func (a *Allocator) openPool(p opened) error {
	defer a.wake()
	return a.ledger.change(func() []entry {
		p.Seq, p.Heard = a.ledger.nextSeq(), a.Now().UnixMilli()
		return []entry{p}
	})
}

// ReleasePool closes a pool. One that a network was joined to stays until
// that network is detached. One without, or whose network is detached, gives
// back what was reserved for it: its create failed. It fails only when the
// journal does.
func (a *Allocator) ReleasePool(ctx context.Context, id string) error {
	p, ok := a.ledger.pool(id)
	if !ok || p.joined() && !p.Closed {
		return nil
	}
	if err := a.ledger.changePool(id, func(p *opened) { p.Closed = true }); err != nil {
		return err
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	if a.Self.Trusted() != nil || a.settlePool(ctx, id) != nil {
		a.wake()
	}
	return nil
}

// settlePool gives back what a closed pool owes and forgets it, or what an
// adopted one owes, now that its definition has it.
func (a *Allocator) settlePool(ctx context.Context, id string) error {
	p, ok := a.ledger.pool(id)
	if !ok {
		return nil
	}
	uuid := ""
	if !p.Closed {
		n, _ := a.ledger.network(p.Network)
		if uuid = n.UUID; uuid == "" {
			return nil
		}
	}
	for _, addr := range p.Owed {
		if err := a.unreserve(ctx, p, addr, uuid); err != nil {
			return err
		}
	}
	if !p.Closed {
		return nil
	}
	if p.Default {
		if err := a.giveDefault(ctx, p.parsed()); err != nil {
			return err
		}
	}
	return a.ledger.forget(p)
}
