package mirror

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// of is an empty mirror of a subnet.
func of(subnet string) *Mirror {
	return New("default", netip.MustParsePrefix(subnet), rand.NewPCG(1, 2))
}

// list is what a listing of these items at a revision does to a mirror.
func (m *Mirror) list(rev store.Revision, items ...store.Item) (news []store.Item) {
	m.Begin(0)
	news = m.Page(items)
	m.Apply(store.Change{Reset: true, Revision: rev})
	return news
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// low is the n-th address of 10.0.0.0/29.
func low(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

// truth is a store of a few addresses whose history a mirror hears late.
type truth struct {
	rev   store.Revision
	shown map[netip.Addr]Shown
	since map[netip.Addr]store.Revision // of the key that shows it
	late  []store.Event                 // not heard of yet
}

// turn is what becomes of an address in one transaction: one that is taken
// becomes free or rests, and else it is taken, which ends no rest.
func (s *truth) turn(addr netip.Addr, rests bool) (Shown, store.Revision) {
	s.rev++
	e := store.Event{Item: store.Item{Key: store.LeaseKey("default", addr), Modified: s.rev}, At: s.rev}
	switch {
	case s.shown[addr] != Taken:
		s.shown[addr] = Taken
	case rests:
		e.Deleted = true
		s.late = append(s.late, store.Event{Item: store.Item{Key: store.CooldownKey("default", addr), Modified: s.rev}, At: s.rev})
		s.shown[addr], s.since[addr] = Resting, s.rev
	default:
		e.Deleted = true
		s.shown[addr] = Free
	}
	s.late = append(s.late, e)
	return s.shown[addr], s.rev
}

// rested ends the cooldown of an address.
func (s *truth) rested(addr netip.Addr) {
	if s.since[addr] == 0 {
		return
	}
	s.rev++
	delete(s.since, addr)
	if s.shown[addr] == Resting {
		s.shown[addr] = Free
	}
	s.late = append(s.late, store.Event{Item: store.Item{Key: store.CooldownKey("default", addr)}, Deleted: true, At: s.rev})
}

func (s *truth) items() []store.Item {
	var items []store.Item
	for addr, shown := range s.shown {
		if shown == Taken {
			items = append(items, store.Item{Key: store.LeaseKey("default", addr)})
		}
	}
	for addr, rev := range s.since {
		items = append(items, store.Item{Key: store.CooldownKey("default", addr), Modified: rev})
	}
	return items
}

// TestMirrorKnowsWhatItLearnedAndWhatItHeard: at every moment an address is
// as this node's last transaction on it showed, or as the newest event heard
// says if that is later; once everything was heard it is as the store says.
func TestMirrorKnowsWhatItLearnedAndWhatItHeard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &truth{rev: 1, shown: map[netip.Addr]Shown{}, since: map[netip.Addr]store.Revision{}}
		m := of("10.0.0.0/29")
		m.list(0)
		type reply struct {
			addr  netip.Addr
			shown Shown
			rev   store.Revision
		}
		var replies []reply           // of own transactions, not read yet
		want := map[netip.Addr]bool{} // taken, as the mirror must see it
		at := map[netip.Addr]store.Revision{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			addr := low(rapid.IntRange(0, 7).Draw(t, "addr"))
			switch rapid.SampledFrom([]string{"own", "reply", "other", "rested", "hear", "list"}).Draw(t, "step") {
			case "own":
				shown, rev := s.turn(addr, rapid.Bool().Draw(t, "rests"))
				replies = append(replies, reply{addr, shown, rev})
			case "reply":
				if len(replies) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(replies)-1).Draw(t, "which")
				r := replies[i]
				replies = slices.Delete(replies, i, i+1)
				m.Learn(r.addr, r.shown, r.rev)
				if r.rev > at[r.addr] {
					want[r.addr], at[r.addr] = r.shown == Taken, r.rev
				}
			case "other":
				s.turn(addr, rapid.Bool().Draw(t, "rests"))
			case "rested":
				s.rested(addr)
			case "hear":
				n := rapid.IntRange(0, len(s.late)).Draw(t, "events")
				for n > 0 && n < len(s.late) && s.late[n].At == s.late[n-1].At {
					n++ // whole revisions
				}
				c := store.Change{Events: s.late[:n:n], Revision: s.rev}
				if s.late = s.late[n:]; len(s.late) > 0 {
					c.Revision = s.late[0].At - 1
				}
				m.Apply(c)
				for _, e := range c.Events {
					if _, addr, err := store.LeaseOf(e.Item.Key); err == nil && e.At > at[addr] {
						want[addr], at[addr] = !e.Deleted, e.At
					}
				}
			case "list":
				s.late = nil
				m.list(s.rev, s.items()...)
				for addr, shown := range s.shown {
					want[addr], at[addr] = shown == Taken, s.rev
				}
			}
			for addr := range s.shown {
				if got := m.Has(addr); got != want[addr] {
					t.Fatalf("%s is taken: %v, want %v", addr, got, want[addr])
				}
				if m.known.late.Has(addr) != (m.Has(addr) || m.Rests(addr)) {
					t.Fatalf("%s is late: %v, taken %v, rests %v", addr, m.known.late.Has(addr), m.Has(addr), m.Rests(addr))
				}
			}
		}
		m.Apply(store.Change{Events: s.late, Revision: s.rev})
		for addr, shown := range s.shown {
			if m.Has(addr) != (shown == Taken) || m.Rests(addr) != (s.since[addr] != 0) {
				t.Fatalf("%s: taken %v, rests %v, and all was heard: want %v, since %d", addr, m.Has(addr), m.Rests(addr), shown, s.since[addr])
			}
		}
	})
}

