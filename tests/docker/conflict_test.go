package docker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/tests/lab"
)

// TestTheLANIsAsked: what somebody on the LAN has who is not gvlan's no container
// is given, and people are told who it is.
func TestTheLANIsAsked(t *testing.T) {
	onMixed(t, 3, func(c *cluster) {
		c.scenario("a device has an address", aDeviceHasAnAddress)
		c.scenario("a device takes a container's address, then a flood all", aDeviceTakesAnAddress)
		c.scenario("one answers for every address", oneAnswersForAll)
		c.scenario("containers start beside another machine", startBesideOthers)
	})
}

// contested is a line of `gvlan conflict ls`.
type contested struct {
	Address                       netip.Addr
	Network, Container, MAC, Host string
}

// conflicts are those that a host lists.
func (c *cluster) conflicts(h *lab.Host) (all []contested, err error) {
	out, err := h.Exec(c.t.Context(), c.binary, "conflict", "ls", "--json")
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal([]byte(out), &all)
}

// device puts a machine that is not gvlan's on the LAN, behind a host's card, with
// addresses; it has a MAC address of its own.
func (c *cluster) device(h *lab.Host, name, mac string, addrs ...string) (remove func()) {
	c.t.Helper()
	script := fmt.Sprintf("ip netns add %[1]s; ip link add link eth1 name %[1]s netns %[1]s address %[2]s type macvlan mode bridge\n", name, mac)
	for _, addr := range addrs {
		nodad := ""
		if strings.Contains(addr, ":") {
			nodad = " nodad"
		}
		script += fmt.Sprintf("ip -n %[1]s address add %[2]s dev %[1]s%[3]s\n", name, addr, nodad)
	}
	script += fmt.Sprintf("ip netns exec %s sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/arp_notify; echo 1 > /proc/sys/net/ipv6/conf/all/ndisc_notify'\n", name) // it announces itself
	h.MustExec(c.t, "sh", "-ec", script+fmt.Sprintf("ip -n %[1]s link set %[1]s up", name))
	return func() { h.MustExec(c.t, "ip", "netns", "delete", name) }
}

func aDeviceHasAnAddress(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	const mac = "02:99:00:00:00:07"
	remove := c.device(c.Hosts[2], "device", mac, "10.192.0.129/24", "fd92::3/64")
	c.network(h1, "lan1", "--subnet", "10.192.0.0/24", "--ip-range", "10.192.0.128/25", "--ipv6", "--subnet", "fd92::/64", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	if web.String() != "10.192.0.128" {
		c.t.Errorf("web is given %s, want 10.192.0.128", web)
	}
	db := c.run(h2, "lan1", "db")
	if db.String() != "10.192.0.130" {
		c.t.Errorf("db is given %s, want 10.192.0.130: the device has the one before", db)
	}
	six := c.inspect(h2, "lan1", "db").GlobalIPv6Address
	if six == "fd92::3" {
		c.t.Errorf("db is given %s, which the device has", six)
	}
	c.refused(h1, mac, sleeper("lan1", "fixed", "--ip", "10.192.0.129")...)
	for _, h := range c.Hosts {
		eventually(c.t, h.Name+" to list both conflicts", func() error {
			all, err := c.conflicts(h)
			for _, want := range []string{"10.192.0.129", "fd92::3"} {
				is := func(x contested) bool { return x.Address.String() == want && x.MAC == mac && x.Network == "lan1" }
				if err == nil && !slices.ContainsFunc(all, is) {
					err = fmt.Errorf("no %s in %+v", want, all)
				}
			}
			return err
		})
	}
	c.says(c.gvlan(h2, "whois", "10.192.0.129"), "state in conflict", "mac "+mac)
	eventually(c.t, "the event of it", func() error {
		if out := c.gvlan(h2, "events", "10.192.0.129"); !strings.Contains(out, "in use on the LAN by MAC "+mac) {
			return fmt.Errorf("gvlan events says\n%s", out)
		}
		return nil
	})
	remove()
	if out := c.gvlan(h2, "conflict", "clear", "fd92::3"); out != "fd92::3" {
		c.t.Errorf("conflict clear prints %q", out)
	}
	eventually(c.t, "the other conflict to end by itself", func() error {
		all, err := c.conflicts(h1)
		if err == nil && len(all) > 0 {
			err = fmt.Errorf("it lists %+v", all)
		}
		return err
	})
	fixed := c.run(h1, "lan1", "again", "--ip", "10.192.0.129")
	c.oneOwner(fixed, h1)
}

// aDeviceTakesAnAddress: people are told who uses the address of a container too,
// and of a flood as much as there is room for; all of that is over by itself.
func aDeviceTakesAnAddress(c *cluster) {
	h1 := c.Hosts[0]
	const mac = "02:99:00:00:00:08"
	c.network(h1, "lan1", "--subnet", "10.193.0.0/24", "--ipv6", "--subnet", "fd93::/64", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	web6 := netip.MustParseAddr(c.inspect(h1, "lan1", "web").GlobalIPv6Address)
	for _, h := range c.Hosts {
		c.listens(h, "lan1")
	}
	remove := c.device(c.Hosts[2], "thief", mac, web.String()+"/24", web6.String()+"/64")
	for _, h := range c.Hosts {
		eventually(c.t, h.Name+" to list who uses the addresses", func() error {
			all, err := c.conflicts(h)
			for _, addr := range []netip.Addr{web, web6} {
				is := func(x contested) bool { return x.Address == addr && x.MAC == mac && x.Container == "web on h1" }
				if err == nil && !slices.ContainsFunc(all, is) {
					err = fmt.Errorf("no %s in %+v", addr, all)
				}
			}
			return err
		})
	}
	if s := c.status(h1); !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, mac) }) {
		c.t.Errorf("h1 warns of %q, and not of %s", s.Warnings, mac)
	}
	aFlood(c)
	remove()
	eventually(c.t, "it to end by itself", func() error {
		all, err := c.conflicts(h1)
		if err == nil && len(all) > 0 {
			err = fmt.Errorf("it lists %+v", all)
		}
		return err
	})
}

