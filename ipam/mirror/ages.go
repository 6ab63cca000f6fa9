package mirror

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
)

// ages are addresses in the order of a revision that each of them has: when
// it was given back, say. The zero value has none.
type ages struct {
	since map[netip.Addr]store.Revision
	// queue has each of them once in order; what since does not confirm is void.
	queue    []age
	unsorted bool
}

type age struct {
	addr  netip.Addr
	since store.Revision
}

// enter gives an address its revision, in place of the one it had.
func (a *ages) enter(addr netip.Addr, since store.Revision) {
	if a.since == nil {
		a.since = map[netip.Addr]store.Revision{}
	}
	if a.since[addr] == since {
		return
	}
	a.since[addr] = since
	if last := len(a.queue) - 1; last >= 0 && since < a.queue[last].since {
		a.unsorted = true // a list comes in the order of addresses
	}
	a.queue = append(a.queue, age{addr, since})
	if len(a.queue) > 2*len(a.since)+64 {
		a.queue = slices.DeleteFunc(a.queue, a.isVoid)
	}
}

func (a *ages) leave(addr netip.Addr) { delete(a.since, addr) }

func (a *ages) has(addr netip.Addr) bool {
	_, ok := a.since[addr]
	return ok
}

// oldest yields them, the lowest revision first.
func (a *ages) oldest() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		if a.unsorted {
			slices.SortStableFunc(a.queue, func(x, y age) int { return cmp.Compare(x.since, y.since) })
			a.unsorted = false
		}
		for len(a.queue) > 0 && a.isVoid(a.queue[0]) {
			a.queue = a.queue[1:]
		}
		for _, x := range a.queue {
			if !a.isVoid(x) && !yield(x.addr) {
				return
			}
		}
	}
}

func (a *ages) isVoid(x age) bool { return a.since[x.addr] != x.since }
