package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"gvlan/tests/lab"
)

// play shows every step; the first that does not go as it should ends it.
func (d *demo) play() error {
	for _, step := range []func() error{d.agents, d.network, d.containers, d.names, d.leases, d.duplicate, d.remove} {
		if err := step(); err != nil {
			d.explain()
			return err
		}
	}
	return nil
}

// agents starts both agents, has the first one's host begin a cluster and the
// second join it with the line that the first one printed.
func (d *demo) agents() error {
	say("Each host runs an agent, and shares nothing with others yet.")
	for _, h := range d.Hosts {
		if _, err := d.agent(h); err != nil {
			return err
		}
		if err := d.ready(h); err != nil {
			return err
		}
	}
	say("One of them begins a cluster, and says how others join it.")
	out, err := d.do(d.h1, "gvlan", "init")
	if err != nil {
		return err
	}
	join, err := joinLine(out)
	if err != nil {
		return err
	}
	say("The other joins it with that line. Nothing is started again, and no file is edited.")
	if _, err := d.do(d.h2, join...); err != nil {
		return err
	}
	return d.members()
}

// joinLine is the line that other hosts join with.
func joinLine(out string) ([]string, error) {
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) == 4 && words[0] == "gvlan" && words[1] == "join" {
			return words, nil
		}
	}
	return nil, fmt.Errorf("gvlan init prints no line to join with: %q", out)
}

// members shows where the cluster's store is: on the second host, too.
func (d *demo) members() error {
	say("The cluster's store is etcd, run by the agents: with two hosts one votes and the other keeps a live copy; from three on three vote, by themselves.")
	err := d.wait("h2 to keep a copy of the store", func() error {
		out, err := d.h1.Exec(d.ctx, "gvlan", "store", "ls", "--json")
		if err != nil {
			return err
		}
		var view struct {
			Members []struct{ Host, Role, Why string }
		}
		if err := json.Unmarshal([]byte(out), &view); err != nil {
			return err
		}
		for _, m := range view.Members {
			if m.Host == d.h2.Name && m.Role == "learner" && m.Why == "" {
				return nil
			}
		}
		return fmt.Errorf("the members are %+v", view.Members)
	})
	if err != nil {
		return err
	}
	return d.want("learner", d.h2, "gvlan", "store", "ls")
}

// agent starts an agent in the background.
func (d *demo) agent(h *lab.Host, flags ...string) (*lab.Agent, error) {
	args := append([]string{"agent"}, flags...)
	typed(h, append([]string{"gvlan"}, args...))
	return h.StartAgent(d.ctx, lab.AgentOptions{Binary: d.Dir + "/gvlan", Args: args})
}

// hostStatus is what a step needs of `gvlan status --json`.
type hostStatus struct {
	Etcd     struct{ Trusted bool }
	Networks []struct{ Name, State string }
}

