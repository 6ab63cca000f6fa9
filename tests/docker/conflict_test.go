package docker_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestTheLANIsAsked: what somebody on the LAN has who is not gvlan's no container
// is given, and people are told who it is.
func TestTheLANIsAsked(t *testing.T) {
	onBoth(t, 3, func(c *cluster) {
		c.scenario("a device has an address", aDeviceHasAnAddress)
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