// listens waits until a host hears who uses addresses of a network.
func (c *cluster) listens(h *lab.Host, network string) {
	c.t.Helper()
	eventually(c.t, h.Name+" to listen", func() error {
		out, err := h.Exec(c.t.Context(), "cat", "/proc/net/packet")
		if err == nil && !strings.Contains(out, " 0806 ") {
			err = fmt.Errorf("no socket hears ARP: %s", out)
		}
		return err
	})
}

// oneAnswersForAll: it takes a part of the pool away, and no more; people are told
// who it is.
func oneAnswersForAll(c *cluster) {
	h1 := c.Hosts[0]
	const mac = "02:99:00:00:00:09"
	remove := c.device(c.Hosts[2], "liar", mac, "10.194.0.250/24")
	c.Hosts[2].MustExec(c.t, "ip", "-n", "liar", "route", "add", "local", "10.194.0.0/24", "dev", "lo")
	c.Hosts[2].MustExec(c.t, "ip", "-n", "liar", "link", "set", "lo", "up")
	c.network(h1, "lan1", "--subnet", "10.194.0.0/24", "--ip-range", "10.194.0.16/28", "-o", "parent=eth1")
	for _, name := range []string{"one", "two"} { // the liar's host does not hear it
		c.run(h1, "lan1", name)
	}
	eventually(c.t, "h1 to name who answers for all", func() error {
		if s := c.status(h1); !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, mac) && strings.Contains(w, "not believed") }) {
			return fmt.Errorf("it warns of %q", s.Warnings)
		}
		return nil
	})
	c.run(h1, "lan1", "fixed", "--ip", "10.194.0.200")
	eventually(c.t, "no more than half to be in conflict", func() error { // two hosts may find some at once
		all, err := c.conflicts(h1)
		kept := slices.DeleteFunc(all, func(x contested) bool { return x.Container != "" }) // those keep nobody from an address
		if err == nil && (len(kept) == 0 || len(kept) > 8) {
			err = fmt.Errorf("%d addresses of 16 are", len(kept))
		}
		return err
	})
	remove()
	c.gvlan(h1, "conflict", "clear")
	if left := must(c.conflicts(h1))(c.t); len(left) > 0 {
		c.t.Errorf("gvlan conflict clear left %+v", left)
	}
}

// aFlood says by ever new MAC addresses that all addresses of a subnet are in use:
// containers start all the same, and people are told of the others.
func aFlood(c *cluster) {
	h1 := c.Hosts[0]
	c.network(h1, "lan2", "--subnet", "10.196.0.0/24", "--ip-range", "10.196.0.16/29", "-o", "parent=eth1")
	db := c.run(h1, "lan2", "db")
	for _, h := range c.Hosts {
		c.waitNetwork(h, "lan2")
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	var flood errgroup.Group
	frames := 0
	flood.Go(func() (err error) {
		frames, err = c.LAN.Flood(ctx, c.Peer.Machine, netip.MustParsePrefix("10.196.0.0/24"))
		return err
	})
	eventually(c.t, "h1 to tell of it", func() error {
		all, err := c.conflicts(h1)
		is := func(x contested) bool { return x.Address == db && x.Container == "db on h1" }
		if err == nil && !slices.ContainsFunc(all, is) {
			err = fmt.Errorf("it lists %+v", all)
		}
		return err
	})
	given := map[netip.Addr]bool{db: true}
	for i := range 7 { // of 8
		h := c.Hosts[i%len(c.Hosts)]
		addr := c.run(h, "lan2", fmt.Sprintf("c%d", i))
		if given[addr] {
			c.t.Errorf("%s is given twice", addr)
		}
		given[addr] = true
	}
	cancel()
	if err := flood.Wait(); err != nil {
		c.t.Error(err)
	}
	c.t.Logf("%d frames", frames)
}

// startBesideOthers: none of a machine's addresses is a container's, whoever starts
// how many at once.
func startBesideOthers(c *cluster) {
	each := 4
	if os.Getenv("GVLAN_SOAK") != "" {
		each = 20
	}
	foreign := map[netip.Addr]bool{}
	for i := range byte(20) {
		addr := netip.AddrFrom4([4]byte{10, 195, 0, 3 + 2*i})
		foreign[addr] = true
		c.joinLAN(addr.String() + "/24")
		defer c.Peer.MustExec(c.t, "ip", "addr", "del", addr.String()+"/24", "dev", "eth1")
	}
	c.network(c.Hosts[0], "lan1", "--subnet", "10.195.0.0/24", "-o", "parent=eth1")
	var starts errgroup.Group
	began := time.Now()
	for _, h := range c.Hosts {
		for i := range each {
			starts.Go(func() error {
				_, err := h.Docker(c.t.Context(), sleeper("lan1", fmt.Sprintf("%s-%d", h.Name, i))...)
				return err
			})
		}
	}
	if err := starts.Wait(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Logf("%d containers have started in %s", each*len(c.Hosts), time.Since(began).Round(time.Millisecond))
	given := map[netip.Addr]string{}
	for _, h := range c.Hosts {
		for i := range each {
			name := fmt.Sprintf("%s-%d", h.Name, i)
			addr := c.address(h, "lan1", name)
			if foreign[addr] || given[addr] != "" {
				c.t.Errorf("%s is given %s, which another machine (%t) or container %q has", name, addr, foreign[addr], given[addr])
			}
			given[addr] = name
		}
	}
}