func TestMirrorBelievesAStoreThatWentBack(t *testing.T) {
	m := of("10.0.0.0/29")
	m.list(50)
	m.Learn(low(3), Taken, 60)
	m.list(20)
	if m.Has(low(3)) {
		t.Error("an address is taken that the restored store does not have")
	}
}

func TestMirrorReportsNewsOnly(t *testing.T) {
	m := of("10.0.0.0/29")
	m.list(9)
	item := func(n int, modified store.Revision) store.Item {
		return store.Item{Key: store.LeaseKey("default", low(n)), Modified: modified}
	}
	m.Learn(low(3), Free, 12)
	news, _ := m.Apply(store.Change{Revision: 10, Events: []store.Event{{Item: item(3, 10), At: 10}, {Item: item(4, 10), At: 10}}})
	news = append(news, m.list(11, item(2, 5), item(3, 11), item(4, 10), item(5, 11))...)
	want := []string{item(4, 0).Key, item(5, 0).Key}
	if got := keysOf(news); !slices.Equal(got, want) {
		t.Errorf("news of %v, want %v: .2 is old, and this node released .3 since", got, want)
	}
}

// TestTheFirstListsNews: what was written after the store was compared as a
// whole.
func TestTheFirstListsNews(t *testing.T) {
	items := []store.Item{{Key: store.LeaseKey("default", low(2)), Modified: 7}, {Key: store.LeaseKey("default", low(3)), Modified: 8}}
	for since, want := range map[store.Revision]int{0: 0, 7: 1} {
		m := of("10.0.0.0/29")
		m.Begin(since)
		if news := m.Page(items); len(news) != want {
			t.Errorf("news since %d: %v, want %d", since, keysOf(news), want)
		}
	}
}

func keysOf(items []store.Item) []string {
	var keys []string
	for _, it := range items {
		keys = append(keys, it.Key)
	}
	return keys
}

// want is what is looked for in a subnet.
func want(subnet string, order pool.Order, among Among) Want {
	return Want{Ranges: []netip.Prefix{netip.MustParsePrefix(subnet)}, Order: order, Among: among}
}

// TestCoolingAddressesAreChosenOldestFirst, and among those that rest none is
// otherwise.
func TestCoolingAddressesAreChosenOldestFirst(t *testing.T) {
	m := of("10.0.0.0/29")
	cooldown := func(n int, since store.Revision) store.Item {
		return store.Item{Key: store.CooldownKey("default", low(n)), Modified: since}
	}
	m.list(20, cooldown(1, 12), cooldown(2, 11), cooldown(4, 9))
	m.Learn(low(3), Taken, 21)
	m.Learn(low(3), Resting, 22)
	m.Learn(low(4), Taken, 23) // while it rests
	rested, cooling := want("10.0.0.0/29", pool.Lowest, Rested), want("10.0.0.0/29", pool.Lowest, Cooling)
	never := &addrset.Set{}
	rested.Never, cooling.Never = []*addrset.Set{never}, []*addrset.Set{never}
	for _, step := range []struct {
		w    Want
		want []int
	}{{rested, []int{0, 5, 6, 7}}, {cooling, []int{2, 1, 3}}} {
		for _, n := range step.want {
			got, ok := m.Choose(step.w, false)
			if !ok || got != low(n) {
				t.Fatalf("chosen %s, %v; want %s", got, ok, low(n))
			}
			never.Add(addrset.Single(got))
		}
		if got, ok := m.Choose(step.w, false); ok {
			t.Fatalf("chosen %s beyond %v", got, step.want)
		}
	}
	m.Apply(store.Change{Revision: 30, Events: []store.Event{{Item: store.Item{Key: cooldown(2, 0).Key}, Deleted: true, At: 30}}})
	if got, ok := m.Choose(want("10.0.0.2/32", pool.Lowest, Rested), false); !ok {
		t.Errorf("10.0.0.2 is not chosen (%s), and its cooldown is over", got)
	}
}

