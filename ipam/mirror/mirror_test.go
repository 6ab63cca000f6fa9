package mirror

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gvlan/cluster/store"
)

// truth is a store of a few addresses whose history a mirror hears late.
type truth struct {
	rev   store.Revision
	taken map[netip.Addr]bool
	late  []store.Event // not heard of yet
}

func (s *truth) flip(addr netip.Addr) store.Event {
	s.rev++
	e := store.Event{Item: store.Item{Key: store.LeaseKey("default", addr), Modified: s.rev}, Deleted: s.taken[addr], At: s.rev}
	s.taken[addr] = !s.taken[addr]
	s.late = append(s.late, e)
	return e
}

func (s *truth) items() []store.Item {
	var items []store.Item
	for addr, taken := range s.taken {
		if taken {
			items = append(items, store.Item{Key: store.LeaseKey("default", addr)})
		}
	}
	return items
}

// TestMirrorKnowsWhatItLearnedAndWhatItHeard: at every moment an address is
// as this node's last transaction on it showed, or as the newest event heard
// says if that is later; once everything was heard it is as the store says.
func TestMirrorKnowsWhatItLearnedAndWhatItHeard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &truth{rev: 1, taken: map[netip.Addr]bool{}}
		m := New("default", netip.MustParsePrefix("10.0.0.0/29"), time.Now)
		var replies []store.Event     // of own transactions, not read yet
		want := map[netip.Addr]bool{} // as the mirror must see it
		at := map[netip.Addr]store.Revision{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 7).Draw(t, "addr"))})
			switch rapid.SampledFrom([]string{"own", "reply", "other", "hear", "list"}).Draw(t, "step") {
			case "own":
				replies = append(replies, s.flip(addr))
			case "reply":
				if len(replies) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(replies)-1).Draw(t, "which")
				e := replies[i]
				replies = slices.Delete(replies, i, i+1)
				_, addr, _ := store.LeaseOf(e.Item.Key)
				m.Learn(addr, !e.Deleted, e.At)
				if e.At > at[addr] {
					want[addr], at[addr] = !e.Deleted, e.At
				}
			case "other":
				s.flip(addr)
			case "hear":
				n := rapid.IntRange(0, len(s.late)).Draw(t, "events")
				c := store.Change{Events: s.late[:n:n], Revision: s.rev}
				if s.late = s.late[n:]; len(s.late) > 0 {
					c.Revision = s.late[0].At - 1
				}
				m.Apply(c)
				for _, e := range c.Events {
					_, addr, _ := store.LeaseOf(e.Item.Key)
					if e.At > at[addr] {
						want[addr], at[addr] = !e.Deleted, e.At
					}
				}
			case "list":
				s.late = nil
				m.Apply(store.Change{Reset: true, Items: s.items(), Revision: s.rev})
				for addr, taken := range s.taken {
					want[addr], at[addr] = taken, s.rev
				}
			}
			for addr := range s.taken {
				if got := m.taken.Has(addr); got != want[addr] {
					t.Fatalf("%s is taken: %v, want %v", addr, got, want[addr])
				}
			}
		}
	})
}

func TestMirrorBelievesAStoreThatWentBack(t *testing.T) {
	m := New("default", netip.MustParsePrefix("10.0.0.0/29"), time.Now)
	addr := netip.MustParseAddr("10.0.0.3")
	m.Apply(store.Change{Reset: true, Revision: 50})
	m.Learn(addr, true, 60)
	m.Apply(store.Change{Reset: true, Revision: 20})
	if m.taken.Has(addr) {
		t.Error("an address is taken that the restored store does not have")
	}
}

func TestMirrorReportsNewsOnly(t *testing.T) {
	m := New("default", netip.MustParsePrefix("10.0.0.0/29"), time.Now)
	old, fresh := netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4")
	m.Learn(old, false, 12)
	news, _ := m.Apply(store.Change{Revision: 11, Events: []store.Event{
		{Item: store.Item{Key: store.LeaseKey("default", old)}, At: 10},
		{Item: store.Item{Key: store.LeaseKey("default", fresh)}, At: 11},
	}})
	listed, _ := m.Apply(store.Change{Reset: true, Revision: 11, Items: []store.Item{
		{Key: store.LeaseKey("default", old)}, {Key: store.LeaseKey("default", fresh)},
	}})
	news = append(news, listed...)
	want := []string{store.LeaseKey("default", fresh), store.LeaseKey("default", fresh)}
	if got := keysOf(news); !slices.Equal(got, want) {
		t.Errorf("news of %v, want %v: this node released .3 since", got, want)
	}
}

func keysOf(items []store.Item) []string {
	var keys []string
	for _, it := range items {
		keys = append(keys, it.Key)
	}
	return keys
}
