package docker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// TestAudits plants what should not be, and types `gvlan audit`.
func TestAudits(t *testing.T) {
	onMixed(t, 2, func(c *cluster) {
		c.scenario("faults are found and repaired", auditFaults)
		c.scenario("nothing is found under load", auditLoad)
		c.scenario("answers of the LAN that do not fit", auditLAN)
	})
}

// audited is `gvlan audit --json`.
type audited struct {
	Findings []struct {
		Kind, Key, What, Link, Address, Host, Why, Outcome, Failed string
		Repairable                                                 bool
	}
	Unasked []string
}

// auditOn runs an audit on a host, which exits with 3 exactly when it found
// something.
func (c *cluster) auditOn(h *lab.Host, flags ...string) (a audited, err error) {
	cmd := h.Command(c.t.Context(), c.binary, append([]string{"audit", "--json"}, flags...)...)
	out, err := cmd.Output()
	status := cmd.ProcessState.ExitCode()
	if status != 0 && status != 3 {
		return a, fmt.Errorf("gvlan audit on %s: %w, it prints %q", h.Name, err, out)
	}
	if err := json.Unmarshal(out, &a); err != nil {
		return a, fmt.Errorf("exit status %d: %w in %q", status, err, out)
	}
	if (status == 3) != (len(a.Findings) > 0) {
		return a, fmt.Errorf("exit status %d with %d findings", status, len(a.Findings))
	}
	return a, nil
}

// faults are one record each, by what an audit calls them. Every try plants them
// of a node of its own: what it finds depends on nobody's having looked before.
func faults(c *cluster, try int) map[string][2]string {
	ghost, lost := fmt.Sprintf("ghost-%d", try), fmt.Sprintf("00000000-0000-0000-0000-%012d", try)
	at := func(address string) string { return store.LeaseKey("default", netip.MustParseAddr(address)) }
	leased := func(node, endpoint string) string {
		return string(store.Encode(store.Lease{State: store.Leased, Kind: store.Dynamic, Node: node, Nonce: "0123456789abcdef", Endpoint: endpoint, Since: 1}))
	}
	subnet := netip.MustParsePrefix("172.30.0.0/16")
	return map[string][2]string{
		"lease 1":       {at("10.190.0.200"), leased(ghost, "")},
		"lease 2":       {at("10.190.0.201"), leased(ghost, strings.Repeat("e", 64))},
		"outside 3":     {at("10.199.0.1"), leased(ghost, "")},
		"endpoint 4":    {store.EndpointKey(ghost, "e4"), string(store.Encode(store.Endpoint{Endpoint: "e4", Node: ghost, Segment: "default", IPv4: "10.190.0.204/24"}))},
		"quarantine 5":  {at("10.190.0.205"), string(store.Encode(store.Lease{State: store.Quarantined, Node: ghost + "-q", Since: 1}))},
		"mac 6":         {store.MACKey("default", "02:00:00:00:00:99"), string(store.Encode(store.MAC{Node: c.Hosts[0].Name, Endpoint: "e6"}))},
		"reservation 7": {at("10.190.0.207"), string(store.Encode(store.Lease{State: store.Reserved, By: []string{lost}}))},
		"reservation 8": {at("10.190.0.208"), string(store.Encode(store.Lease{State: store.Reserved, By: []string{"pool:0123456789abcdef@" + ghost}}))},
		"subnet 9":      {store.DefaultPoolKey(subnet), string(store.Encode(store.DefaultPool{Subnet: subnet.String(), By: []string{lost}}))},
		"rest 10":       {store.CooldownKey("default", netip.MustParseAddr("10.190.0.210")), string(store.Encode(store.Cooldown{Since: 1}))},
		"node 11":       {store.NodeKey(ghost), string(store.Encode(store.Node{Node: ghost, Host: ghost}))},
		"node 12":       {store.RefsKey(ghost), string(store.Encode(store.Refs{Networks: map[string][]string{lost: {"web"}}}))},
	}
}

