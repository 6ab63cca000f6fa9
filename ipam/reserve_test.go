package ipam

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
)

// desk reserves on a network of a host.
func (n *lan) reserve(w reserve.Wish) reserve.Outcome {
	n.h.c.Helper()
	if !w.Last.IsValid() {
		w.Last = w.First
	}
	desk := reserve.Desk{KV: n.h.session, Node: n.h.name, Now: n.h.Now}
	out, err := desk.Reserve(n.h.ctx(), n.row(), w)
	n.h.must(err)
	return out
}

// row is the network's definition as it stands.
func (n *lan) row() store.Row[store.Network] {
	n.h.c.Helper()
	it, err := n.h.session.Get(n.h.ctx(), store.NetworkKey(n.def.Name))
	n.h.must(err)
	def, err := store.Decode[store.Network](it)
	n.h.must(err)
	return store.Row[store.Network]{Key: it.Key, Record: def, Created: it.Created, Modified: it.Modified}
}

// lags has a host hear of nothing that is reserved from now on.
func (h *host) lags() {
	stale := *h.kept
	stale.book = &reserve.Book{}
	stale.book.Apply(store.Change{Reset: true})
	h.requests.kept = &stale
}

func named(name string) map[string]string { return map[string]string{pool.EndpointName: name} }

// asks requests an address and returns it, or the reservation that refuses it.
func (n *lan) asks(r AddressRequest) string {
	n.h.c.Helper()
	r.PoolID = n.ids[0]
	got, err := n.h.RequestAddress(n.h.ctx(), r)
	if refused, is := errors.AsType[reserve.Refused](err); is {
		return refused.Note
	}
	n.h.must(err)
	n.h.must(n.h.ReleaseAddress(n.h.ctx(), n.ids[0], got.Addr().String()))
	n.h.compares(got.Addr())
	return got.Addr().String()
}

// TestAReservedAddress is given to the container that it is for, on every host, and
// to no other, whether the host has heard of the reservation or not.
func TestAReservedAddress(t *testing.T) {
	for _, lags := range []bool{false, true} {
		onEveryStore(t, func(c *cluster) {
			h1, h2 := c.host("h1"), c.host("h2")
			n := h1.mustCreate("10.0.0.0/24").define("lan1")
			there := h2.mustCreate("10.0.0.0/24").define("lan1")
			h2.ready()
			if lags {
				h2.lags()
			}
			n.reserve(reserve.Wish{First: netip.MustParseAddr("10.0.0.2"), For: "web", Note: "rule 12"})
			n.reserve(reserve.Wish{First: netip.MustParseAddr("10.0.0.3"), Note: "printer"})
			if !lags {
				h2.waitFor("h2 hears of it", func() bool { return len(h2.Reservations()) == 2 })
			}
			idle := func(names ...string) func(string) ([]string, bool, <-chan struct{}) {
				return func(network string) ([]string, bool, <-chan struct{}) {
					if network != there.id {
						return nil, true, nil
					}
					return slices.Clone(names), true, nil
				}
			}
			comingUp := func(string) ([]string, bool, <-chan struct{}) { return []string{"web"}, false, nil }
			for _, tt := range []struct {
				who  string
				r    AddressRequest
				want string
			}{
				{"anybody", AddressRequest{}, "10.0.0.4"},
				{"another one, by name", AddressRequest{Options: named("db")}, "10.0.0.4"},
				{"another one, with --ip", AddressRequest{Options: named("db"), Address: "10.0.0.2"}, "rule 12"},
				{"somebody, with --ip", AddressRequest{Address: "10.0.0.2"}, "rule 12"},
				{"somebody on a host without web", AddressRequest{Address: "10.0.0.2", Idle: idle("db", "x")}, "rule 12"},
				{"somebody, with --ip of what is nobody's", AddressRequest{Address: "10.0.0.3", Idle: idle("web", "")}, "printer"},
				{"web, with --ip of what is nobody's", AddressRequest{Address: "10.0.0.3", Options: named("web")}, "printer"},
				{"web, with --ip", AddressRequest{Options: named("web"), Address: "10.0.0.2"}, "10.0.0.2"},
				{"web, with another --ip", AddressRequest{Options: named("web"), Address: "10.0.0.9"}, "10.0.0.9"},
			} {
				if got := there.asks(tt.r); got != tt.want {
					c.Errorf("lags %v: %s is told %q, want %s", lags, tt.who, got, tt.want)
				}
			}
			if lags {
				return // whose name an address has is known to those who heard of it
			}
			for _, tt := range []struct {
				who  string
				r    AddressRequest
				want string
			}{
				{"web", AddressRequest{Options: named("web")}, "10.0.0.2"},
				{"who may be web, with --ip", AddressRequest{Address: "10.0.0.2", Idle: idle("db", "web")}, "10.0.0.2"},
				{"who may be anybody, with --ip", AddressRequest{Address: "10.0.0.2", Idle: comingUp}, "10.0.0.2"},
				{"who may be anybody", AddressRequest{Idle: comingUp}, "10.0.0.4"},
				{"who may be web or another", AddressRequest{Idle: idle("db", "web")}, "10.0.0.4"},
				{"who can only be web", AddressRequest{Idle: idle("web")}, "10.0.0.2"},
				{"who can only be another", AddressRequest{Idle: idle("db")}, "10.0.0.4"},
			} {
				if got := there.asks(tt.r); got != tt.want {
					c.Errorf("%s is told %q, want %s", tt.who, got, tt.want)
				}
			}
		})
	}
}
