package docker_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestHostAccess: a host and its own containers reach each other, both ways, and the
// LAN beside them sees one answer for each address; whatever is killed or lost. Off,
// nothing of it is left.
func TestHostAccess(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		c.scenario("on a network of the LAN's own", hostAccessOnLAN)
	})
}


// hostsAddresses are those of a host's card.
func hostsAddresses(h *lab.Host) []netip.Addr { return []netip.Addr{h.Addr4, h.Addr6} }

func hostAccessOnLAN(c *cluster) {
	c.network(c.Hosts[0], "lan", "-o", "parent=eth1", "-o", "host-access=on", "--ipv6",
		"--subnet", "10.99.0.0/24", "--ip-range", "10.99.0.64/26", "--gateway", "10.99.0.254",
		"--subnet", "fd99::/64", "--ip-range", "fd99::c0:0/112", "--gateway", "fd99::254")
	for _, h := range c.Hosts {
		c.run(h, "lan", "on-"+h.Name)
	}
	c.bothWays()
	c.oneAnswerEach()
}

// bothWays waits until each host and its container reach each other by ping, and by
// TCP and DNS.
func (c *cluster) bothWays() {
	c.t.Helper()
	for _, h := range c.Hosts {
		e := c.inspect(h, "lan", "on-"+h.Name)
		for _, text := range []string{e.IPAddress, e.GlobalIPv6Address} {
			addr := netip.MustParseAddr(text)
			eventually(c.t, h.Name+" to reach its container "+text, func() error { return c.ping(h, addr) })
		}
		for _, addr := range hostsAddresses(h) {
			eventually(c.t, "the container of "+h.Name+" to reach "+addr.String(), func() error {
				out, err := h.Docker(c.t.Context(), "exec", "on-"+h.Name, "ping", "-c", "1", "-w", "1", addr.String())
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
		}
	}
}

func (c *cluster) ping(h *lab.Host, addr netip.Addr) error {
	// Newer hosts have no ping: this machine's, on the host's network.
	out, err := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", h.PID), "ping", "-n", "-c", "1", "-w", "1", addr.String()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// oneAnswerEach asks the LAN for every address of hosts and containers: one answer
// each, by the port of the host that has it, also to who asks to speak from an
// address of its own.
func (c *cluster) oneAnswerEach() {
	c.t.Helper()
	for _, h := range c.Hosts {
		e := c.inspect(h, "lan", "on-"+h.Name)
		for _, addr := range append(hostsAddresses(h), netip.MustParseAddr(e.IPAddress), netip.MustParseAddr(e.GlobalIPv6Address)) {
			c.oneOwner(addr, h)
			if addr.Is4() {
				c.oneAnswerFor(addr, h)
			}
		}
	}
}

func (c *cluster) oneAnswerFor(addr netip.Addr, h *lab.Host) {
	c.t.Helper()
	eventually(c.t, "an answer for "+addr.String(), func() error {
		answers, err := c.WhoHasFor(c.t.Context(), addr, netip.MustParseAddr("10.99.0.240"))
		if err != nil || len(answers) == 0 {
			return fmt.Errorf("no answer: %w", err)
		}
		if len(answers) != 1 || answers[0].Port != c.LAN.Port(h.Machine) {
			c.t.Errorf("who has %s: %v, want one answer through %s", addr, answers, c.LAN.Port(h.Machine))
		}
		return nil
	})
}

var _ = context.Background
var _ = strings.Contains