// auditFaults: each fault is found and repaired, also links that nobody has, and
// what is well is left alone.
func auditFaults(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan", "--subnet", "10.190.0.0/24", "--ip-range", "10.190.0.0/25", "-o", "parent=eth1")
	web, db := c.run(h1, "lan", "web", "--mac-address", "02:00:00:00:00:98"), c.run(h2, "lan", "db")
	c.audit()
	for _, h := range c.Hosts {
		if a, err := c.auditOn(h); err != nil || len(a.Findings) > 0 || len(a.Unasked) > 0 {
			c.t.Fatalf("before anything is planted an audit on %s finds %+v, %v", h.Name, a, err)
		}
	}
	var found audited
	try := 0
	ghosts := map[string]bool{}
	eventually(c.t, "an audit that finds each fault", func() (err error) {
		// The agents themselves take away links of nobody every 20 s, and once after
		// their start look for addresses that an older gvlan had rest.
		try++
		want := []string{"link gvl9"}
		for name, record := range faults(c, try) {
			if _, err := c.store.Put(c.t.Context(), prefix+record[0], record[1]); err != nil {
				return err
			}
			ghosts[record[0]] = true
			want = append(want, strings.Fields(name)[0]+" "+record[0])
		}
		_, _ = h1.Exec(c.t.Context(), "sh", "-c", "ip link add gvl9 link eth1 type macvlan mode bridge; ip link set gvl9 alias gvlan:gvlan:macvlan:ghost")
		if found, err = c.auditOn(h1); err != nil {
			return err
		}
		var told []string
		for _, f := range found.Findings {
			told = append(told, f.Kind+" "+f.Key+f.Link)
		}
		for _, w := range want {
			if !slices.Contains(told, w) {
				return fmt.Errorf("%s is not among %q", w, told)
			}
		}
		return nil
	})
	repaired, err := c.auditOn(h1, "--repair")
	if err != nil || len(repaired.Findings) < len(ghosts) {
		c.t.Fatalf("the repair finds %d, %v", len(repaired.Findings), err)
	}
	for _, f := range repaired.Findings {
		if f.Outcome != "repaired" && f.Link == "" { // a link may be swept beside it
			c.t.Errorf("%s %s: outcome %q %s (%s)", f.Kind, f.What, f.Outcome, f.Failed, f.Why)
		}
	}
	for _, h := range c.Hosts {
		if a, err := c.auditOn(h); err != nil || len(a.Findings) > 0 {
			c.t.Errorf("after the repair an audit on %s finds %+v, %v", h.Name, a, err)
		}
	}
	for key := range ghosts { // what rests does so for ten minutes
		if _, err := c.store.Delete(c.t.Context(), prefix+key); err != nil {
			c.t.Fatal(err)
		}
	}
	c.reaches(h1, "web", db)
	c.reaches(h2, "db", web)
	if out := c.gvlan(h1, "events", "--kind", "repaired"); !strings.Contains(out, "10.190.0.200") {
		c.t.Errorf("the repairs are no events: %s", out)
	}
}

// auditLoad: while containers and networks come and go on both hosts, audits on
// both find nothing.
func auditLoad(c *cluster) {
	const rounds, beside = 4, 3
	h1 := c.Hosts[0]
	c.network(h1, "lan", "--subnet", "10.191.0.0/24", "-o", "parent=eth1", "--ipam-opt", "cooldown=1s")
	var busy, looking errgroup.Group
	var ended atomic.Bool
	for i, h := range c.Hosts {
		for j := range beside {
			busy.Go(func() error {
				for round := range rounds {
					name := fmt.Sprintf("c%d-%d", j, round)
					flags := []string{}
					if j == 0 {
						flags = append(flags, "--mac-address", fmt.Sprintf("02:00:00:00:%02x:%02x", i, round))
					}
					if _, err := h.Docker(c.t.Context(), sleeper("lan", name, flags...)...); err != nil {
						return err
					}
					if _, err := h.Docker(c.t.Context(), "rm", "-f", name); err != nil {
						return err
					}
				}
				return nil
			})
		}
		busy.Go(func() error {
			for round := range rounds {
				name := fmt.Sprintf("own-%d-%d", i, round)
				create := []string{"network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "-o", "parent=eth1", name}
				if _, err := h.Docker(c.t.Context(), create...); err != nil {
					return err
				}
				if _, err := h.Docker(c.t.Context(), "network", "rm", name); err != nil {
					return err
				}
			}
			return nil
		})
		looking.Go(func() error {
			for looks := 0; looks == 0 || !ended.Load(); looks++ {
				var flags []string
				if looks%2 == 1 {
					flags = append(flags, "--probe")
				}
				a, err := c.auditOn(h, flags...)
				if err != nil {
					return err
				}
				if len(a.Findings) > 0 {
					return fmt.Errorf("an audit on %s finds %+v", h.Name, a.Findings)
				}
			}
			return nil
		})
	}
	err := busy.Wait()
	ended.Store(true)
	if err := errors.Join(err, looking.Wait()); err != nil {
		c.t.Error(err)
	}
}

// auditLAN: another machine has an address that nobody has in the store, and one
// that a container has.
func auditLAN(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan", "--subnet", "10.192.0.0/24", "--ip-range", "10.192.0.0/26", "-o", "parent=eth1")
	web := c.run(h2, "lan", "web")
	c.audit()
	for _, h := range c.Hosts {
		if a, err := c.auditOn(h, "--probe"); err != nil || len(a.Findings) > 0 || len(a.Unasked) > 0 {
			c.t.Fatalf("before another machine comes an audit on %s finds %+v, %v", h.Name, a, err)
		}
	}
	taken := []string{"10.192.0.20", web.String()}
	for _, addr := range taken {
		c.joinLAN(addr + "/24")
		defer c.Peer.MustExec(c.t, "ip", "addr", "del", addr+"/24", "dev", "eth1")
	}
	for _, h := range c.Hosts {
		a, err := c.auditOn(h, "--probe")
		if err != nil {
			c.t.Fatal(err)
		}
		var told []string
		for _, f := range a.Findings {
			told = append(told, f.Kind+" "+f.Address)
		}
		slices.Sort(told)
		want := []string{"lan " + taken[0], "lan " + taken[1]}
		slices.Sort(want)
		if !slices.Equal(told, want) {
			c.t.Errorf("an audit on %s finds %q, want %q", h.Name, told, want)
		}
	}
}
