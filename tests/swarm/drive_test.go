package swarm_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gvlan/tests/lab"
)

// network makes a network of the swarm, once.
func (c *cluster) network(name, subnet string, flags ...string) {
	c.t.Helper()
	args := append([]string{"network", "create", "-d", alias, "--ipam-driver", alias,
		"--scope", "swarm", "--attachable", "--subnet", subnet}, flags...)
	c.ask.MustDocker(c.t, append(args, name)...)
}

// service makes a service whose tasks sleep until they are told to stop, and
// then stop at once. An update goes on when the swarm takes a task's end for
// a failure, which a busy engine is enough for: what counts is what runs then.
func (c *cluster) service(name, network string, replicas int, flags ...string) {
	c.t.Helper()
	args := append([]string{"service", "create", "--detach", "--no-resolve-image", "--name", name, "--network", network,
		"--replicas", fmt.Sprint(replicas), "--stop-signal", "KILL", "--restart-delay", "1s", "--update-parallelism", "6",
		"--update-failure-action", "continue"}, flags...)
	c.ask.MustDocker(c.t, append(args, "busybox", "sleep", "100000")...)
}

// update has the tasks of a service replaced, and waits until the swarm says
// that they are: it forgets what it said of an update before this one.
func (c *cluster) update(name string, flags ...string) {
	c.t.Helper()
	args := append([]string{"service", "update", "--detach", "--no-resolve-image"}, flags...)
	c.ask.MustDocker(c.t, append(args, name)...)
	eventually(c.t, "the update of "+name, func() error {
		var s struct {
			UpdateStatus struct{ State, Message string }
		}
		if err := c.ask.Engine.Get(c.t.Context(), "/services/"+name, &s); err != nil {
			return err
		}
		if s.UpdateStatus.State != "completed" {
			return told(func() string {
				tasks, _ := c.ask.Docker(c.t.Context(), "service", "ps", "--no-trunc", name)
				return fmt.Sprintf("it is %+v:\n%s", s.UpdateStatus, tasks)
			})
		}
		return nil
	})
}

func (c *cluster) scale(name string, replicas int) {
	c.t.Helper()
	c.ask.MustDocker(c.t, "service", "scale", "--detach", fmt.Sprintf("%s=%d", name, replicas))
}

// settled waits until the nodes that are up run that many tasks of a service,
// and etcd and engines agree on every address. The swarm itself goes on
// counting the tasks of a node that is down.
func (c *cluster) settled(name string, replicas int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("service %s with %d tasks", name, replicas), func() error {
		all, err := c.containers()
		n := 0
		for _, x := range all {
			if x.service == name {
				n++
			}
		}
		if err == nil && n != replicas {
			err = told(func() string {
				tasks, _ := c.ask.Docker(c.t.Context(), "service", "ps", "--no-trunc", name)
				return fmt.Sprintf("%d run:\n%s\n%s", n, tasks, c.shown())
			})
		}
		return err
	})
	c.audit()
}

// told is a complaint that is put into words when somebody reads it: the words
// take a dozen programs.
type told func() string

func (t told) Error() string { return t() }

// shown is what the engines say of every container, also of one that has no
// address.
func (c *cluster) shown() string {
	var all strings.Builder
	for _, h := range c.Hosts {
		out, err := h.Docker(c.t.Context(), "ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.Networks}} {{.Status}}")
		fmt.Fprintf(&all, "%s (%v):\n%s\n", h.Name, err, out)
		ids, err := h.Docker(c.t.Context(), "ps", "-q")
		if err != nil || ids == "" {
			continue
		}
		out, _ = h.Docker(c.t.Context(), append([]string{"inspect", "--format", "{{.Name}} {{json .NetworkSettings.Networks}}"}, strings.Fields(ids)...)...)
		fmt.Fprintln(&all, out)
	}
	return all.String()
}

// container is a running container on a network of the plugin.
type container struct {
	host     *lab.Host
	name     string
	service  string
	network  string // name
	endpoint string
	addr     netip.Addr
	mac      string
}

