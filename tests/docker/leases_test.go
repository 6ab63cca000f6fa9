package docker_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// TestLeaseCommands asks for addresses as operators do.
func TestLeaseCommands(t *testing.T) {
	onMixed(t, 2, func(c *cluster) {
		c.scenario("whois", leaseWhois)
		c.scenario("lease ls, show, release; pool ls", leaseRecords)
		c.scenario("reserve, unreserve", leaseReserved)
	})
}

// leaseWhois finds a container by all it has from the other host, says who had its
// address before, and hears of whoever is on the LAN without gvlan.
func leaseWhois(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.190.0.0/24", "--gateway", "10.190.0.254", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web", "--network-alias", "www")
	mac := c.inspect(h1, "lan1", "web").MacAddress
	for _, of := range []string{web.String(), mac, "web", "www"} {
		eventually(c.t, "h2 to know "+of, func() error {
			out, err := h2.Exec(c.t.Context(), c.binary, "whois", of)
			for _, want := range []string{"address " + web.String(), "state leased", "network lan1", "container web (", "host h1", "mac " + mac, "parent eth1"} {
				if err == nil && !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
					err = fmt.Errorf("whois %s says\n%s\nwant %q", of, out, want)
				}
			}
			return err
		})
	}
	h1.MustDocker(c.t, "rm", "-f", "web")
	eventually(c.t, "h2 to know who had the address", func() error {
		out, err := h2.Exec(c.t.Context(), c.binary, "whois", web.String())
		said := strings.Join(strings.Fields(out), " ")
		if err != nil {
			return err
		}
		if !strings.Contains(said, "state free") || !strings.Contains(said, "lan nobody answers on the LAN at eth1") || !strings.Contains(said, "before web on h1, from") {
			return fmt.Errorf("it says\n%s", out)
		}
		return nil
	})

	h2.MustExec(c.t, "sh", "-ec", `ip netns add stranger
		ip link add link eth1 name stranger netns stranger address 02:99:00:00:00:07 type macvlan mode bridge
		ip -n stranger address add 10.190.0.77/24 dev stranger
		ip -n stranger link set stranger up`)
	defer h2.MustExec(c.t, "ip", "netns", "delete", "stranger")
	c.says(c.gvlan(h1, "whois", "10.190.0.77"), "address 10.190.0.77", "state free", "network lan1",
		"lan nobody of ours, but MAC 02:99:00:00:00:07 answers on the LAN at eth1")
	c.says(c.gvlan(h1, "whois", "10.99.0.2"), "state a host's own: it is of an interface of host h2")
	c.says(c.gvlan(h1, "whois", "10.190.0.254"), "state gateway of the network", "network lan1", "lan nobody answers on the LAN at eth1")
	c.says(c.gvlan(h1, "whois", "h2"), "host h2", "state ready, 0 containers on gvlan's networks")
	c.refuses(h1, "no address, container, host or network here is called nobody-at-all", "whois", "nobody-at-all")
}

// leaseRecords lists what has a record, and frees what nobody has.
func leaseRecords(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.191.0.0/24", "--ip-range", "10.191.0.16/28", "--gateway", "10.191.0.254", "--ipam-opt", "exclude=10.191.0.30-10.191.0.31", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	lost := netip.MustParseAddr("10.191.0.29")
	if _, err := c.store.Put(c.t.Context(), prefix+store.LeaseKey(pool.DefaultSegment, lost), string(store.Encode(store.Lease{State: store.Leased, Node: "scrapped", Nonce: "ab"}))); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "h2 to list what there is", func() error {
		out := strings.Join(strings.Fields(c.gvlan(h2, "lease", "ls")), " ")
		for _, want := range []string{web.String() + " lan1 web h1 leased", lost.String() + " - - scrapped starting", "10.191.0.254 lan1 - - gateway"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("no %q in %s", want, out)
			}
		}
		return nil
	})
	if out := c.gvlan(h2, "lease", "ls", "-q", "--network", "lan1", "--node", "h1"); out != web.String() {
		c.t.Errorf("lease ls -q of h1 says %q, want %s", out, web)
	}
	c.says(c.gvlan(h2, "lease", "show", web.String()), "container web (", "key "+store.LeaseKey(pool.DefaultSegment, web), "revision ", "record state lease, kind dynamic, node h1")
	c.says(c.gvlan(h2, "pool", "ls"), "NETWORK SUBNET SIZE USED FREE RESTING RESERVED", "lan1 10.191.0.0/24 16 2 12 0 2")
	c.refuses(h2, "container web on host h1 has it", "lease", "release", "--force", web.String())
	c.refuses(h2, "gvlan network rm lan1", "lease", "release", "10.191.0.254")
	c.refuses(h2, "has no lease", "lease", "release", "10.191.0.20")
	if out := c.gvlan(h2, "lease", "release", lost.String()); out != lost.String() {
		c.t.Errorf("lease release prints %q", out)
	}
	c.refuses(h2, "has no lease", "lease", "show", lost.String())
}
