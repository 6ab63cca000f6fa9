package mirror

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// ApartFor is how many addresses a node takes apart from the others after it
// met one of them at an address. Counted, not timed: no clock decides.
const ApartFor = 32

// Among says which of the addresses without a record are looked at.
type Among uint8

const (
	// Rested: those whose cooldown is over, in the order that is wanted.
	Rested Among = iota
	// Cooling: those whose cooldown is not over, in the order it began.
	Cooling
	// Unrecorded: all of them, the lowest first.
	Unrecorded
)

// Want is what is looked for.
type Want struct {
	Ranges []netip.Prefix // of the subnet, tried in order
	Never  []*addrset.Set
	Order  pool.Order
	Among  Among
	// Blocks are what the subnet is dealt out in; none where Bits is zero. Order
	// holds within each.
	Blocks Blocks
}

// has reports whether an address is one of those that are wanted, but for its
// record.
func (w Want) has(addr netip.Addr) bool {
	inside := slices.ContainsFunc(w.Ranges, func(r netip.Prefix) bool { return r.Contains(addr) })
	return inside && !slices.ContainsFunc(w.Never, func(s *addrset.Set) bool { return s.Has(addr) })
}

// turns is how a node keeps apart from others that want addresses too.
type turns struct {
	draws rand.Source
	met   int // addresses still to be taken apart
	// own are addresses this node gave back, the last one last: others hear of
	// it later, so nobody is likely to be met there.
	own []netip.Addr
}

// ownKept is how many addresses a node remembers to have given back.
const ownKept = 64

func (t *turns) gaveBack(addr netip.Addr) {
	t.own = append(slices.DeleteFunc(t.own, func(o netip.Addr) bool { return o == addr }), addr)
	if len(t.own) > ownKept {
		t.own = t.own[1:]
	}
}

// Meet notes that another node took the address this one wanted.
func (m *Mirror) Meet() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns.met = ApartFor
}

// Contended reports whether this node keeps apart from others.
func (m *Mirror) Contended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.turns.met > 0
}

// Took counts an address that was taken.
func (m *Mirror) Took() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns.met = max(0, m.turns.met-1)
}

// Choose returns an address that has no record as far as is known. Apart has
// it keep away from what other nodes choose.
func (m *Mirror) Choose(w Want, apart bool) (netip.Addr, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.Blocks.Bits > 0 && w.Among == Rested {
		for part := range m.known.inTurn(w.Ranges, w.Blocks) {
			in := w
			in.Ranges = []netip.Prefix{part}
			if addr, ok := m.choose(in, apart); ok {
				return addr, true
			}
		}
	}
	return m.choose(w, apart)
}

// choose is Choose but for the blocks.
func (m *Mirror) choose(w Want, apart bool) (netip.Addr, bool) {
	switch {
	case w.Among == Cooling:
		return first(w, &m.known.rests, m.known.taken)
	case w.Among == Unrecorded:
		return lowest(m.known.taken, w.Ranges, w.Never)
	case apart && w.Order != pool.Aged:
		if addr, ok := m.ownAgain(w); ok {
			return addr, true
		}
		return m.anyOf(w)
	case apart || w.Order == pool.Random:
		return m.anyOf(w)
	case w.Order == pool.Aged:
		return m.longestFree(w)
	}
	return lowest(m.known.late, w.Ranges, w.Never)
}