// containers lists what the engines that are up run on such networks.
func (c *cluster) containers() (all []container, err error) {
	for _, h := range c.Hosts {
		if c.down[h] {
			continue
		}
		some, err := c.containersOn(h)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// inspection is what an engine says of a container.
type inspection struct {
	Name            string
	Config          struct{ Labels map[string]string }
	NetworkSettings struct {
		Networks map[string]struct{ EndpointID, IPAddress, MacAddress string }
	}
}

func (c *cluster) containersOn(h *lab.Host) (all []container, err error) {
	var listed []struct{ ID string }
	if err := h.Engine.Get(c.t.Context(), "/containers/json", &listed); err != nil {
		return nil, err
	}
	var inspected []inspection
	for _, l := range listed {
		var i inspection
		if err := h.Engine.Get(c.t.Context(), "/containers/"+l.ID+"/json", &i); err != nil {
			return nil, err
		}
		inspected = append(inspected, i)
	}
	for _, i := range inspected {
		for network, e := range i.NetworkSettings.Networks {
			addr, err := netip.ParseAddr(e.IPAddress)
			if err != nil || network == "ingress" || network == "docker_gwbridge" {
				continue // being made, or none of ours
			}
			all = append(all, container{
				host: h, name: strings.TrimPrefix(i.Name, "/"), service: i.Config.Labels["com.docker.swarm.service.name"],
				network: network, endpoint: e.EndpointID, addr: addr, mac: e.MacAddress,
			})
		}
	}
	return all, nil
}

// tasksOf lists the running containers of a service.
func (c *cluster) tasksOf(service string) []container {
	c.t.Helper()
	all := must(c.containers())(c.t)
	return slices.DeleteFunc(all, func(x container) bool { return x.service != service })
}

// reaches pings an address from inside a container.
func (c *cluster) reaches(from container, to string) {
	c.t.Helper()
	from.host.MustDocker(c.t, "exec", from.name, "ping", "-c", "1", "-w", "10", to)
}

// status is what the managed plugin of a host says.
type status struct {
	Networks []struct {
		Name, Scope, State, Parent, Why string
		Endpoints                       int
	}
	Etcd            struct{ Trusted bool }
	PendingReleases int `json:"pendingReleases"`
	Warnings, Hints []string
}

// status asks the plugin of a host, or with no flags its socket agent.
func (c *cluster) status(h *lab.Host, flags ...string) (s status, err error) {
	out, err := h.Exec(c.t.Context(), c.binary, append([]string{"status", "--json"}, flags...)...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	return s, err
}

// warns waits until status has a warning with these words.
func (c *cluster) warns(h *lab.Host, words string, flags ...string) {
	c.t.Helper()
	eventually(c.t, "a warning on "+h.Name, func() error {
		s, err := c.status(h, flags...)
		if err == nil && !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, words) }) {
			err = fmt.Errorf("warnings %q, want one with %q", s.Warnings, words)
		}
		return err
	})
}

// trusts waits until the agent of a host would give addresses.
func (c *cluster) trusts(h *lab.Host, flags ...string) {
	c.t.Helper()
	eventually(c.t, "etcd to answer the agent of "+h.Name, func() error {
		s, err := c.status(h, flags...)
		if err == nil && !s.Etcd.Trusted {
			err = fmt.Errorf("status: %+v", s)
		}
		return err
	})
}

// logged waits for a line in the log of a host's dockerd, where a managed
// plugin's lines go.
func (c *cluster) logged(h *lab.Host, words ...string) {
	c.t.Helper()
	eventually(c.t, "a line in the log of "+h.Name, func() error {
		logs, err := filepath.Glob(filepath.Join(c.Dir, "log", h.Name+"-dockerd-*.log"))
		if err != nil {
			return err
		}
		for _, path := range logs {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(text)) {
				if hasAll(line, words) {
					return nil
				}
			}
		}
		return fmt.Errorf("no line has %q", words)
	})
}

func hasAll(line string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
}
