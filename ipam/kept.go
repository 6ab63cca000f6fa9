package ipam

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
	"gvlan/ipam/wanted"
)

// kept is what addresses are kept for: for whom operators reserve them, and which
// containers that do not run want them again.
type kept struct {
	*node.Node
	book *reserve.Book
	late *wanted.Book
}

// Avoid replaces the addresses that are given only when nothing else is free,
// since stopped containers want them again.
func (k *kept) Avoid(all []wanted.Address) { k.late.Avoid(all) }

// Ended tells that a container of this host is on one of the engine's networks no
// more, so that it may be the next that asks there.
func (k *kept) Ended(network, container string) { k.late.Ended(network, container, k.Now()) }

// Began tells that a container of this host has started, or is gone.
func (k *kept) Began(container string) { k.late.Began(container) }

// Named reports whether the engine ever said which container asks.
func (k *kept) Named() bool { return k.late.Named() }

// OptionsOf are the --ipam-opt of one of the engine's networks.
func (k *kept) OptionsOf(network string) pool.Options {
	n, _ := k.Memory.Addressing(network)
	o, err := pool.ParseOptions(n.Options)
	if err != nil {
		return pool.Options{}
	}
	return o
}

// newsPatience is how long a request waits to hear of the container that asks: the
// engine tells of one that was made, but not before it has it started.
const newsPatience = 500 * time.Millisecond

// asker is who asks for an address, or for any where that is not valid. Where the
// engine does not say it, it is asked for only where somebody's reservation matters.
func (k *kept) asker(ctx context.Context, p journal.Pool, addr netip.Addr, r AddressRequest) reserve.Asker {
	who := reserve.Asker{Name: r.Options[pool.EndpointName]}
	switch {
	case p.ByManager():
		return reserve.Asker{} // the swarm asks for tasks, on whichever host they run
	case who.Name != "" || r.Idle == nil || !k.book.HasNamed(p.Parsed.Segment):
		return who
	}
	wants := ""
	if addr.IsValid() {
		kept, _ := k.book.At(pool.At(p.Parsed.Segment, addr))
		if wants = kept.For; wants == "" {
			return who
		}
	}
	ctx, cancel := context.WithTimeout(ctx, newsPatience)
	defer cancel()
	for {
		idle, looked, news := r.Idle(p.Network)
		who.Idle, who.Anyone = append(idle, k.late.Idle(p.Network, k.Now())...), !looked
		slices.Sort(who.Idle)
		who.Idle = slices.Compact(who.Idle)
		if !looked || wants == "" && len(who.Idle) > 0 || slices.Contains(who.Idle, wants) {
			return who
		}
		select {
		case <-ctx.Done():
			return who
		case <-news:
		}
	}
}

// now is the reservation of an address as the store has it.
func (k *kept) now(ctx context.Context, at pool.Place) (r reserve.Reservation, found bool, err error) {
	it, err := k.Read(ctx, store.ReservationKey(at.Segment, at.Addr))
	if err != nil {
		return r, false, err
	}
	r, found = reserve.Read(it)
	return r, found, nil
}

// Reservations are all of the cluster's, as far as is known here.
func (k *kept) Reservations() []reserve.Reservation { return k.book.All() }

// AwaitReserved waits until they show what was written at a revision, or ctx ends.
func (k *kept) AwaitReserved(ctx context.Context, written store.Revision) {
	k.book.Await(ctx, written)
}

// Reserved is what an operator said of an address, as far as is known here.
func (k *kept) Reserved(at pool.Place) (reserve.Reservation, bool) { return k.book.At(at) }

// ReservedMAC is the reservation that a hardware address of a segment goes with.
func (k *kept) ReservedMAC(segment, mac string) (reserve.Reservation, bool) {
	return k.book.WithMAC(segment, mac)
}

// read reads what is reserved, where nobody told yet: the first request of
// an agent may come before its first list.
func (k *kept) read(ctx context.Context) error {
	if k.book.Listed() {
		return nil
	}
	items, rev, err := k.List(ctx, store.ReservationsSpan())
	if err != nil {
		return k.Unanswered(err)
	}
	k.book.Begin(items, rev)
	return nil
}
