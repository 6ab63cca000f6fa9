//go:build !race

package events_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// kept is a host's journal: it outlives the agents that use it.
type kept struct {
	mu     sync.Mutex
	values map[string][]byte
}

func newKept() *kept { return &kept{values: map[string][]byte{}} }

func (k *kept) Keep(values map[string][]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, value := range values {
		if value == nil {
			delete(k.values, key)
		} else {
			k.values[key] = value
		}
	}
	return nil
}

func (k *kept) Each(f func(key string, value []byte) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(k.values)) {
		if err := f(key, k.values[key]); err != nil {
			return err
		}
	}
	return nil
}

// agent is one life of a host's agent.
type agent struct {
	*events.Recorder
	kv    store.Backend
	clock time.Duration // the host's differs from true time by it
	stop  func()
}

// begin starts an agent; its Run ends with stop, or with the test.
func begin(t *testing.T, node string, kv store.Backend, journal *kept) *agent {
	t.Helper()
	a := &agent{kv: kv}
	var err error
	a.Recorder, err = events.New(events.Config{
		Node: node, Keeper: journal, Now: func() time.Time { return time.Now().Add(a.clock) }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { a.Run(ctx, kv, kv) })
	a.stop = sync.OnceFunc(func() { cancel(); run.Wait() })
	t.Cleanup(a.stop)
	return a
}

// pass lets time go by, and everything in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func read(t *testing.T, kv store.KV, f events.Filter) []events.Event {
	t.Helper()
	all, err := events.Read(t.Context(), kv, f)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// lines are events as a test compares them: "given h1 192.0.2.1 web".
func lines(all []events.Event) (said []string) {
	for _, e := range all {
		said = append(said, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s", e.Kind, e.Node, addressOf(e), e.Container)), " "))
	}
	return said
}

func addressOf(e events.Event) string {
	if !e.Address.IsValid() {
		return ""
	}
	return e.Address.String()
}

func addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}) }

func endpoint(n int) string { return fmt.Sprintf("%012x%052x", n, 0) }

func given(n int) events.Event {
	return events.Event{Kind: events.Given, Network: "lan", Segment: "default", Address: addr(n), Endpoint: endpoint(n)}
}

func named(n int, name string) events.Event {
	return events.Event{Kind: events.Named, Endpoint: endpoint(n), Container: name}
}

func released(n int) events.Event {
	e := given(n)
	e.Kind = events.Released
	return e
}

func same(t *testing.T, got []events.Event, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, lines(got)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestOneLineForAContainer: its address and its name are told apart, by whatever
// comes between them, and read as one event.
func TestOneLineForAContainer(t *testing.T) {
	for name, between := range map[string]time.Duration{"at once": 300 * time.Millisecond, "later": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kv := storetest.NewMem()
				a := begin(t, "h1", kv, newKept())
				began := time.Now()
				a.Tell(given(1))
				pass(between)
				a.Tell(named(1, "web"))
				a.Tell(named(1, "web"))
				pass(3 * time.Second)
				want := []string{"given h1 192.0.0.1 web"}
				same(t, read(t, kv, events.Filter{}), want...)
				same(t, read(t, kv, events.Filter{Container: "web"}), want...)
				same(t, a.Own(), want...)
				if at := read(t, kv, events.Filter{})[0].Time; !at.Equal(time.UnixMilli(began.UnixMilli())) {
					t.Errorf("given at %v, want %v", at, began)
				}
				a.Tell(events.Event{Kind: events.Conflict, Address: addr(1), Endpoint: endpoint(1)})
				a.Tell(released(1))
				pass(3 * time.Second)
				same(t, read(t, kv, events.Filter{}), "given h1 192.0.0.1 web", "conflict h1 192.0.0.1 web", "released h1 192.0.0.1 web")
			})
		})
	}
}

// TestNameAfterARestart: the agent that gave the address ended before the engine
// said what the container is called.
func TestNameAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv, journal := storetest.NewMem(), newKept()
		a := begin(t, "h1", kv, journal)
		a.Tell(given(1))
		a.stop()
		b := begin(t, "h1", kv, journal)
		b.Tell(named(1, "web"))
		b.Tell(released(1))
		b.Tell(released(2)) // of which nobody was told
		pass(3 * time.Second)
		same(t, read(t, kv, events.Filter{}), "given h1 192.0.0.1 web", "released h1 192.0.0.1 web", "released h1 192.0.0.2")
	})
}

