//go:build !race

package events_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store/storetest"
)

// reader is who follows.
type reader struct {
	mu   sync.Mutex
	got  []events.Event
	hold chan struct{} // nil, or who waits for it to be closed
}

func (r *reader) tell(all []events.Event) error {
	if r.hold != nil {
		<-r.hold
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, all...)
	return nil
}

func (r *reader) take() []events.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

func follow(t *testing.T, a *agent, f events.Filter) *reader {
	t.Helper()
	r := &reader{}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := a.Follow(ctx, a.kv, f, r.tell); err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); run.Wait() })
	synctest.Wait()
	return r
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		a, b := begin(t, "h1", kv, newKept()), begin(t, "h2", kv, newKept())
		a.Tell(given(1))
		b.Tell(given(2))
		pass(3 * time.Second)
		began := time.Now()
		b.Tell(given(3))
		a.Tell(given(4))
		pass(3 * time.Second)

		now, since, web := follow(t, a, events.Filter{}), follow(t, a, events.Filter{Since: began.Add(-time.Millisecond)}), follow(t, a, events.Filter{Container: "web"})
		same(t, now.take())
		same(t, since.take(), "given h2 192.0.0.3", "given h1 192.0.0.4")

		b.Tell(given(5))
		b.Tell(named(5, "web"))
		pass(3 * time.Second)
		a.Tell(given(6))
		pass(3 * time.Second)
		want := []string{"given h2 192.0.0.5 web", "given h1 192.0.0.6"}
		same(t, now.take(), want...)
		same(t, since.take(), want...)
		same(t, web.take(), want[0])

		a.Tell(named(6, "mail")) // told already, without it
		pass(3 * time.Second)
		same(t, now.take())

		kv.Down()
		a.Tell(given(7))
		b.Tell(given(8))
		pass(3 * time.Second)
		same(t, now.take(), "given h1 192.0.0.7")
		kv.Up()
		pass(10 * time.Second)
		same(t, now.take(), "given h2 192.0.0.8")

		kv.LoseEvents(1)
		b.Tell(given(9))
		pass(time.Hour) // found by the listing
		same(t, now.take(), "given h2 192.0.0.9")
	})
}

// TestFollowBegunWithoutStore: a reader hears of this host at once, and of the
// others when the store is back.
func TestFollowBegunWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := storetest.NewMem()
		a, b := begin(t, "h1", kv, newKept()), begin(t, "h2", kv, newKept())
		began := time.Now()
		a.Tell(given(1))
		b.Tell(given(2))
		pass(3 * time.Second)
		kv.Down()
		r := follow(t, a, events.Filter{Since: began.Add(-time.Second)})
		same(t, r.take(), "given h1 192.0.0.1")
		kv.Up()
		pass(5 * time.Second)
		same(t, r.take(), "given h2 192.0.0.2")
	})
}

// TestSlowReader: nobody waits for one that does not read.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := begin(t, "h1", storetest.NewMem(), newKept())
		r := &reader{hold: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { _ = a.Follow(ctx, a.kv, events.Filter{}, r.tell) })
		defer func() { cancel(); run.Wait() }()
		pass(time.Second)
		a.Tell(given(0))
		pass(3 * time.Second)
		const told = 11_000
		for i := range told {
			a.Tell(given(i))
			if i%500 == 0 {
				pass(3 * time.Second)
			}
		}
		pass(3 * time.Second)
		close(r.hold)
		pass(time.Second)
		got := r.take()
		if last := got[len(got)-1]; last.Kind != events.LeftOut || last.Text != "1000 events: they came faster than they were read here" {
			t.Errorf("%d came, the last is %v", len(got), last)
		}
	})
}

func TestReaderThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := begin(t, "h1", storetest.NewMem(), newKept())
		gone := errors.New("gone")
		ended := make(chan error, 1)
		go func() {
			ended <- a.Follow(t.Context(), a.kv, events.Filter{Kinds: []events.Kind{events.Given}}, func([]events.Event) error { return gone })
		}()
		pass(time.Second)
		a.Tell(released(1))
		pass(3 * time.Second)
		if len(ended) > 0 {
			t.Fatal("ended by what is not wanted")
		}
		a.Tell(given(1))
		if err := <-ended; !errors.Is(err, gone) {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestKinds: each kind is in the list that operators are shown, once.
func TestKinds(t *testing.T) {
	kinds := events.Kinds()
	slices.Sort(kinds)
	if len(slices.Compact(kinds)) != 14 || slices.Contains(kinds, events.Named) {
		t.Errorf("kinds %q", kinds)
	}
}
