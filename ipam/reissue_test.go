package ipam

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/store"
)

// TestReissueIsNotForEver: what this node gave up while the store is away is
// its own for as long as nobody else can have been given it, and afterwards, or
// after a start, only where nobody on the LAN answers for it.
func TestReissueIsNotForEver(t *testing.T) {
	later := func(h *host) { h.later(store.QuarantineRest) }
	restarted := func(h *host) { h.restart() }
	taken := func(h *host) { h.lan = []netip.Addr{netip.MustParseAddr("10.0.0.7")} }
	for _, s := range []struct {
		name  string
		after func(*host) // between the container's end and its start
		lan   func(*host)
		asked int
		given bool
	}{
		{"at once", func(*host) {}, taken, 0, true},
		{"just in time", func(h *host) { h.later(store.QuarantineRest - time.Minute) }, taken, 0, true},
		{"too late, and silent", later, func(*host) {}, 1, true},
		{"too late, and somebody answers", later, taken, 1, false},
		{"too late, and nobody to ask", later, func(h *host) { h.deaf = errors.New("eth1 is down") }, 1, false},
		{"a clock set back", func(h *host) { h.later(-time.Hour) }, taken, 1, false},
		{"after a start, and silent", restarted, func(*host) {}, 1, true},
		{"after a start, and somebody answers", restarted, taken, 1, false},
	} {
		for _, ip := range []string{"", "10.0.0.7"} {
			t.Run(s.name+" "+ip, func(t *testing.T) {
				onEveryStore(t, func(c *cluster) {
					n := c.host("h1").mustCreate("10.0.0.0/24")
					web := n.mustRun("web", "10.0.0.7")
					n.h.ready()
					n.h.down()
					if _, err := n.run("", ""); err == nil { // which also shows the node that the store is away
						c.Fatal("an address was given without the store")
					}
					web.stop()
					s.after(n.h)
					s.lan(n.h)
					ct, err := n.run("web", ip)
					if given := err == nil && ct.ip() == "10.0.0.7"; given != s.given {
						c.Fatalf("given %v (%v), want %v", given, err, s.given)
					}
					if n.h.asked != s.asked {
						c.Errorf("the LAN was asked %d times, want %d", n.h.asked, s.asked)
					}
					n.h.up()
					if !s.given {
						c.until("the address is free", store.AllLeasesSpan(), func(items []store.Item) bool { return len(items) == 1 })
						return
					}
					c.until("the binding is written", store.EndpointsSpan(), func(items []store.Item) bool {
						return len(items) == 1 && store.NameOf(items[0].Key) == ct.endpoint
					})
				})
			})
		}
	}
}