// TestAged: nobody's address comes again before all others were given, and
// then the one that was given back first.
func TestAged(t *testing.T) {
	m := of("10.0.0.0/29")
	m.list(1)
	rev := store.Revision(1)
	choose := func() netip.Addr {
		got, ok := m.Choose(want("10.0.0.0/29", pool.Aged, Rested), false)
		if !ok {
			t.Fatal("nothing is free")
		}
		return got
	}
	learn := func(addr netip.Addr, shown Shown) {
		rev++
		m.Learn(addr, shown, rev)
	}
	for n := range 8 {
		if got := choose(); got != low(n) {
			t.Fatalf("chosen %s, want %s", got, low(n))
		}
		learn(low(n), Taken)
		if n%2 == 1 {
			learn(low(n), Free)
		}
	}
	learn(low(4), Free)
	for _, n := range []int{1, 3, 5, 7, 4} {
		if got := choose(); got != low(n) {
			t.Fatalf("chosen %s, want %s", got, low(n))
		}
		learn(low(n), Taken)
	}
}

// TestContendingNodesKeepApart: one that was met at an address draws its next
// ones, for a while, and prefers what it gave back itself.
func TestContendingNodesKeepApart(t *testing.T) {
	m := of("10.0.0.0/16")
	m.list(1)
	m.Meet()
	w := want("10.0.0.0/16", pool.Lowest, Rested)
	lowest := 0
	for range ApartFor + 2 {
		got, _ := m.Choose(w, m.Contended())
		if got == addr("10.0.0.0") {
			lowest++
		}
		m.Took()
	}
	if lowest != 2 {
		t.Errorf("the lowest address was chosen %d times, want for the last 2 of %d", lowest, ApartFor+2)
	}
	m.Learn(addr("10.0.7.7"), Taken, 5)
	m.Learn(addr("10.0.7.7"), Free, 6)
	for _, want := range []bool{true, false} {
		if got, _ := m.Choose(w, true); (got == addr("10.0.7.7")) != want {
			t.Errorf("chosen %s; the address that was given back is preferred once", got)
		}
	}
}

// TestDrawnFromTheFreeOnes: whatever is taken, each free address can be drawn,
// and nothing else.
func TestDrawnFromTheFreeOnes(t *testing.T) {
	m := of("10.0.0.0/29")
	m.list(1, store.Item{Key: store.LeaseKey("default", low(0))}, store.Item{Key: store.LeaseKey("default", low(5))})
	w := want("10.0.0.0/29", pool.Random, Rested)
	w.Never = []*addrset.Set{{}}
	w.Never[0].Add(addrset.Between(low(6), low(7)))
	drawn := map[netip.Addr]bool{}
	for range 400 {
		got, ok := m.Choose(w, false)
		if !ok {
			t.Fatal("nothing is free")
		}
		drawn[got] = true
	}
	for n := range 8 {
		if free := n >= 1 && n <= 4; drawn[low(n)] != free {
			t.Errorf("%s was drawn: %v, want %v", low(n), drawn[low(n)], free)
		}
	}
}

// TestHasFree: of a list that is under way only what was read counts.
func TestHasFree(t *testing.T) {
	m := of("10.0.0.0/16")
	m.Begin(0)
	var items []store.Item
	for n := range 300 {
		var raw [4]byte
		binary.BigEndian.PutUint32(raw[:], 10<<24+uint32(n))
		items = append(items, store.Item{Key: store.LeaseKey("default", netip.AddrFrom4(raw))})
	}
	ranges := []netip.Prefix{m.Subnet}
	m.Page(items)
	if m.HasFree(ranges, nil, addr("10.0.1.43")) {
		t.Error("an address is free up to the last of 300 in a row")
	}
	if !m.HasFree(ranges, nil, addr("10.0.1.44")) {
		t.Error("the one behind them is not free")
	}
}