// TestUnreadableJournal: an agent begins whatever an event says that another gvlan
// kept.
func TestUnreadableJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv, journal := storetest.NewMem(), newKept()
		a := begin(t, "h1", kv, journal)
		a.Tell(given(1))
		a.stop()
		if err := journal.Keep(map[string][]byte{"000000000001": []byte(`{"events":[{"a":"no address"}]}`), "bucket": []byte("{")}); err != nil {
			t.Fatal(err)
		}
		b := begin(t, "h1", kv, journal)
		same(t, b.Own(), "given h1 192.0.0.1")
	})
}

// TestAsManyAsWanted: an event that was told again, with the container's name, is
// one.
func TestAsManyAsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		a := begin(t, "h1", kv, newKept())
		for n := range 6 {
			a.Tell(given(n))
			pass(5 * time.Second)
			a.Tell(named(n, fmt.Sprint("web", n)))
			pass(5 * time.Second)
		}
		same(t, read(t, kv, events.Filter{Limit: 3}), "given h1 192.0.0.3 web3", "given h1 192.0.0.4 web4", "given h1 192.0.0.5 web5")
	})
}

// TestOneWriteForMany: what happens within two seconds costs the store one
// transaction.
func TestOneWriteForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spy := storetest.NewSpy(storetest.NewMem())
		a := begin(t, "h1", spy.As("h1"), newKept())
		for i := range 90 {
			a.Tell(given(i))
			pass(20 * time.Millisecond)
		}
		pass(3 * time.Second)
		if got := spy.Writes(); len(got) != 1 || len(read(t, a.kv, events.Filter{})) != 90 {
			t.Errorf("%d writes, want 1; %d events, want 90", len(got), len(read(t, a.kv, events.Filter{})))
		}
	})
}

// TestStoreAway: what happens meanwhile is this host's to tell, and the
// cluster's when the store is back, with the time at which it happened.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv, journal := storetest.NewMem(), newKept()
		a := begin(t, "h1", kv, journal)
		a.Tell(given(1))
		pass(3 * time.Second)
		kv.Down()
		happened := time.UnixMilli(time.Now().UnixMilli())
		a.Tell(given(2))
		pass(time.Minute)
		a.stop()
		b := begin(t, "h1", kv, journal)
		b.Tell(released(2))
		pass(time.Hour)
		got, err := b.Read(t.Context(), kv, events.Filter{})
		if err == nil {
			t.Error("a store that is away was read")
		}
		want := []string{"given h1 192.0.0.1", "given h1 192.0.0.2", "released h1 192.0.0.2"}
		same(t, got, want...)
		kv.Up()
		kv.DropReplies(3) // nothing comes twice
		pass(time.Minute)
		got = read(t, kv, events.Filter{})
		same(t, got, want...)
		if !got[1].Time.Equal(happened) {
			t.Errorf("given at %v, want %v", got[1].Time, happened)
		}
		if items, _, _ := kv.List(t.Context(), store.TrailsSpan()); len(items) != 3 {
			t.Errorf("%d records, want 3", len(items))
		}
	})
}

// TestReadHasWhatIsNotThereYet: an operator sees at once what happened here.
func TestReadHasWhatIsNotThereYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		a, b := begin(t, "h1", kv, newKept()), begin(t, "h2", kv, newKept())
		a.Tell(given(1))
		b.Tell(given(2))
		pass(3 * time.Second)
		a.Tell(given(3))
		a.Tell(named(1, "web"))
		got, err := a.Read(t.Context(), kv, events.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, "given h1 192.0.0.1 web", "given h2 192.0.0.2", "given h1 192.0.0.3")
	})
}

