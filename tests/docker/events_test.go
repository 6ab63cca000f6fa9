package docker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestEvents: any host tells what happened on every host.
func TestEvents(t *testing.T) {
	onMixed(t, 2, func(c *cluster) {
		h1, h2 := c.Hosts[0], c.Hosts[1]
		c.network(h1, "lan1", "--subnet", "10.190.0.0/24", "-o", "parent=eth1")
		web := c.run(h2, "lan1", "web").String()
		h2.MustDocker(t, "rm", "-f", "web")
		given, released := "h2 given "+web+" web (lan1)", "h2 released "+web+" web (lan1)"
		c.happened(h1, []string{web}, given, released)
		c.happened(h1, []string{"web"}, given, released)
		c.happened(h1, []string{"--kind", "network-made"}, "h1 network-made lan1")

		if err := c.agents[1].Kill(); err != nil {
			t.Fatal(err)
		}
		c.happened(h1, []string{"--kind", "host-went"}, "h2 host-went without a word: it died, or is cut off from the store")
		c.agents[1] = c.startAgent(h2)
		c.waitTrusted(h2)
		if err := c.agents[1].Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.happened(h1, []string{"--kind", "host-went"}, "h2 host-went without a word: it died, or is cut off from the store", "h2 host-went its agent was stopped")
		c.agents[1] = c.startAgent(h2)

		h1.MustDocker(t, "network", "rm", "lan1")
		c.waitNoNetwork(h2, "lan1")
		c.happened(h2, []string{"--kind", "network-removed", "--network", "lan1"}, oneOf(h1, h2)+" network-removed lan1")
	})
}

// oneOf stands for any of these hosts.
func oneOf(hosts ...*lab.Host) string {
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	return strings.Join(names, "|")
}

// happened waits until `gvlan events` on a host says just that, in any order
// between hosts, and expects the same of its JSON.
func (c *cluster) happened(h *lab.Host, args []string, want ...string) {
	c.t.Helper()
	eventually(c.t, "gvlan events "+strings.Join(args, " ")+" to tell of "+strings.Join(want, "; "), func() error {
		out := c.gvlan(h, append([]string{"events"}, args...)...)
		lines := strings.Split(strings.TrimSpace(out), "\n")[1:]
		if len(lines) != len(want) {
			return fmt.Errorf("it says\n%s", out)
		}
		for i, line := range lines {
			_, said, _ := strings.Cut(strings.Join(strings.Fields(line), " "), " ") // after the time
			hosts, rest, _ := strings.Cut(want[i], " ")
			host, told, _ := strings.Cut(said, " ")
			if !strings.Contains("|"+hosts+"|", "|"+host+"|") || told != rest {
				return fmt.Errorf("it says %q, want %q, in\n%s", said, want[i], out)
			}
		}
		var all []struct{ Kind, Host string }
		if err := json.Unmarshal([]byte(c.gvlan(h, append([]string{"events", "--json"}, args...)...)), &all); err != nil || len(all) != len(want) {
			return fmt.Errorf("as JSON it tells %v, %w", all, err)
		}
		return nil
	})
}
