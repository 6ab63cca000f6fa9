package ipam

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

const givenMAC = "02:11:22:33:44:55"

// runWith is run with a MAC address: a user's, or "derived" for the one that
// follows from the address.
func (n *lan) runWith(name, mac string, ip ...string) (*container, error) {
	n.h.c.Helper()
	got, err := n.h.RequestAddress(n.h.ctx(), AddressRequest{PoolID: n.ids[0], Address: strings.Join(ip, "")})
	if err != nil {
		return nil, err
	}
	ct := &container{n: n, endpoint: n.h.id("endpoint"), mac: mac, pools: n.ids[:1]}
	ct.addrs = append(ct.addrs, got)
	if mac == "derived" {
		ct.mac = MAC(n.h.session.Cluster(), pool.DefaultSegment, got.Addr()).String()
	}
	if err := ct.bind(name); err != nil {
		ct.release()
		return nil, err
	}
	return ct, nil
}

func (n *lan) mustRunWith(name, mac string, ip ...string) *container {
	n.h.c.Helper()
	ct, err := n.runWith(name, mac, ip...)
	n.h.must(err)
	return ct
}

// hearEndpoints has the mirror of MAC addresses hold what the store does.
func (h *host) hearEndpoints() {
	h.ApplyEndpoints(store.Change{Reset: true, Items: h.c.list(store.EndpointsSpan())})
}

func (c *cluster) macs() []string { return KeysOf(c.list(store.MACsSpan())) }

// TestOneMACOnTwoHosts: whether or not the mirror knows of it.
func TestOneMACOnTwoHosts(t *testing.T) {
	for name, hear := range map[string]func(*host){"mirrored": (*host).hearEndpoints, "not mirrored": func(*host) {}} {
		t.Run(name, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				one := c.host("h1").mustCreate("10.0.0.0/24").define("lan1")
				two := c.host("h2").mustCreate("10.0.0.0/24")
				web := one.mustRunWith("web", givenMAC)
				for _, n := range []*lan{one, two} {
					hear(n.h)
					_, err := n.runWith("thief", givenMAC)
					checkErr(c, err, "02:11:22:33:44:55 is in use by container web on node h1 (network lan1)")
					if !errors.Is(err, ErrMACTaken) {
						c.Errorf("error %v does not wrap ErrMACTaken", err)
					}
				}
				web.stop()
				moved := two.mustRunWith("web", givenMAC) // the mirror still names h1
				moved.stop()
				if left := c.macs(); len(left) != 0 {
					c.Errorf("%v are left", left)
				}
			})
		})
	}
}

// TestOneMACAtOneMoment: of hosts that start it together one does.
func TestOneMACAtOneMoment(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		hosts := []*lan{c.host("h1").mustCreate("10.0.0.0/24"), c.host("h2").mustCreate("10.0.0.0/24"), c.host("h3").mustCreate("10.0.0.0/24")}
		for range 8 {
			started := make([]*container, len(hosts))
			var work sync.WaitGroup
			for i, n := range hosts {
				work.Go(func() {
					ct, err := n.runWith("web", givenMAC)
					if err != nil && !errors.Is(err, ErrMACTaken) {
						c.Error(err)
					}
					started[i] = ct
				})
			}
			work.Wait()
			running := 0
			for _, ct := range started {
				if ct != nil {
					running++
					ct.stop()
				}
			}
			if running != 1 {
				c.Fatalf("%d hosts started it, want one", running)
			}
		}
	})
}

// TestAMACThatAnAddressDerives and that a user gave to another container: the
// second to start is refused, on the same host and on another.
func TestAMACThatAnAddressDerives(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		one := c.host("h1").mustCreate("10.0.0.0/24")
		two := c.host("h2").mustCreate("10.0.0.0/24")
		web := one.mustRunWith("web", "derived")
		for _, n := range []*lan{one, two} {
			n.h.hearEndpoints()
			_, err := n.runWith("thief", web.mac)
			checkErr(c, err, "is in use by container web on node h1")
		}
		web.stop()
		thief := two.mustRunWith("thief", web.mac, "10.0.0.9")
		_, err := one.runWith("web", "derived", web.ip())
		checkErr(c, err, "is in use by container thief on node h2")
		thief.stop()
	})
}