// TestBounded: of a host that tells much the store has the newest, and says how
// much is missing.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv, journal := storetest.NewMem(), newKept()
		a := begin(t, "h1", kv, journal)
		const told = 2400
		began := time.Now()
		for i := range told {
			if i == told/2 {
				a.stop()
				a = begin(t, "h1", kv, journal)
			}
			a.Tell(given(i))
			pass(100 * time.Millisecond)
		}
		pass(5 * time.Second)
		got := read(t, kv, events.Filter{})
		if got[0].Kind != events.LeftOut || len(got) > 501 || len(got) < 400 {
			t.Fatalf("%d events, the first is %v", len(got), got[0])
		}
		want := fmt.Sprintf("%d events since %s are not kept any more", told-(len(got)-1), began.UTC().Format("15:04 MST"))
		if got[0].Text != want {
			t.Errorf("said %q, want %q", got[0].Text, want)
		}
		if last := got[len(got)-1]; last.Address != addr(told-1) {
			t.Errorf("the last is %v", last)
		}
		if own := len(a.Own()); own > 1000 || own < 900 {
			t.Errorf("%d events of its own, want up to 1000", own)
		}
		same(t, read(t, kv, events.Filter{Limit: 2}), lines(got)[len(got)-2:]...)
	})
}

// TestAwayForLong: what the journal has no room for either is counted.
func TestAwayForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		a := begin(t, "h1", kv, newKept())
		kv.Down()
		const told = 1600
		for i := range told {
			a.Tell(given(i))
			pass(100 * time.Millisecond)
		}
		kv.Up()
		pass(5 * time.Second)
		got := read(t, kv, events.Filter{})
		if !strings.HasPrefix(got[0].Text, fmt.Sprintf("%d events since", told-(len(got)-1))) {
			t.Errorf("%d events came, and %q", len(got), got[0].Text)
		}
	})
}

// TestTooManyAtOnce: who tells is never held up, and what is lost is counted.
func TestTooManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		a := begin(t, "h1", kv, newKept())
		for i := range 1003 {
			a.Tell(given(i))
		}
		pass(3 * time.Second)
		own := a.Own()
		if last := own[len(own)-1]; last.Kind != events.LeftOut || last.Text != "3 more events: too many at once" {
			t.Errorf("the last is %v", last)
		}
		a.Tell(given(2000))
		pass(3 * time.Second)
		if last := read(t, kv, events.Filter{Limit: 1})[0]; last.Address != addr(2000) {
			t.Errorf("afterwards the last is %v", last)
		}
	})
}

// TestADay: events go after a day by themselves, and hang from few leases
// however often an agent starts.
func TestADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv, journal := storetest.NewMem(), newKept()
		grants := &counted{Mem: kv}
		for i := range 10 {
			a := begin(t, "h1", grants, journal)
			a.Tell(given(i))
			pass(5 * time.Second)
			a.stop()
		}
		if grants.n != 1 {
			t.Errorf("%d leases for ten starts, want 1", grants.n)
		}
		a := begin(t, "h1", grants, journal)
		pass(time.Hour)
		kv.Advance(24 * time.Hour)
		a.Tell(given(10))
		pass(3 * time.Second)
		if grants.n != 2 || len(read(t, kv, events.Filter{})) != 11 {
			t.Errorf("%d leases, %d events a day later; want 2, 11", grants.n, len(read(t, kv, events.Filter{})))
		}
		kv.Advance(time.Hour)
		same(t, read(t, kv, events.Filter{}), "given h1 192.0.0.10")
		// The store was restored from before the lease was granted, say.
		if err := kv.Revoke(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		a.Tell(given(11))
		pass(3 * time.Second)
		same(t, read(t, kv, events.Filter{}), "given h1 192.0.0.11")
	})
}

// counted counts the leases that are granted.
type counted struct {
	*storetest.Mem
	n int
}

func (c *counted) Grant(ctx context.Context, ttl int64) (store.LeaseID, error) {
	c.n++
	return c.Mem.Grant(ctx, ttl)
}

// TestOrder: a host's events are in the order in which they happened, whatever
// its clock does; between hosts the clocks decide.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		a, b := begin(t, "h1", kv, newKept()), begin(t, "h2", kv, newKept())
		a.Tell(given(1))
		pass(3 * time.Second)
		a.clock = -time.Minute
		a.Tell(given(2))
		pass(3 * time.Second)
		b.Tell(given(3))
		pass(3 * time.Second)
		same(t, read(t, kv, events.Filter{}), "given h1 192.0.0.1", "given h1 192.0.0.2", "given h2 192.0.0.3")
	})
}