func lowest(known *addrset.Index, ranges []netip.Prefix, never []*addrset.Set) (netip.Addr, bool) {
	for _, r := range ranges {
		if addr, ok := known.Search(r.Masked().Addr(), pool.LastOf(r), never); ok {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// HasMore reports whether more addresses of ranges than a few neither have a
// record nor rest.
func (m *Mirror) HasMore(ranges []netip.Prefix, few uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range ranges {
		free := m.known.late.CountFree(r.Masked().Addr(), pool.LastOf(r))
		if free > few {
			return true
		}
		few -= free
	}
	return false
}

// HasFree reports whether a list that is under way shows a free address up to
// the last one that was read.
func (m *Mirror) HasFree(ranges []netip.Prefix, never []*addrset.Set, read netip.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range ranges {
		if r.Contains(read) {
			_, free := m.listed.late.Search(r.Masked().Addr(), read, never)
			return free
		}
	}
	return false
}

// first is the oldest that is wanted and not in the index.
func first(w Want, of *ages, known *addrset.Index) (netip.Addr, bool) {
	for addr := range of.oldest() {
		if w.has(addr) && !known.Has(addr) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// ownAgain is the address that this node gave back last.
func (m *Mirror) ownAgain(w Want) (netip.Addr, bool) {
	for i, addr := range slices.Backward(m.turns.own) {
		if m.known.late.Has(addr) || !w.has(addr) {
			continue
		}
		m.turns.own = slices.Delete(m.turns.own, i, i+1)
		return addr, true
	}
	return netip.Addr{}, false
}

// anyOf draws one of the free addresses of the first range that has any.
func (m *Mirror) anyOf(w Want) (netip.Addr, bool) {
	for _, r := range w.Ranges {
		first, last := r.Masked().Addr(), pool.LastOf(r)
		free := m.known.late.CountFree(first, last)
		if free == 0 {
			continue
		}
		from, ok := m.known.late.NthFree(first, last, m.turns.draws.Uint64()%free)
		if !ok {
			continue
		}
		if addr, ok := m.known.late.Search(from, last, w.Never); ok {
			return addr, true
		}
		if addr, ok := m.known.late.Search(first, from, w.Never); ok {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// wearKept is of how many addresses it is remembered that they were given back: of
// a /16, all.
const wearKept = 1 << 16

// wear is what the order aged goes by: which addresses were given back since
// the mirror looks, and where the last one was given.
type wear struct {
	freed  ages
	worn   *addrset.Index // of freed
	newest age            // taken last
}

// note takes over that an address got or lost its record.
func (w *wear) note(addr netip.Addr, taken bool, at store.Revision) {
	if !taken {
		w.freed.enter(addr, at)
		w.worn.Add(addr)
		if w.worn.Len() > wearKept {
			w.forgetOldest()
		}
		return
	}
	w.freed.leave(addr)
	w.worn.Remove(addr)
	if at >= w.newest.since {
		w.newest = age{addr, at}
	}
}

// forgetOldest has the address that was given back first count for one that
// nobody gave back: its turn comes with theirs.
func (w *wear) forgetOldest() {
	for addr := range w.freed.oldest() {
		w.freed.leave(addr)
		w.worn.Remove(addr)
		return
	}
}

// longestFree is an address that nobody gave back since the mirror looks, the
// next one after that given last; else the one given back first.
func (m *Mirror) longestFree(w Want) (netip.Addr, bool) {
	if m.wear == nil {
		m.wear = &wear{worn: addrset.NewIndex(m.Subnet)}
	}
	for _, r := range w.Ranges {
		first, last := r.Masked().Addr(), pool.LastOf(r)
		if next := m.wear.newest.addr.Next(); r.Contains(next) {
			if addr, ok := m.unworn(next, last, w.Never); ok {
				return addr, true
			}
		}
		if addr, ok := m.unworn(first, last, w.Never); ok {
			return addr, true
		}
	}
	return first(w, &m.wear.freed, m.known.late)
}

// unworn is the lowest free address that was not given back since the mirror
// looks.
func (m *Mirror) unworn(from, last netip.Addr, never []*addrset.Set) (netip.Addr, bool) {
	for {
		addr, ok := m.known.late.Search(from, last, never)
		if !ok {
			return addr, false
		}
		free, ok := m.wear.worn.NextFree(addr, last)
		if !ok || free == addr {
			return addr, ok
		}
		from = free
	}
}
