package swarm_test

import (
	"fmt"
	"slices"
	"strings"
)

// namesOfServices: a task is in the names of its service from when it is
// healthy until it is stopped, before its grace period, as on an overlay
// network; its own name stays.
func namesOfServices(c *cluster) {
	from := c.tasksOf("web")[0]

	c.service("checked", "lan", 1, "--endpoint-mode", "dnsrr", "--health-cmd", "test -e /tmp/healthy",
		"--health-interval", "1s", "--health-start-period", "10m", "--health-retries", "1000")
	c.settled("checked", 1)
	one := c.tasksOf("checked")[0]
	c.named(from, one.name, one.addr.String())
	// In full: what gvlan does not know of a short name, Docker's resolver asks the world about.
	for _, name := range []string{"checked.lan.gvlan.internal", "tasks.checked.lan.gvlan.internal"} {
		if got := must(c.lookup(from, name))(c.t); len(got) > 0 {
			c.t.Errorf("%s is %v before its task is healthy", name, got)
		}
	}
	one.host.MustDocker(c.t, "exec", one.name, "touch", "/tmp/healthy")
	c.named(from, "checked", one.addr.String())
	c.named(from, "tasks.checked", one.addr.String())
	c.ask.MustDocker(c.t, "service", "rm", "checked")

	// These end when they are killed.
	c.ask.MustDocker(c.t, "service", "create", "--detach", "--no-resolve-image", "--name", "slow", "--network", "lan", "--replicas", "3",
		"--endpoint-mode", "dnsrr", "--stop-grace-period", "1h", "busybox", "sh", "-c", `trap "" TERM; while :; do sleep 1; done`)
	c.settled("slow", 3)
	all := c.tasksOf("slow")
	c.named(from, "slow", all[0].addr.String(), all[1].addr.String(), all[2].addr.String())
	c.scale("slow", 1)
	eventually(c.t, "slow to be one task", func() error {
		got, err := c.lookup(from, "slow")
		if err == nil && len(got) != 1 {
			err = fmt.Errorf("it is %v", got)
		}
		return err
	})
	if running := c.tasksOf("slow"); len(running) != 3 {
		c.t.Errorf("%d tasks run in the grace period, want 3", len(running))
	}
	left := must(c.lookup(from, "slow"))(c.t)
	for _, x := range all {
		c.named(from, x.name, x.addr.String())
		if !slices.Contains(left, x.addr.String()) {
			x.host.MustDocker(c.t, "kill", x.name)
		}
	}
	c.ask.MustDocker(c.t, "service", "rm", "slow")
	for _, x := range all {
		if slices.Contains(left, x.addr.String()) {
			x.host.MustDocker(c.t, "kill", x.name)
		}
	}
	c.audit()
}

// named waits until a name is exactly these addresses.
func (c *cluster) named(from container, name string, want ...string) {
	c.t.Helper()
	slices.Sort(want)
	eventually(c.t, fmt.Sprintf("%s to be %v", name, want), func() error {
		got, err := c.lookup(from, name)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("it is %v", got)
		}
		return err
	})
}

// lookup returns the addresses that a name has in a container, sorted.
func (c *cluster) lookup(from container, name string) (addrs []string, err error) {
	out, err := from.host.Docker(c.t.Context(), "exec", from.name, "sh", "-c", "nslookup "+name+" 2>&1; echo asked")
	if err == nil && (!strings.Contains(out, "127.0.0.11") || !strings.Contains(out, "asked")) {
		err = fmt.Errorf("nslookup %s prints %q", name, out)
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[0], "Address") {
			if addr := fields[len(fields)-1]; !strings.Contains(addr, "127.0.0.11") {
				addrs = append(addrs, addr)
			}
		}
	}
	slices.Sort(addrs)
	return addrs, nil
}
