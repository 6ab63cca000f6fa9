package ipam

import (
	"fmt"
	"testing"

	"gvlan/ipam/pool"
	"gvlan/ipam/wanted"
)

// TestFixedAddressesBeforeTheFirstLook: after a power cut the engine first lets
// go of everything that its containers had, and then starts them. Until the
// containers were looked at, what one had by its --ip is left to it: also where
// the store is away, and where the journal is lost.
func TestFixedAddressesBeforeTheFirstLook(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("journal lost %v", lost), func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				n := c.host("h1").mustCreate("10.0.0.0/24").define("lan1")
				n.h.ready()
				n.h.Avoid(nil)
				fixed, any := n.mustRun("fixed", "10.0.0.2"), n.mustRun("any", "")
				if lost {
					n.h.journal = newDisk()
				}
				n.h.restart()
				n.h.ready()
				if lost { // the driver rebuilds the network from the engine
					n.h.must(n.h.Attach(n.id, n.pools))
					n.h.must(n.h.Adopt(n.id, n.def, 0))
				}
				for _, ct := range []*container{any, fixed} {
					n.h.waitBound(ct.endpoint)
					ct.stop()
				}
				for _, want := range []string{"10.0.0.3", "10.0.0.4"} {
					if x := n.mustRun("x", ""); x.ip() != want {
						c.Errorf("a container is given %s, want %s", x.ip(), want)
					}
				}
				n.mustRun("fixed", "10.0.0.2").stop()
				n.h.Avoid(nil) // nobody wants it again
				if x := n.mustRun("x", ""); x.ip() != "10.0.0.2" {
					c.Errorf("after the first look a container is given %s, want 10.0.0.2", x.ip())
				}
			})
		})
	}
}

// TestFixedAddressesBeforeTheFirstLookWithoutTheStore likewise.
func TestFixedAddressesBeforeTheFirstLookWithoutTheStore(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24").define("lan1")
		n.h.ready()
		fixed, any := n.mustRun("fixed", "10.0.0.2"), n.mustRun("any", "")
		n.h.compares(fixed.addrs[0].Addr()) // a comparison that the outage cuts short holds its place for a while
		n.h.compares(any.addrs[0].Addr())
		n.h.down()
		for _, ct := range []*container{any, fixed} {
			ct.stop()
		}
		again := n.mustRun("any", "")
		if again.ip() != any.ip() {
			c.Errorf("a container is given %s again, want %s", again.ip(), any.ip())
		}
		again.stop()
		n.h.Avoid([]wanted.Address{{Segment: pool.DefaultSegment, Address: fixed.addrs[0].Addr(), Fixed: true}})
		if again = n.mustRun("any", ""); again.ip() != any.ip() {
			c.Errorf("after the first look a container is given %s again, want %s", again.ip(), any.ip())
		}
		n.mustRun("fixed", "10.0.0.2")
		n.h.up()
	})
}
