package link_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"gvlan/driver/link"
)

func TestWatch(t *testing.T) {
	w := newWorld(t)
	events, end := w.watch(t)
	if first := <-events; !first.Resync {
		t.Fatalf("first event = %+v, want a resync", first)
	}
	w.card(t, "eth0")
	await(t, events, func(e link.Event) bool { return e.Name == "eth0" && e.Up && !e.Gone })

	// A port that leaves its bridge is not gone.
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name = "br0"
	w.do(t, func() error { return w.handle.LinkAdd(bridge) })
	w.do(t, func() error { return w.handle.LinkSetMaster(w.link(t, "eth0"), bridge) })
	w.do(t, func() error { return w.handle.LinkSetNoMaster(w.link(t, "eth0")) })
	w.setDown(t, "eth0")
	await(t, events, func(e link.Event) bool {
		if e.Name == "eth0" && e.Gone {
			t.Error("eth0 is reported gone after it left a bridge")
		}
		return e.Name == "eth0" && !e.Up
	})
	w.do(t, func() error { return w.handle.LinkDel(w.link(t, "eth0")) })
	await(t, events, func(e link.Event) bool { return e.Name == "eth0" && e.Gone })
	if err := end(); !errors.Is(err, context.Canceled) {
		t.Errorf("Watch = %v, want %v", err, context.Canceled)
	}
}

// Changes that the socket does not hold are made up for by a resync: whoever
// looks at everything then, and at each event, knows all links in the end.
func TestWatchSurvivesOverflow(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	events, end := w.watch(t)
	<-events
	// Nobody takes events here, so the socket fills up.
	for i := range 1000 {
		w.do(t, func() error { return w.handle.LinkSetMTU(w.link(t, "eth0"), 1000+i) })
	}
	w.card(t, "eth1")
	lost := false
	await(t, events, func(e link.Event) bool {
		lost = lost || e.Resync
		return e.Name == "eth1" || e.Resync && w.exists("eth1")
	})
	if !lost {
		t.Error("1000 changes that nobody took were followed by no resync")
	}
	w.do(t, func() error { return w.handle.LinkDel(w.link(t, "eth1")) })
	await(t, events, func(e link.Event) bool {
		return e.Name == "eth1" && e.Gone || e.Resync && !w.exists("eth1")
	})
	if err := end(); !errors.Is(err, context.Canceled) {
		t.Errorf("Watch = %v, want %v", err, context.Canceled)
	}
}

func (w world) exists(name string) bool {
	_, err := w.handle.LinkByName(name)
	return err == nil
}

// watch runs Watch until end is called or the test is over.
func (w world) watch(t *testing.T) (events <-chan link.Event, end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	seen, result := make(chan link.Event), make(chan error, 1)
	go func() {
		result <- w.Watch(ctx, func(e link.Event) {
			select {
			case seen <- e:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(cancel)
	return seen, func() error {
		cancel()
		return <-result
	}
}

func await(t *testing.T, events <-chan link.Event, is func(link.Event) bool) {
	t.Helper()
	for !is(<-events) {
	}
}

func TestEndedContext(t *testing.T) {
	w := newWorld(t)
	w.card(t, "eth0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Ensure(ctx, endpoint("gv1", "eth0")); !errors.Is(err, context.Canceled) {
		t.Errorf("Ensure = %v, want %v", err, context.Canceled)
	}
	links, err := w.Owned(t.Context())
	if diff := cmp.Diff([]link.Link(nil), links); diff != "" || err != nil {
		t.Errorf("owned links (-want +got):\n%s%v", diff, err)
	}
}
