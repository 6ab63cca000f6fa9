package docker_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// TestRestartAlways: dockerd is killed again and again, at any moment after its
// containers ran. Each time all of them are back, those with an address of their
// own have it, and no lease was lost, doubled or leaked.
func TestRestartAlways(t *testing.T) {
	containers, kills := 10, 3
	if os.Getenv("GVLAN_SOAK") != "" {
		containers, kills = 50, 20
	}
	onBoth(t, 2, func(c *cluster) {
		c.scenario("dockerd killed at any moment", func(c *cluster) { killedAtRandom(c, containers, kills) })
	})
}

// breath is how long dockerd goes on at most between two kills.
const breath = 3 * time.Second

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
		if err := h1.Engine.Start(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		eventually(c.t, "all containers of "+h1.Name+" with an address", func() error {
			got := c.running(h1)
			if !sameContainers(want, got, false) || slices.ContainsFunc(got, func(line string) bool { return len(strings.Fields(line)) < 2 }) {
				return fmt.Errorf("running are %v, want %v", got, want)
			}
			return nil
		})
		time.Sleep(time.Duration(r.Int64N(int64(breath))))
	}
	on := map[netip.Addr]*lab.Host{}
	for _, h := range []*lab.Host{h1, h2} {
		for _, line := range c.running(h) {
			words := strings.Fields(line)
			if len(words) < 2 {
				c.t.Fatalf("%q on %s has no address", line, h.Name)
			}
			addr := netip.MustParseAddr(words[1])
			if want, ok := asked[words[0]]; ok && addr != want {
				c.t.Errorf("%s has %s, want its --ip %s", words[0], addr, want)
			}
			if on[addr] != nil {
				c.t.Errorf("%s on %s has the address %s, which one on %s has", words[0], h.Name, addr, on[addr].Name)
			}
			on[addr] = h
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
