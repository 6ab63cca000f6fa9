package docker_test

import (
	"testing"

	"gvlan/tests/lab"
)

// TestAskedAtOnce: Docker asks for a network and an address in the moment in
// which the agent's socket is there, also after a restart.
func TestAskedAtOnce(t *testing.T) {
	t.Parallel()
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			c := newBareCluster(t, options{hosts: lab.Same(1, release)})
			h := c.Hosts[0]
			c.agents[0] = c.agent(h, c.args...)
			h.MustDocker(t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.164.0.0/24", "-o", "parent=eth1", "lan1")
			h.MustDocker(t, sleeper("lan1", "one")...)
			if err := c.agents[0].Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.MustDocker(t, sleeper("lan1", "two")...)
			if err := c.agents[0].Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.MustDocker(t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.165.0.0/24", "-o", "parent=eth1", "lan2")
			if one, two := c.address(h, "lan1", "one"), c.address(h, "lan1", "two"); one == two {
				t.Errorf("%s was given twice", one)
			}
		})
	}
}
