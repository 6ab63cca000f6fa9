package events_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store/storetest"
)

// TestAllAtOnce is for the race detector: a host is told, writes, is asked and
// followed at the same time, and nothing is lost or told twice.
func TestAllAtOnce(t *testing.T) {
	kv := storetest.NewMem()
	r, err := events.New(events.Config{Node: "h1", Keeper: &memory{values: map[string][]byte{}}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run, work sync.WaitGroup
	run.Go(func() { r.Run(ctx, kv, kv) })
	followed := make(chan events.Event, 1000)
	run.Go(func() {
		_ = r.Follow(ctx, kv, events.Filter{Kinds: []events.Kind{events.Given}, Since: time.Now().Add(-time.Minute)}, func(all []events.Event) error {
			for _, e := range all {
				followed <- e
			}
			return nil
		})
	})
	const tellers, each = 8, 30
	for n := range tellers {
		work.Go(func() {
			for i := range each {
				endpoint := fmt.Sprintf("%06x%06x", n, i)
				r.Tell(events.Event{Kind: events.Given, Address: netip.AddrFrom4([4]byte{10, 0, byte(n), byte(i)}), Endpoint: endpoint})
				r.Tell(events.Event{Kind: events.Named, Endpoint: endpoint, Container: endpoint})
				if i%10 == 0 {
					all, err := r.Read(ctx, kv, events.Filter{})
					if err != nil {
						t.Error(err)
					}
					for _, told := range [][]events.Event{all, r.Own()} {
						once := map[netip.Addr]bool{}
						for _, e := range told {
							if once[e.Address] {
								t.Errorf("read %+v twice", e)
							}
							once[e.Address] = true
						}
					}
					time.Sleep(time.Duration(n) * 100 * time.Millisecond)
				}
			}
		})
	}
	work.Wait()
	seen := map[netip.Addr]bool{}
	for len(seen) < tellers*each {
		e := <-followed
		if seen[e.Address] {
			t.Fatalf("followed %+v twice", e)
		}
		seen[e.Address] = true
	}
	cancel()
	run.Wait()
	all, err := events.Read(t.Context(), kv, events.Filter{})
	if err != nil || len(all) != tellers*each {
		t.Errorf("%d events, %v; want %d", len(all), err, tellers*each)
	}
}