// TestFilters: each finds what reading everything and looking through it finds.
func TestFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		hosts := []*agent{begin(t, "h1", kv, newKept()), begin(t, "h2", kv, newKept()), begin(t, "h3/a", kv, newKept())}
		began := time.Now()
		for i := range 60 {
			a := hosts[i%3]
			e := given(i % 7)
			e.MAC, e.Network = fmt.Sprintf("02:00:00:00:00:%02x", i%5), fmt.Sprintf("lan%d", i%2)
			if i%11 == 0 {
				e = events.Event{Kind: events.Evicted, Node: "h9", Text: "by hand <&>"}
			}
			if i%4 == 0 {
				e.Container = `a<b&"c`
			}
			a.Tell(e)
			pass(700 * time.Millisecond)
		}
		pass(3 * time.Second)
		all := read(t, kv, events.Filter{})
		if len(all) != 60 {
			t.Fatalf("%d events, want 60", len(all))
		}
		for name, c := range map[string]struct {
			filter events.Filter
			keeps  func(events.Event) bool
		}{
			"address":   {events.Filter{Address: addr(3)}, func(e events.Event) bool { return e.Address == addr(3) }},
			"MAC":       {events.Filter{MAC: "02:00:00:00:00:02"}, func(e events.Event) bool { return e.MAC == "02:00:00:00:00:02" }},
			"container": {events.Filter{Container: `a<b&"c`}, func(e events.Event) bool { return e.Container != "" }},
			"network":   {events.Filter{Network: "lan1"}, func(e events.Event) bool { return e.Network == "lan1" }},
			"node":      {events.Filter{Nodes: []string{"h3/a"}}, func(e events.Event) bool { return e.Node == "h3/a" }},
			"of others": {events.Filter{Nodes: []string{"h9"}}, func(e events.Event) bool { return e.Node == "h9" }},
			"kind":      {events.Filter{Kinds: []events.Kind{events.Evicted}}, func(e events.Event) bool { return e.Kind == events.Evicted }},
			"since": {events.Filter{Since: began.Add(20 * time.Second)}, func(e events.Event) bool {
				return !e.Time.Before(began.Add(20 * time.Second))
			}},
			"nobody": {events.Filter{Container: "web"}, func(events.Event) bool { return false }},
		} {
			want := slices.DeleteFunc(slices.Clone(all), func(e events.Event) bool { return !c.keeps(e) })
			if diff := cmp.Diff(want, read(t, kv, c.filter), equalAddrs, equalEmpty); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			c.filter.Limit = 4
			if diff := cmp.Diff(want[max(0, len(want)-4):], read(t, kv, c.filter), equalAddrs, equalEmpty); diff != "" {
				t.Errorf("%s, the newest (-want +got):\n%s", name, diff)
			}
		}
	})
}

var (
	equalAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	equalEmpty = cmp.Transformer("empty", func(all []events.Event) string { return fmt.Sprint(len(all), all) })
)

func TestHoldings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		a, b := begin(t, "h1", kv, newKept()), begin(t, "h2", kv, newKept())
		a.Tell(released(9)) // given before anybody looked
		for _, step := range []struct {
			at   *agent
			name string
		}{{a, "web"}, {b, "db"}, {a, "mail"}} {
			pass(3 * time.Second)
			step.at.Tell(given(1))
			step.at.Tell(named(1, step.name))
			pass(10 * time.Second)
			if step.name != "mail" {
				step.at.Tell(released(1))
			}
		}
		pass(3 * time.Second)
		var got []string
		for _, h := range events.Holdings(read(t, kv, events.Filter{})) {
			got = append(got, fmt.Sprintf("%s %q on %s for %v %v", h.Address, h.Container, h.Node, h.To.Sub(h.From), h.To.IsZero()))
		}
		if len(got) == 4 {
			got[0], got[3] = strings.Split(got[0], " for")[0], strings.Split(got[3], " for")[0]
		}
		want := []string{`192.0.0.1 "mail" on h1`, `192.0.0.1 "db" on h2 for 10s false`, `192.0.0.1 "web" on h1 for 10s false`, `192.0.0.9 "" on h1`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("holdings (-want +got):\n%s", diff)
		}
	})
}
