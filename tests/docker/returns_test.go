package docker_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// TestStoreReturns: all hosts of a cluster that keeps its own store lose their
// power at once and come back in any order. Each time three members vote in the
// end, and what is to run always runs.
func TestStoreReturns(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: lab.Same(3, lab.Docker28)})
	c.formed(c.Hosts...)
	c.network(c.Hosts[0], "lan1", "--subnet", "10.212.0.0/24", "-o", "parent=eth1")
	for i, h := range c.Hosts {
		c.run(h, "lan1", "fixed", "--restart", "always", "--ip", fmt.Sprintf("10.212.0.%d", 100+i))
		c.run(h, "lan1", "any", "--restart", "always")
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		var names []string
		for _, i := range order {
			names = append(names, c.Hosts[i].Name)
		}
		in := *c
		t.Run(strings.Join(names, " "), func(t *testing.T) {
			in.t = t
			in.outOfPower(order)
		})
	}
	c.lookThrough(c.Hosts[0])
	c.clear()
}

// outOfPower takes the power of all hosts and gives it back in an order.
func (c *cluster) outOfPower(order []int) {
	c.powerCut(c.Hosts...)
	var up sync.WaitGroup
	for _, i := range order {
		h := c.Hosts[i]
		if err := h.Boot(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		if err := c.agents[i].Start(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		c.waitMember(h) // it asks for the others before the next is there
		up.Go(func() { c.startEngineAfterAgent(h) })
	}
	up.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
	c.waitMembers(c.Hosts, 3, 0)
	for i, h := range c.Hosts {
		eventually(c.t, "the containers of "+h.Name, func() error {
			if got := c.running(h); len(got) != 2 || !strings.HasPrefix(got[0], "any 10.212.0.") || got[1] != fmt.Sprintf("fixed 10.212.0.%d", 100+i) {
				return fmt.Errorf("running are %v", got)
			}
			return nil
		})
	}
	c.lookThrough(c.Hosts[order[0]])
	c.audit()
	c.alone(c.Hosts...)
}

// waitMember waits until the member of a host takes connections, with or without
// the others.
func (c *cluster) waitMember(h *lab.Host) {
	c.t.Helper()
	eventually(c.t, "the member of "+h.Name, func() error {
		conn, err := (&net.Dialer{}).DialContext(c.t.Context(), "unix", h.Path("/var/lib/gvlan/etcd/client.sock"))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// startEngineAfterAgent starts dockerd as the units do: when the agent has its
// store, or has waited for it long enough.
func (c *cluster) startEngineAfterAgent(h *lab.Host) {
	const bootWait = 90 * time.Second
	for end := time.Now().Add(bootWait); !c.status(h).Etcd.Trusted && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := h.Engine.Start(ctx); err != nil {
		c.t.Error(err)
	}
}
