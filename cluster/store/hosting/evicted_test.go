package hosting_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/events/eventstest"
	"gvlan/cluster/store"
	"gvlan/cluster/store/hosting"
	"gvlan/cluster/store/join"
	"gvlan/ipam/evict"
)

// evict puts another host out, as `gvlan node evict` on this one does.
func (h *host) evict(node string) {
	h.t.Helper()
	_, err := evict.Node(h.t.Context(), h.session, node, evict.Options{
		Grant: h.session.Grant, Events: &eventstest.Heard{}, Force: true, Wait: time.Nanosecond,
		Fenced: func(ctx context.Context) error {
			_, err := join.Revoke(ctx, h.session, node)
			return errors.Join(err, h.store.Expel(ctx, h.client, node))
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestEvicted: a host that was evicted reaches the store no more, says so, loses
// its place to nobody but a host that is there, and comes back by joining again.
// What it knew of the cluster's keys is worth nothing.
func TestEvicted(t *testing.T) {
	t.Parallel()
	h1 := begin(t, "h1")
	h2 := joinTo(t, "h2", h1)
	h3 := joinTo(t, "h3", h1)
	h1.roles("h1 voter, h2 voter, h3 voter")
	before := h1.token()

	h1.evict("h3")
	if err := <-h3.ended; !errors.Is(err, store.ErrFenced) {
		t.Fatalf("the evicted host ended with %v, want ErrFenced", err)
	}
	h3.start() // as systemd does
	h3.eventually("the evicted host says that it is out", func() error {
		if why := h3.store.Trouble(); !errors.Is(why, hosting.ErrExiled) {
			return errors.Join(errors.New("it says"), why)
		}
		return nil
	})
	if _, err := h3.client.Get(t.Context(), store.MetaKey()); !errors.Is(err, hosting.ErrExiled) {
		t.Errorf("its requests end with %v, want ErrExiled", err)
	}
	h1.roles("h1 voter, h2 learner")
	h1.eventually("the secret it knew is another", func() error {
		if h1.token() == before {
			return errors.New("it is the same")
		}
		return nil
	})
	h1.eventually("the authority it knew is replaced", func() error {
		at, err := h1.store.Rotation(t.Context())
		if err == nil && at.Stage != join.Settled {
			err = errors.New(string(at.Stage))
		}
		return err
	})
	h2.writes("a")
	if err := h3.store.Join(t.Context(), h1.store.Base(), h1.token(), nil); err != nil {
		t.Fatal(err)
	}
	if keeps, err := h3.store.KeepsAuthority(); keeps || err != nil {
		t.Errorf("it keeps the keys of before (%v): it could renew nothing, for they are not the cluster's", err)
	}
	h3.restart()
	h3.waitTrusted()
	h1.roles("h1 voter, h2 voter, h3 voter")
	for _, h := range []*host{h3, h2, h1} {
		h.end()
	}
}

// TestKeysOfBefore: a host that kept the keys of a cluster, and joins, keeps them no
// more: with them it took itself for a keeper of the new one's.
func TestKeysOfBefore(t *testing.T) {
	t.Parallel()
	h1, h2 := begin(t, "h1"), newHost(t, "h2")
	h2.config.Listen = netip.AddrPortFrom(h2.config.Address, hosting.DefaultPort).String()
	own, err := hosting.Open(h2.config) // begins a cluster
	if err != nil {
		t.Fatal(err)
	}
	if keeps, err := own.KeepsAuthority(); !keeps || err != nil {
		t.Fatalf("it keeps keys: %v, %v", keeps, err)
	}
	if err := own.Join(t.Context(), h1.store.Base(), h1.token(), nil); err != nil {
		t.Fatal(err)
	}
	if keeps, err := own.KeepsAuthority(); keeps || err != nil {
		t.Errorf("it keeps keys of before: %v, %v", keeps, err)
	}
	h1.end()
}
