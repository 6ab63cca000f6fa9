package ipam

import (
	"net/netip"
	"testing"
	"time"

	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
	"gvlan/ipam/wanted"
)

// ask requests any address of a network's first pool.
func (n *lan) ask(r AddressRequest) string {
	n.h.c.Helper()
	r.PoolID = n.ids[0]
	got, err := n.h.RequestAddress(n.h.ctx(), r)
	n.h.must(err)
	n.h.must(n.h.ReleaseAddress(n.h.ctx(), n.ids[0], got.Addr().String()))
	n.h.compares(got.Addr())
	return got.Addr().String()
}

func none(string) bool { return false }

// TestWhatStoppedContainersWantAgain: the address of a stopped container goes
// to whoever is known or taken to be it, and to nobody else while anything else
// is free.
func TestWhatStoppedContainersWantAgain(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		h := c.host("h1")
		n := h.mustCreate("10.0.0.0/24").define("lan1")
		other := h.mustCreate("10.0.0.0/24").define("lan2")
		h.ready()
		at := func(addr, network, name string, fixed bool) wanted.Address {
			return wanted.Address{Segment: pool.DefaultSegment, Address: netip.MustParseAddr(addr), Network: network, Container: name, Fixed: fixed}
		}
		h.Avoid([]wanted.Address{
			at("10.0.0.2", n.id, "fixed", true),
			at("10.0.0.3", "", "", false), // of another host
			at("10.0.0.5", n.id, "web", false), at("10.0.0.6", n.id, "db", false),
		})
		named := func(name string) AddressRequest {
			return AddressRequest{Options: map[string]string{pool.EndpointName: name}}
		}
		for _, tt := range []struct {
			who  string
			on   *lan
			r    AddressRequest
			want string
		}{
			{"anybody", n, AddressRequest{}, "10.0.0.4"},
			{"a stopped container, where no other can ask", n, AddressRequest{Newcomers: none}, "10.0.0.5"},
			{"perhaps a new one", n, AddressRequest{Newcomers: func(id string) bool { return id == n.id }}, "10.0.0.4"},
			{"db", n, named("db"), "10.0.0.6"},
			{"fixed, now without its --ip", n, named("fixed"), "10.0.0.4"},
			{"a new one by its name", n, named("new"), "10.0.0.4"},
			{"anybody on another network of the segment", other, AddressRequest{Newcomers: none}, "10.0.0.4"},
		} {
			if got := tt.on.ask(tt.r); got != tt.want {
				c.Errorf("%s is given %s, want %s", tt.who, got, tt.want)
			}
		}
		taken := n.mustRun("thief", "10.0.0.5") // whoever gives it may have it
		if got := n.ask(named("web")); got != "10.0.0.4" {
			c.Errorf("web is given %s, want 10.0.0.4: its own is taken", got)
		}
		taken.stop()
	})
}

// TestAKeptAddressIsWaitedFor: what a container had, and what is reserved for it,
// is its also while this node compares or releases it.
func TestAKeptAddressIsWaitedFor(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24").define("lan1")
		n.h.ready()
		kept := pool.At(pool.DefaultSegment, netip.MustParseAddr("10.0.0.5"))
		reserved := pool.At(pool.DefaultSegment, netip.MustParseAddr("10.0.0.6"))
		n.h.Avoid([]wanted.Address{{Segment: kept.Segment, Address: kept.Addr, Network: n.id, Container: "web"}})
		n.reserve(reserve.Wish{First: reserved.Addr, For: "db"})
		n.h.waitFor("the reservation is heard of", func() bool { return n.h.kept.book.HasNamed(kept.Segment) })
		for name, at := range map[string]pool.Place{"web": kept, "db": reserved} {
			release, err := n.h.Places.Hold(n.h.ctx(), at)
			n.h.must(err)
			time.AfterFunc(50*time.Millisecond, release) // long after another one was chosen, if it is
			if got := n.ask(AddressRequest{Options: map[string]string{pool.EndpointName: name}}); got != at.Addr.String() {
				c.Errorf("%s is given %s, want %s", name, got, at.Addr)
			}
		}
	})
}

// TestAgedAfterAKeptAddress: the order counts what was given for its own sake too.
func TestAgedAfterAKeptAddress(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreateWith(flags{subnets: []string{"10.0.0.0/24"}, opts: map[string]string{"order": "aged"}}).define("lan1")
		n.h.ready()
		n.h.Avoid([]wanted.Address{{Segment: pool.DefaultSegment, Address: netip.MustParseAddr("10.0.0.5"), Network: n.id, Container: "web"}})
		if got := n.ask(AddressRequest{Options: named("web")}); got != "10.0.0.5" {
			c.Errorf("web is given %s, want the address it had", got)
		}
		if got := n.ask(AddressRequest{Newcomers: func(string) bool { return true }}); got != "10.0.0.6" {
			c.Errorf("then %s is given, want 10.0.0.6, the next one", got)
		}
	})
}

// TestAKeptAddressRests: a cooldown holds for whoever may be another container.
func TestAKeptAddressRests(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24").define("lan1")
		n.h.ready()
		web := n.mustRun("web", "10.0.0.5")
		web.stop()
		n.rest(web.ip(), true)
		n.h.Avoid([]wanted.Address{{Segment: pool.DefaultSegment, Address: web.addrs[0].Addr(), Network: n.id, Container: "web"}})
		if got := n.ask(AddressRequest{Newcomers: none}); got != "10.0.0.2" {
			c.Errorf("given %s, want 10.0.0.2: .5 rests", got)
		}
		if got := n.ask(AddressRequest{Options: map[string]string{pool.EndpointName: "web"}}); got != "10.0.0.5" {
			c.Errorf("web is given %s, want the address it had", got)
		}
		n.rest(web.ip(), false)
		if got := n.ask(AddressRequest{Newcomers: none}); got != "10.0.0.5" {
			c.Errorf("given %s, want 10.0.0.5", got)
		}
	})
}
