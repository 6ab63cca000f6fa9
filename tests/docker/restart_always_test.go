package docker_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// TestRestartAlways: dockerd is killed again and again, also while it is still
// starting its containers. In the end each of them runs, those with an address of
// their own have it, and no lease was lost, doubled or leaked.
func TestRestartAlways(t *testing.T) {
	containers, kills := 10, 3
	if os.Getenv("GVLAN_SOAK") != "" {
		containers, kills = 50, 20
	}
	onBoth(t, 2, func(c *cluster) {
		c.scenario("dockerd killed at any moment", func(c *cluster) { killedAtRandom(c, containers, kills) })
	})
}

// startingUp is how long a dockerd takes at most until its containers run.
const startingUp = 3 * time.Second

func killedAtRandom(c *cluster, containers, kills int) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	seed := rand.Uint64()
	c.t.Logf("the moments follow from seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	c.network(h1, "lan1", "--subnet", "10.75.0.0/24", "-o", "parent=eth1")
	c.waitNetwork(h2, "lan1")
	asked := map[string]netip.Addr{}
	for i := range containers {
		name, flags := fmt.Sprintf("c%d", i), []string{"--restart", "always"}
		if i%2 == 0 {
			asked[name] = netip.AddrFrom4([4]byte{10, 75, 0, byte(100 + i)})
			flags = append(flags, "--ip", asked[name].String())
		}
		c.run(h1, "lan1", name, flags...)
	}
	want := c.running(h1)
	for i := range kills {
		c.t.Logf("kill %d", i+1)
		if err := h1.Engine.Kill(); err != nil {
			c.t.Fatal(err)
		}
		c.run(h2, "lan1", fmt.Sprintf("other%d", i)) // takes what seems free
		if err := h1.Engine.Launch(); err != nil {
			c.t.Fatal(err)
		}
		time.Sleep(time.Duration(r.Int64N(int64(startingUp))))
	}
	c.awaitEngine(h1)
	eventually(c.t, "all containers of "+h1.Name, func() error {
		if got := c.running(h1); !sameContainers(want, got, false) {
			return fmt.Errorf("running are %v, want %v", got, want)
		}
		return nil
	})
	on := map[netip.Addr]*lab.Host{}
	for _, line := range c.running(h1) {
		var name, text string
		if _, err := fmt.Sscan(line, &name, &text); err != nil {
			c.t.Fatalf("%q tells no address: %v", line, err)
		}
		addr := netip.MustParseAddr(text)
		if want, ok := asked[name]; ok && addr != want {
			c.t.Errorf("%s has %s, want its --ip %s", name, addr, want)
		}
		if on[addr] != nil {
			c.t.Errorf("%s has the address %s, which another one has", name, addr)
		}
		on[addr] = h1
	}
	for _, line := range c.running(h2) {
		var name, text string
		if _, err := fmt.Sscan(line, &name, &text); err != nil {
			c.t.Fatalf("%q tells no address: %v", line, err)
		}
		if addr := netip.MustParseAddr(text); on[addr] != nil {
			c.t.Errorf("%s on %s has the address %s of a container of %s", name, h2.Name, addr, h1.Name)
		} else {
			on[addr] = h2
		}
	}
	c.allOwned(on)
	held := c.leased()
	for addr := range on {
		if !slices.Contains(held, addr) {
			c.t.Errorf("%s is in use, and no lease says so", addr)
		}
	}
}
