package docker_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// recordsVanish: somebody deletes records of a running container by hand. They
// are written again before anybody is given the address; where somebody was
// faster, because no agent looked, the later one is silenced and told of.
func recordsVanish(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.95.0.0/24", "-o", "parent=eth1", "--ipam-opt", "probe=off") // else api is refused: web answers
	web := c.run(h1, "lan1", "web")
	c.waitNetwork(h2, "lan1")
	c.audit()
	c.delete(store.LeaseKey("default", web), store.LeaseKey("default", netip.MustParseAddr("10.95.0.1")))
	c.deleteAll(store.NodeEndpointsSpan(h1.Name))
	c.audit()
	c.refused(h2, "in use by container web on node h1", "run", "--rm", "--network", "lan1", "--ip", web.String(), "busybox", "true")
	c.refused(h2, "10.95.0.1 is the gateway", "run", "--rm", "--network", "lan1", "--ip", "10.95.0.1", "busybox", "true")

	if err := c.agents[0].Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.delete(store.LeaseKey("default", web))
	c.run(h2, "lan1", "api", "--ip", web.String())
	c.startAgain(0)
	told := "address " + web.String() + " of container web is in use by container api on node h2 (network lan1) as well: its link here is down"
	eventually(c.t, "the status of h1 to tell", func() error {
		if all := c.status(h1).Warnings; !slices.ContainsFunc(all, func(w string) bool { return strings.Contains(w, told) }) {
			return fmt.Errorf("warnings are %q, want one with %q", all, told)
		}
		return nil
	})
	if c.linkUp(h1, "web") {
		c.t.Error("the link of web on h1 is up: two containers answer for one address")
	}
	h1.MustDocker(c.t, "rm", "-f", "web")
	c.oneOwner(web, h2)
	c.audit()
	if all := c.status(h1).Warnings; len(all) != 0 {
		c.t.Errorf("warnings %q, want none", all)
	}
}

// linkUp reports whether a container's first link is up, by its own words.
func (c *cluster) linkUp(h *lab.Host, name string) bool {
	c.t.Helper()
	flags, _, _ := strings.Cut(h.MustDocker(c.t, "exec", name, "ip", "link", "show", "eth0"), ">")
	return strings.Contains(flags, ",UP") || strings.Contains(flags, "<UP")
}

// delete removes keys from etcd by hand.
func (c *cluster) delete(keys ...string) {
	c.t.Helper()
	for _, key := range keys {
		if resp, err := c.store.Delete(c.t.Context(), prefix+key); err != nil || resp.Deleted != 1 {
			c.t.Fatalf("delete %s: %+v %v", key, resp, err)
		}
	}
}

func (c *cluster) deleteAll(span store.Span) {
	c.t.Helper()
	for _, it := range c.list(span) {
		c.delete(it.Key)
	}
}
