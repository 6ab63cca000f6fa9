//go:build !race

package census_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/addrset"
	"gvlan/ipam/census"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
)

var (
	subnet = netip.MustParsePrefix("10.0.0.0/24")
	ranges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/28"), netip.MustParsePrefix("10.0.0.64/28")}
)

// slow is a store whose scans take a while.
type slow struct {
	*storetest.Mem
	takes  time.Duration
	whole  time.Duration // takes, with values
	broken error

	mu      sync.Mutex
	scans   []time.Duration // when each began, since the first
	first   time.Time
	pages   int
	tallies int // scans with values
}

func (s *slow) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	s.mu.Lock()
	if s.first.IsZero() {
		s.first = time.Now()
	}
	s.scans = append(s.scans, time.Since(s.first))
	s.mu.Unlock()
	takes := s.takes
	if parts == store.Whole {
		takes += s.whole
		s.mu.Lock()
		s.tallies++
		s.mu.Unlock()
	}
	if !store.Sleep(ctx, takes) {
		return 0, store.ErrUnavailable
	}
	if s.broken != nil {
		return 0, s.broken
	}
	return s.Mem.Scan(ctx, span, parts, func(items []store.Item) error {
		s.pages++
		return page(items)
	})
}

func listing(takes time.Duration) (*slow, *census.Lists) {
	s := &slow{Mem: storetest.NewMem(), takes: takes}
	return s, census.New(s, mirror.NewMirrors(rand.NewPCG(1, 2)), time.Now)
}

func put(t *testing.T, s *slow, addr string, l store.Lease) {
	t.Helper()
	op := store.Put(store.LeaseKey(pool.DefaultSegment, netip.MustParseAddr(addr)), store.Encode(l))
	if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Op{op}}); err != nil {
		t.Fatal(err)
	}
}

// TestManyAskForOneList: whoever asks is told what was true after they did;
// two lists begin 700 ms apart, however many ask.
func TestManyAskForOneList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, lists := listing(20 * time.Millisecond)
		var asking sync.WaitGroup
		for i := range 200 { // 100 a second
			time.Sleep(10 * time.Millisecond)
			addr := fmt.Sprintf("10.0.0.%d", 64+i%16)
			put(t, s, addr, store.Lease{State: store.Leased})
			asking.Go(func() {
				m, err := lists.Now(t.Context(), pool.DefaultSegment, subnet, ranges)
				if err != nil || !m.Has(netip.MustParseAddr(addr)) {
					t.Errorf("%s is not in a list that was asked for after it was taken (%v)", addr, err)
				}
			})
		}
		asking.Wait()
		if n := len(s.scans) / len(ranges); n < 3 || n > 5 {
			t.Errorf("%d lists for 200 questions in 2 s, want less than 2 a second", n)
		}
		for i := len(ranges); i < len(s.scans); i += len(ranges) {
			if gap := s.scans[i] - s.scans[i-len(ranges)]; gap < 600*time.Millisecond {
				t.Errorf("lists began %s apart", gap)
			}
		}
	})
}

// TestAListEndsWithItsCall, and those who waited for it have one of their own.
func TestAListEndsWithItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, lists := listing(100 * time.Millisecond)
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		var asking sync.WaitGroup
		asking.Go(func() {
			if _, err := lists.Now(short, pool.DefaultSegment, subnet, ranges); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a call that ended: %v", err)
			}
		})
		time.Sleep(10 * time.Millisecond)
		asking.Go(func() {
			if _, err := lists.Now(t.Context(), pool.DefaultSegment, subnet, ranges); err != nil {
				t.Errorf("the call after it: %v", err)
			}
		})
		asking.Wait()
		s.broken = store.ErrUnavailable
		if _, err := lists.Now(t.Context(), pool.DefaultSegment, subnet, ranges); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a store that does not answer: %v", err)
		}
	})
}