// TestAMACThatWasLeftBehind: the record of the endpoint that had it is gone.
func TestAMACThatWasLeftBehind(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		one := c.host("h1").mustCreate("10.0.0.0/24")
		two := c.host("h2").mustCreate("10.0.0.0/24")
		leave := func(mac string) {
			_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{
				store.Put(store.MACKey(pool.DefaultSegment, mac), store.Encode(store.MAC{Node: "h9", Endpoint: "gone"}))}})
			one.h.must(err)
		}
		leave(givenMAC)
		one.mustRunWith("web", givenMAC)
		_, err := two.runWith("thief", givenMAC)
		checkErr(c, err, "is in use by container web")
		leave(MAC(two.h.session.Cluster(), pool.DefaultSegment, netip.MustParseAddr("10.0.0.9")).String())
		two.mustRunWith("db", "derived", "10.0.0.9")
		if left := c.macs(); len(left) != 1 {
			c.Errorf("the store has %v, want web's", left)
		}
	})
}

// TestADeadContainersMAC: its endpoint is closed first, as for its address.
func TestADeadContainersMAC(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		dead := n.mustRunWith("web", givenMAC)
		n.h.kill(dead)
		n.mustRunWith("web", givenMAC)
	})
}

// TestMACsOfAnOlderGvlan have no keys until the next agent makes them.
func TestMACsOfAnOlderGvlan(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		one := c.host("h1").mustCreate("10.0.0.0/24")
		two := c.host("h2").mustCreate("10.0.0.0/24")
		one.mustRunWith("web", givenMAC)
		one.mustRunWith("db", "derived")
		_, err := c.far.Commit(c.Context(), store.Txn{Then: []store.Op{store.Delete(store.MACKey(pool.DefaultSegment, givenMAC))}})
		one.h.must(err)
		one.h.restart()
		one.h.ready()
		if left := c.macs(); len(left) != 1 {
			c.Errorf("the store has %v, want web's", left)
		}
		_, err = two.runWith("thief", givenMAC)
		checkErr(c, err, "is in use by container web")
	})
}

// TestALostReplyAboutAMAC: the start that it was about is told of success.
func TestALostReplyAboutAMAC(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.lossy.lose(binds, func() {})
		n.mustRunWith("web", givenMAC)
	})
}

// TestAMACOfAContainerThatRestartsWithoutTheStore: the record of what it was
// before is still there when the new one is written.
func TestAMACOfAContainerThatRestartsWithoutTheStore(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24").define("lan1")
		web := n.mustRunWith("web", givenMAC)
		n.h.down()
		web.stop()
		again := n.mustRunWith("web", givenMAC)
		n.h.up()
		c.until("the container's record is the new one only", store.EndpointsSpan(), func(items []store.Item) bool {
			return len(items) == 1 && store.NameOf(items[0].Key) == again.endpoint
		})
		claims := c.list(store.MACsSpan())
		if len(claims) != 1 {
			c.Fatalf("MAC addresses are claimed by %v, want by the running container", KeysOf(claims))
		}
		if rec, err := store.Decode[store.MAC](claims[0]); err != nil || rec.Endpoint != again.endpoint {
			c.Errorf("the MAC address is claimed by %+v (%v), want endpoint %s", rec, err, again.endpoint)
		}
	})
}

// TestPrefixedMAC: the rest tells the addresses of a subnet apart.
func TestPrefixedMAC(t *testing.T) {
	four, six := netip.MustParseAddr("192.168.1.20"), netip.MustParseAddr("fd00::14")
	hash4, hash6 := MAC("c", "default", four), MAC("c", "default", six)
	for _, tt := range []struct {
		prefix net.HardwareAddr
		addr   netip.Addr
		want   net.HardwareAddr
	}{
		{nil, four, hash4},
		{net.HardwareAddr{0xa6}, four, append(net.HardwareAddr{0xa6}, hash4[1:]...)},
		{net.HardwareAddr{0x02}, four, hash4},
		{net.HardwareAddr{0x02, 0x42}, four, net.HardwareAddr{0x02, 0x42, 192, 168, 1, 20}},
		{net.HardwareAddr{0x02, 0x42, 0xff}, four, net.HardwareAddr{0x02, 0x42, 0xff, 168, 1, 20}},
		{net.HardwareAddr{0x02, 0x42}, six, append(net.HardwareAddr{0x02, 0x42}, hash6[1:5]...)},
		{net.HardwareAddr{0x02, 0x42, 0xff}, six, append(net.HardwareAddr{0x02, 0x42, 0xff}, hash6[1:4]...)},
	} {
		if got := PrefixedMAC(tt.prefix, "c", "default", tt.addr); got.String() != tt.want.String() {
			t.Errorf("%s with %s: %s, want %s", tt.addr, tt.prefix, got, tt.want)
		}
	}
}
