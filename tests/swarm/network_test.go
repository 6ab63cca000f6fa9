package swarm_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// stackDeployed plays the stack file of deploy/examples as it is, with the
// commands that stand in it.
func stackDeployed(c *cluster) {
	const example = "../../deploy/examples/stack.yml"
	if err := copyFile(example, filepath.Join(c.Dir, "stack.yml"), 0o644); err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(must(os.ReadFile(example))(c.t))) {
		if command, ok := strings.CutPrefix(line, "#   docker "); ok {
			c.ask.MustExec(c.t, "sh", "-c", "cd "+c.Dir+" && docker "+command)
		}
	}
	c.settled("shop_web", 3)
	c.settled("shop_client", 1)
	client := c.tasksOf("shop_client")[0]
	for _, name := range []string{"web", "shop_web"} {
		if page := client.host.MustDocker(c.t, "exec", client.name, "wget", "-q", "-O", "-", "http://"+name+"/"); page != "hello" {
			c.t.Errorf("%s says %q, want hello", name, page)
		}
	}
	for _, x := range c.tasksOf("shop_web") {
		if first := netip.MustParseAddr("192.168.33.100"); x.addr.Less(first) {
			c.t.Errorf("%s has %s, which is excluded", x.name, x.addr)
		}
	}
	c.ask.MustDocker(c.t, "stack", "rm", "shop")
	c.gone("office")
	c.audit()
}

// parentFile: the path is the host's, in any folder, and every host has its
// own file behind it.
func parentFile(c *cluster) {
	const path = "/srv/our site/parents.toml"
	for i, text := range []string{`parent = "eth1"`, "[macvlan]\nparent = [\"eth7\", \"eth1\"]\n", "nic3\n"} {
		if err := c.Hosts[i].WriteFile(path, []byte(text)); err != nil {
			c.t.Fatal(err)
		}
	}
	c.network("filed", "10.90.0.0/24", "-o", "parent-file="+path)
	c.service("filed", "filed", 3, "--endpoint-mode", "dnsrr", "--placement-pref", "spread=node.id")
	c.settled("filed", 3)
	for i, card := range []string{"eth1", "eth1", "nic3"} {
		eventually(c.t, fmt.Sprintf("filed on %s of %s", card, c.Hosts[i].Name), func() error {
			s, err := c.status(c.Hosts[i], "--swarm")
			for _, n := range s.Networks {
				if n.Name == "filed" && n.Parent == card && n.Endpoints == 1 {
					return nil
				}
			}
			return fmt.Errorf("status: %+v, %w", s.Networks, err)
		})
	}
	tasks := c.tasksOf("filed")
	for _, to := range tasks {
		c.reaches(tasks[0], to.addr.String())
	}
	c.ask.MustDocker(c.t, "service", "rm", "filed")
	c.gone("filed")
	c.audit()
}

// auxAddress: Docker drops it before anybody hears of it, and whoever leads
// says so where nothing is excluded instead.
func auxAddress(c *cluster) {
	c.network("aux", "10.91.0.0/24", "--gateway", "10.91.0.1", "--aux-address", "nas=10.91.0.2", "-o", parents)
	c.logged(c.leader(), "swarm drops --aux-address", "network=aux")
	c.gone("aux")
	c.audit()
}

// gone removes a network as soon as its last task is gone.
func (c *cluster) gone(network string) {
	c.t.Helper()
	eventually(c.t, "network "+network+" to go", func() error {
		_, err := c.ask.Docker(c.t.Context(), "network", "rm", network)
		if err != nil && strings.Contains(err.Error(), "not found") {
			err = nil
		}
		return err
	})
}