// TestTheBeginning ends where an address is free, or after two pages.
func TestTheBeginning(t *testing.T) {
	s, lists := listing(0)
	s.PageSize = 4
	for i := range 16 {
		put(t, s, fmt.Sprintf("10.0.0.%d", i), store.Lease{State: store.Leased})
	}
	never := []*addrset.Set{{}}
	_, whole, err := lists.Beginning(t.Context(), pool.DefaultSegment, subnet, ranges[:1], never)
	if err != nil || whole || s.pages != 2 {
		t.Errorf("whole %v after %d pages (%v), want false after 2: all that was read is taken", whole, s.pages, err)
	}
	s.pages = 0
	if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Op{store.Delete(store.LeaseKey(pool.DefaultSegment, netip.MustParseAddr("10.0.0.2")))}}); err != nil {
		t.Fatal(err)
	}
	m, whole, err := lists.Beginning(t.Context(), pool.DefaultSegment, subnet, ranges[:1], never)
	if err != nil || !whole || s.pages != 1 {
		t.Errorf("whole %v after %d pages (%v), want true after 1: .2 is free", whole, s.pages, err)
	}
	if got, ok := m.Choose(mirror.Want{Ranges: ranges[:1], Never: never, Order: pool.Lowest}, false); !ok || got.String() != "10.0.0.2" {
		t.Errorf("chosen %s, want 10.0.0.2", got)
	}
}

// TestTold counts what is there, and is not asked of the store for each refusal.
func TestTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, lists := listing(0)
		put(t, s, "10.0.0.1", store.Lease{State: store.Reserved})
		put(t, s, "10.0.0.9", store.Lease{State: store.Leased, Node: "a"})
		put(t, s, "10.0.0.2", store.Lease{State: store.Leased, Node: "a"})
		put(t, s, "10.0.0.3", store.Lease{State: store.Leased, Node: "b"})
		put(t, s, "10.0.0.4", store.Lease{State: store.Quarantined, Node: "b"})
		put(t, s, "10.0.0.200", store.Lease{State: store.Leased, Node: "b"}) // in no range
		tell := func(t census.Tally) string {
			return fmt.Sprintf("%d %v %d %d %s %s", t.Held(), t.Leases, t.Reserved, t.Quarantined, t.OldestAt, t.Oldest.Node)
		}
		const want = "3 map[a:2 b:1] 1 1 10.0.0.9 a"
		for range 3 {
			if got, err := lists.Told(t.Context(), pool.DefaultSegment, ranges, tell); got != want || err != nil {
				t.Errorf("told %q, %v; want %q", got, err, want)
			}
			put(t, s, "10.0.0.5", store.Lease{State: store.Leased, Node: "b"})
		}
		if len(s.scans) != len(ranges) {
			t.Errorf("%d scans for three refusals at once, want %d", len(s.scans), len(ranges))
		}
		time.Sleep(10 * time.Second)
		if got, _ := lists.Told(t.Context(), pool.DefaultSegment, ranges, tell); got == want {
			t.Error("what is told is older than 10 s")
		}
	})
}

// TestATallyThatTakesTooLong keeps nobody from a list, and is not begun by each
// of those who are refused.
func TestATallyThatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, lists := listing(20 * time.Millisecond)
		s.whole = time.Hour
		var asking sync.WaitGroup
		for range 20 {
			asking.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				defer cancel()
				began := time.Now()
				if _, err := lists.Now(ctx, pool.DefaultSegment, subnet, ranges); err != nil || time.Since(began) > time.Second {
					t.Errorf("a list while another call's refusal is told came after %s: %v", time.Since(began), err)
				}
				if _, err := lists.Told(ctx, pool.DefaultSegment, ranges, nil); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("told of a tally that was not made: %v", err)
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
		asking.Wait()
		if s.tallies != 1 {
			t.Errorf("%d tallies were begun, want 1", s.tallies)
		}
	})
}