func (d *demo) status(h *lab.Host) (s hostStatus, err error) {
	out, err := h.Exec(d.ctx, "gvlan", "status", "--json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// ready waits until an agent would give addresses.
func (d *demo) ready(h *lab.Host) error {
	return d.wait("the agent of "+h.Name, func() error {
		s, err := d.status(h)
		if err == nil && !s.Etcd.Trusted {
			err = errors.New("etcd does not answer it yet")
		}
		return err
	})
}

// network makes a network once, and shows it on both hosts.
func (d *demo) network() error {
	say("A network is made once, on any host ...")
	if _, err := d.do(d.h1, "docker", "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan",
		"--subnet", "10.77.0.0/24", "-o", "parent=eth1", "lan1"); err != nil {
		return err
	}
	for _, h := range d.Hosts {
		if err := d.wait("lan1 on "+h.Name, func() error { return d.stands(h, "lan1") }); err != nil {
			return err
		}
	}
	say("... and is there on both. Docker shows the scope local, because to Docker it is; gvlan keeps it the same everywhere.")
	for _, h := range d.Hosts {
		if err := d.want("lan1", h, "docker", "network", "ls"); err != nil {
			return err
		}
	}
	return nil
}

// stands is nil when a host has the network and stands for its definition.
func (d *demo) stands(h *lab.Host, network string) error {
	s, err := d.status(h)
	if err != nil {
		return err
	}
	for _, n := range s.Networks {
		if n.Name == network && (n.State == "committed" || n.State == "replica") {
			return nil
		}
	}
	return fmt.Errorf("%s does not list %s", h.Name, network)
}

// names lets each container reach the other by name.
func (d *demo) names() error {
	say("And by name, with nothing configured: names follow a moment after docker run.")
	for _, c := range []struct {
		h          *lab.Host
		from, name string
	}{{d.h1, "web", "db"}, {d.h2, "db", "web"}} {
		err := d.wait("the name "+c.name, func() error {
			_, err := c.h.Exec(d.ctx, "docker", "exec", c.from, "nslookup", c.name)
			return err
		})
		if err != nil {
			return err
		}
		if err := d.want("1 packets received", c.h, "docker", "exec", c.from, "ping", "-c", "1", "-w", "30", c.name); err != nil {
			return err
		}
	}
	return nil
}

// leases shows who has which address, on every host, from either.
func (d *demo) leases() error {
	say("Any host tells who has which address.")
	addr, err := d.address(d.h1, "web")
	if err != nil {
		return err
	}
	return d.want(addr, d.h2, "gvlan", "network", "inspect", "lan1")
}

// address asks the engine for a container's address, without showing it.
func (d *demo) address(h *lab.Host, name string) (string, error) {
	return h.Exec(d.ctx, "docker", "inspect", "-f", `{{.NetworkSettings.Networks.lan1.IPAddress}}`, name)
}

// containers starts one on each host and lets them talk.
func (d *demo) containers() error {
	say("Containers on either host get addresses of the one pool.")
	for _, c := range []struct {
		h    *lab.Host
		name string
	}{{d.h1, "web"}, {d.h2, "db"}} {
		if _, err := d.do(c.h, "docker", "run", "-d", "--name", c.name, "--network", "lan1", "busybox", "sleep", "100000"); err != nil {
			return err
		}
		addr, err := d.address(c.h, c.name)
		if err != nil {
			return err
		}
		err = d.want(addr, c.h, "docker", "inspect", "-f",
			"{{with .NetworkSettings.Networks.lan1}}address {{.IPAddress}}, gateway {{.Gateway}}, MAC {{.MacAddress}}{{end}}", c.name)
		if err != nil {
			return err
		}
	}
	web, err := d.address(d.h1, "web")
	if err != nil {
		return err
	}
	db, err := d.address(d.h2, "db")
	if err != nil {
		return err
	}
	if web == db || web == "" || db == "" {
		return fmt.Errorf("web has %q and db has %q", web, db)
	}
	say("They reach each other directly over the LAN.")
	if err := d.want("3 packets received", d.h1, "docker", "exec", "web", "ping", "-c", "3", "-w", "30", db); err != nil {
		return err
	}
	if err := d.want("1 packets received", d.h2, "docker", "exec", "db", "ping", "-c", "1", "-w", "30", web); err != nil {
		return err
	}
	for _, h := range d.Hosts {
		if err := d.want("lan1", h, "gvlan", "status"); err != nil {
			return err
		}
	}
	return nil
}

// duplicate asks for an address that somebody has.
func (d *demo) duplicate() error {
	web, err := d.address(d.h1, "web")
	if err != nil {
		return err
	}
	say("An address is given once, whichever host asks; the refusal names who has it.")
	holder := "address " + web + " is in use by container web on node h1 (network lan1)"
	for _, h := range []*lab.Host{d.h2, d.h1} {
		if err := d.refused(holder, h, "docker", "run", "--rm", "--network", "lan1", "--ip", web, "busybox", "true"); err != nil {
			return err
		}
	}
	return d.want("1 packets received", d.h2, "docker", "exec", "db", "ping", "-c", "1", "-w", "30", web)
}

// remove shows that a network goes as it came: everywhere.
func (d *demo) remove() error {
	say("Removed on one host, and gone on both.")
	if _, err := d.do(d.h1, "docker", "rm", "-f", "web"); err != nil {
		return err
	}
	if _, err := d.do(d.h2, "docker", "rm", "-f", "db"); err != nil {
		return err
	}
	if _, err := d.do(d.h2, "docker", "network", "rm", "lan1"); err != nil {
		return err
	}
	for _, h := range d.Hosts {
		err := d.wait("the end of lan1 on "+h.Name, func() error {
			names, err := h.Exec(d.ctx, "docker", "network", "ls", "-q", "--filter", "driver=gvlan")
			if err == nil && names != "" {
				err = fmt.Errorf("%s still has it", h.Name)
			}
			return err
		})
		if err != nil {
			return err
		}
		out, err := d.do(h, "docker", "network", "ls")
		if err != nil {
			return err
		}
		if strings.Contains(out, "lan1") {
			return fmt.Errorf("%s still lists lan1", h.Name)
		}
	}
	return nil
}
