package driver

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
	"gvlan/ipam/reserve"
)

// sticky is lan with how long what containers had is kept.
func sticky(name, subnet, value string) engine.NetworkRequest {
	r := lan(name, subnet)
	r.IPAM.Options = map[string]string{"sticky": value}
	return r
}

// TestTheNextOfItsNameHasItsAddress: what a removed container had is given to the
// next one of its name, on any host, and to others last, for a while.
func TestTheNextOfItsNameHasItsAddress(t *testing.T) {
	c := newCluster(t)
	h1, h2 := c.host("h1"), c.host("h2")
	for _, h := range c.hosts {
		h.engine.names.Store(true)
	}
	h1.create(lan("lan1", "10.0.1.0/24"))
	h1.replica("lan1")
	h2.replica("lan1")
	x, web := h1.run("x", "lan1"), h1.run("web", "lan1")
	for _, ct := range []*container{x, web} {
		ct.stop()
		ct.remove()
	}
	if web = h1.run("web", "lan1"); web.address() != "10.0.1.3" { // no look may have been in between
		t.Errorf("web is made again with %s, want 10.0.1.3", web.address())
	}
	h1.eventually("web is seen", func() bool { return strings.Join(h1.kept(), " ") == "10.0.1.2" })
	web.stop()
	web.remove()
	h1.keeps("10.0.1.2", "10.0.1.3")
	h2.eventually("h2 leaves them alone", func() bool {
		other := h2.run("other", "lan1")
		other.stop()
		other.remove()
		return other.address() == "10.0.1.4"
	})
	if web = h2.run("web", "lan1"); web.address() != "10.0.1.3" {
		t.Errorf("web is made again on the other host with %s, want 10.0.1.3", web.address())
	}
	h1.stop()
	h1.start()
	h1.keeps("10.0.1.2", "10.0.1.3") // as it had them before
	c.clock.advance(10 * time.Minute)
	h1.d.Poke()
	h1.keeps()
}

// TestSticky says for how long what a container had is kept.
func TestSticky(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.engine.names.Store(true)
	for _, r := range []engine.NetworkRequest{sticky("never", "10.0.1.0/24", "0"), sticky("hour", "10.0.2.0/24", "1h"), lan("usual", "10.0.3.0/24")} {
		h.create(r)
		h.replica(r.Name)
	}
	var all []*container
	for _, network := range []string{"never", "hour", "usual"} {
		stopped, removed := h.run("stopped-"+network, network), h.run("removed-"+network, network)
		stopped.stop()
		removed.stop()
		removed.remove()
		all = append(all, stopped)
	}
	h.keeps("10.0.2.2", "10.0.3.2", "10.0.2.3", "10.0.3.3")
	c.clock.advance(59 * time.Minute)
	h.d.Poke()
	h.keeps("10.0.2.2", "10.0.3.2", "10.0.2.3")
	c.clock.advance(time.Minute)
	h.d.Poke()
	h.keeps("10.0.3.2")
	if got := h.run("stopped-never", "never"); got.address() != "10.0.1.2" {
		t.Errorf("with sticky=0 another one is given %s, want 10.0.1.2", got.address())
	}
	all[2].remove()
	h.keeps("10.0.3.2") // it is removed now
	fixed := h.run("fixed", "never", ip("10.0.1.9"))
	fixed.stop()
	h.keeps("10.0.1.9", "10.0.3.2")
}

// TestEnginesThatNameNobodyKeepNothingOfTheRemoved, as nobody could be known again.
func TestEnginesThatNameNobodyKeepNothingOfTheRemoved(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24"))
	h.replica("lan1")
	web := h.run("web", "lan1")
	web.stop()
	h.keeps("10.0.1.2")
	web.remove()
	h.keeps()
}

// reserves is `gvlan reserve` of one address.
func (h *machine) reserves(network, address string, w reserve.Wish) {
	h.Helper()
	w.First = netip.MustParseAddr(address)
	w.Last = w.First
	_, err := h.d.Reserve(h.Context(), network, w)
	h.must(err)
}

// TestAReservationsMAC goes with its address, on every host, and contradicts others.
func TestAReservationsMAC(t *testing.T) {
	const reserved = "02:00:5e:00:53:01"
	c := newCluster(t)
	h1, h2 := c.host("h1"), c.host("h2")
	h1.create(lan("lan1", "10.0.1.0/24"))
	h1.replica("lan1")
	h2.replica("lan1")
	h1.reserves("lan1", "10.0.1.50", reserve.Wish{For: "web", MAC: "02:00:5E:00:53:01", Note: "rule 12"})
	h2.eventually("h2 hears of it", func() bool { return len(h2.d.Addresses.Reservations()) == 1 })
	h2.engine.names.Store(true)
	if web := h2.run("web", "lan1"); web.address() != "10.0.1.50" || web.mac != reserved {
		t.Errorf("web has %s and %s", web.address(), web.mac)
	} else {
		web.stop()
		web.remove()
	}
	if web := h2.run("web", "lan1", mac(reserved)); web.address() != "10.0.1.50" || web.mac != "" { // Docker knows
		t.Errorf("web with --mac-address has %s and %s", web.address(), web.mac)
	} else {
		web.stop()
		web.remove()
	}
	for _, tt := range []struct {
		name string
		with func(*enginetest.ContainerSpec)
		want string
	}{
		{"web", mac("02:00:5e:00:53:02"), "address 10.0.1.50 is reserved for container web on network lan1 (rule 12) with MAC address " + reserved},
		{"db", mac(reserved), "goes with address 10.0.1.50, which is reserved for container web"},
		{"db", ip("10.0.1.50"), "address 10.0.1.50 is reserved for container web on network lan1 (rule 12)"},
	} {
		_, err := h2.tryRun(tt.name, "lan1", tt.with)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s is told %v, want %q", tt.name, err, tt.want)
		}
	}
	c.held("10.0.1.50", false)

	h1.must(h1.d.Remove(t.Context(), "lan1", true))
	h1.eventually("reservations are gone with their network", func() bool { return len(h1.d.Addresses.Reservations())+len(h2.d.Addresses.Reservations()) == 0 })
	if _, err := h1.d.Reserve(t.Context(), "lan1", reserve.Wish{First: netip.MustParseAddr("10.0.1.51"), Last: netip.MustParseAddr("10.0.1.51")}); err == nil {
		t.Error("an address of a network that is going is reserved")
	}
}

// TestWhoMayAskOfAnOlderEngine: a container is taken for the one that asks from when
// it is made until it starts, and from when its endpoint ends.
func TestWhoMayAskOfAnOlderEngine(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24"))
	h.replica("lan1")
	h.reserves("lan1", "10.0.1.50", reserve.Wish{For: "web", Note: "rule 12"})
	if db := h.startNew("db", "lan1"); db.address() != "10.0.1.2" {
		t.Errorf("db has %s, want 10.0.1.2", db.address())
	}
	web := h.startNew("web", "lan1")
	if web.address() != "10.0.1.50" {
		t.Errorf("web has %s, want 10.0.1.50", web.address())
	}
	web.stop()
	h.must(web.start()) // no look may have been in between
	if web.address() != "10.0.1.50" {
		t.Errorf("web starts again with %s, want 10.0.1.50", web.address())
	}
	web.stop()
	h.keeps("10.0.1.50")
	if x := h.startNew("x", "lan1"); x.address() != "10.0.1.3" {
		t.Errorf("x has %s, want 10.0.1.3: web may ask as well", x.address())
	}
	if _, err := h.tryRun("thief", "lan1", ip("10.0.1.50")); err != nil {
		t.Errorf("who may be web is refused: %v", err)
	}
}
