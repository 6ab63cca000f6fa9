package ipam

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
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
		m := newMirror("default", mustPrefix("10.0.0.0/29"), time.Now)
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
				m.learn(addr, !e.Deleted, e.At)
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
				m.apply(c)
				for _, e := range c.Events {
					_, addr, _ := store.LeaseOf(e.Item.Key)
					if e.At > at[addr] {
						want[addr], at[addr] = !e.Deleted, e.At
					}
				}
			case "list":
				s.late = nil
				m.apply(store.Change{Reset: true, Items: s.items(), Revision: s.rev})
				for addr, taken := range s.taken {
					want[addr], at[addr] = taken, s.rev
				}
			}
			for addr := range s.taken {
				if got := m.taken.contains(numberOf(addr)); got != want[addr] {
					t.Fatalf("%s is taken: %v, want %v", addr, got, want[addr])
				}
			}
		}
	})
}

func TestMirrorBelievesAStoreThatWentBack(t *testing.T) {
	m := newMirror("default", mustPrefix("10.0.0.0/29"), time.Now)
	addr := netip.MustParseAddr("10.0.0.3")
	m.apply(store.Change{Reset: true, Revision: 50})
	m.learn(addr, true, 60)
	m.apply(store.Change{Reset: true, Revision: 20})
	if m.taken.contains(numberOf(addr)) {
		t.Error("an address is taken that the restored store does not have")
	}
}

func TestMirrorReportsNewsOnly(t *testing.T) {
	m := newMirror("default", mustPrefix("10.0.0.0/29"), time.Now)
	old, fresh := netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4")
	m.learn(old, false, 12)
	news, _ := m.apply(store.Change{Revision: 11, Events: []store.Event{
		{Item: store.Item{Key: store.LeaseKey("default", old)}, At: 10},
		{Item: store.Item{Key: store.LeaseKey("default", fresh)}, At: 11},
	}})
	listed, _ := m.apply(store.Change{Reset: true, Revision: 11, Items: []store.Item{
		{Key: store.LeaseKey("default", old)}, {Key: store.LeaseKey("default", fresh)},
	}})
	news = append(news, listed...)
	want := []string{store.LeaseKey("default", fresh), store.LeaseKey("default", fresh)}
	if got := keysOf(news); !slices.Equal(got, want) {
		t.Errorf("news of %v, want %v: this node released .3 since", got, want)
	}
}

// TestNewsOfAnAddressGivenBackSince: a record of this node's own, heard of
// while its call was under way and looked at after the address was given back,
// is compared with nothing: comparing would hold the place of a free address.
// One that nobody here gave back is.
func TestNewsOfAnAddressGivenBackSince(t *testing.T) {
	onMem(t, func(c *cluster, mem *storetest.Mem) {
		n := c.host("h1").mustCreate("10.0.0.0/24").define("lan1")
		n.h.ready()
		m := n.h.mirrors.of(DefaultSegment, mustPrefix("10.0.0.0/24"))
		got, err := n.h.RequestAddress(n.h.ctx(), AddressRequest{PoolID: n.ids[0]})
		n.h.must(err)
		news, err := mem.Get(c.Context(), store.LeaseKey(DefaultSegment, got.Addr()))
		n.h.must(err)
		n.h.must(n.h.ReleaseAddress(n.h.ctx(), n.ids[0], got.Addr().String()))
		n.h.stop() // compares what it was told of, and then leaves what comes
		n.h.suspect.drain()

		n.h.compareNews(m, news)
		if found := n.h.suspect.drain(); len(found) != 0 {
			c.Errorf("%v are compared, which this node gave back", found)
		}
		m.learn(got.Addr(), true, news.Modified+100)
		n.h.compareNews(m, news)
		if want := []place{{DefaultSegment, got.Addr()}}; !slices.Equal(n.h.suspect.drain(), want) {
			c.Errorf("%v is not compared: it carries this node's name, and the ledger does not know it", want)
		}
	})
}

func TestContentionMovesANodeToItsStripeForAWhile(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		n := c.host("h1").mustCreate("10.0.0.0/16")
		n.h.ready()
		n.h.mirrors.of("default", n.pools[0].Subnet).meet()
		var low int
		for range stripeFor + 2 {
			if ct := n.mustRun("", ""); ct.addrs[0].Addr().As4()[2] == 0 && ct.addrs[0].Addr().As4()[3] < 16 {
				low++
			}
		}
		if low != 2 {
			t.Errorf("%d addresses were the lowest, want the last 2 of %d", low, stripeFor+2)
		}
	})
}
