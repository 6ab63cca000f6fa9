package docker_test

import (
	"fmt"
	"strings"

	"gvlan/tests/lab"
)

// leaseReserved keeps addresses for a container and from all of them: on both hosts,
// through its stops and starts, and where hardly any other is left.
func leaseReserved(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.192.0.0/24", "--ip-range", "10.192.0.16/29", "--gateway", "10.192.0.254", "-o", "parent=eth1")
	c.waitNetwork(h2, "lan1")
	const mac = "02:00:5e:00:53:10"
	c.says(c.gvlan(h1, "reserve", "lan1", "10.192.0.16", "--for", "web", "--mac", mac, "--note", "rule 12"), "10.192.0.16 of lan1 for container web: 1 address is reserved")
	c.says(c.gvlan(h1, "reserve", "lan1", "10.192.0.17-10.192.0.19", "--note", "printers"), "10.192.0.17-10.192.0.19 of lan1: 3 addresses are reserved")
	c.says(c.gvlan(h1, "reserve", "lan1", "10.192.0.16", "--for", "web", "--mac", mac, "--note", "rule 13"), "10.192.0.16 of lan1 for container web: 1 address is changed, and had MAC address "+mac+` and note "rule 12"`)
	c.refuses(h1, "is reserved for container web on network lan1 (rule 13)", "reserve", "lan1", "10.192.0.15-10.192.0.20")
	c.refuses(h2, "is the gateway of network lan1", "reserve", "lan1", "10.192.0.254")
	c.refuses(h2, "lies in no subnet of network lan1: those are 10.192.0.0/24", "reserve", "lan1", "10.193.0.1")

	web := func(h *lab.Host) error {
		if e := c.inspect(h, "lan1", "web"); e.IPAddress != "10.192.0.16" || e.MacAddress != mac {
			return fmt.Errorf("web on %s has %s and %s", h.Name, e.IPAddress, e.MacAddress)
		}
		return nil
	}
	has := func(h *lab.Host, when string) {
		c.t.Helper()
		if err := web(h); err != nil {
			c.t.Errorf("%s: %v", when, err)
		}
	}
	c.refused(h2, "is reserved for container web on network lan1 (rule 13)", sleeper("lan1", "thief", "--ip", "10.192.0.16")...)
	c.refused(h2, "is reserved on network lan1 (printers)", sleeper("lan1", "thief2", "--ip", "10.192.0.18")...)
	h2.MustDocker(c.t, "rm", "thief", "thief2")
	if other := c.run(h2, "lan1", "other"); other.String() != "10.192.0.20" {
		c.t.Errorf("another container is given %s, want 10.192.0.20", other)
	}
	c.run(h2, "lan1", "web")
	has(h2, "started without --ip")
	h2.MustDocker(c.t, "restart", "web")
	has(h2, "restarted")
	h2.MustDocker(c.t, "stop", "web")
	h2.MustDocker(c.t, "start", "web")
	has(h2, "stopped and started")
	c.refused(h1, "is reserved for container web on network lan1 (rule 13)", sleeper("lan1", "thief", "--ip", "10.192.0.16")...)
	h1.MustDocker(c.t, "rm", "thief")
	h2.MustDocker(c.t, "rm", "-f", "web")
	c.run(h1, "lan1", "web", "--ip", "10.192.0.16")
	has(h1, "made on the other host with --ip")
	h1.MustDocker(c.t, "rm", "-f", "web")
	c.refused(h1, "--mac-address 02:00:5e:00:53:11: address 10.192.0.16 is reserved for container web", sleeper("lan1", "web", "--mac-address", "02:00:5e:00:53:11", "--ip", "10.192.0.16")...)
	h1.MustDocker(c.t, "rm", "web")

	for i := range 3 {
		c.run(h1, "lan1", fmt.Sprintf("full%d", i))
	}
	c.refused(h2, "4 reserved by operators", sleeper("lan1", "more")...)
	h2.MustDocker(c.t, "rm", "more")
	c.run(h1, "lan1", "web")
	has(h1, "made where nothing else is left")
	eventually(c.t, "h2 to list it", func() error {
		out := strings.Join(strings.Fields(c.gvlan(h2, "lease", "ls", "--network", "lan1")), " ")
		for _, want := range []string{"10.192.0.16 lan1 web h1 leased", "10.192.0.17 lan1 - - reserved", "10.192.0.18 lan1 - - reserved"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("no %q in %s", want, out)
			}
		}
		return nil
	})
	c.says(c.gvlan(h2, "whois", "10.192.0.17"), "state reserved: no container is given it", "reserved for nobody (printers)")
	c.says(c.gvlan(h2, "whois", "10.192.0.16"), "state leased", "reserved for container web, with MAC address "+mac+" (rule 13)")
	c.says(c.gvlan(h2, "pool", "ls"), "lan1 10.192.0.0/24 8 5 0 0 3")
	c.says(c.gvlan(h2, "unreserve", "lan1", "10.192.0.17-10.192.0.18"), "10.192.0.17-10.192.0.18 of lan1: 2 addresses are reserved no more")
	if more := c.run(h2, "lan1", "more"); more.String() != "10.192.0.17" {
		c.t.Errorf("after the end of its reservation %s is given, want 10.192.0.17", more)
	}
}
