package docker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gvlan/tests/lab"
)

// network makes a network on a host and waits until every host has it.
func (c *cluster) network(h *lab.Host, name string, flags ...string) {
	c.t.Helper()
	args := append([]string{"network", "create", "-d", "gvlan", "--ipam-driver", "gvlan"}, flags...)
	h.MustDocker(c.t, append(args, name)...)
	for _, other := range c.Hosts {
		c.waitNetwork(other, name)
	}
}

// waitTrusted waits until a host's agent would give addresses.
func (c *cluster) waitTrusted(h *lab.Host) {
	c.t.Helper()
	eventually(c.t, "etcd to answer the agent of "+h.Name, func() error {
		if s := c.status(h); !s.Etcd.Trusted {
			return fmt.Errorf("status: %+v", s)
		}
		return nil
	})
}

// waitNetwork waits until a host's engine lists the network and its agent
// says that it stands for the definition.
func (c *cluster) waitNetwork(h *lab.Host, name string) {
	c.t.Helper()
	eventually(c.t, name+" on "+h.Name, func() error {
		for _, n := range c.status(h).Networks {
			if n.Name == name && (n.State == "replica" || n.State == "committed") {
				return nil
			}
		}
		return fmt.Errorf("status: %+v", c.status(h).Networks)
	})
}

// waitNoNetwork waits until a host's engine does not list the network.
func (c *cluster) waitNoNetwork(h *lab.Host, name string) {
	c.t.Helper()
	eventually(c.t, "the end of "+name+" on "+h.Name, func() error {
		if names := c.networks(h); slices.Contains(names, name) {
			return fmt.Errorf("it lists %v", names)
		}
		return nil
	})
}

// networks lists the names of a host's gvlan networks.
func (c *cluster) networks(h *lab.Host) []string {
	c.t.Helper()
	var names []string
	for _, n := range must(engineNetworks(c.t.Context(), h))(c.t) {
		names = append(names, n.Name)
	}
	return names
}

// engineNetwork is what an engine says of a network.
type engineNetwork struct {
	ID   string `json:"Id"`
	Name string
	IPAM struct{ Config []struct{ Subnet string } }
	// Containers are told of one network that is asked for, not of a list.
	Containers map[string]attachment
}

// engineNetworks lists the gvlan networks of a host's engine.
func engineNetworks(ctx context.Context, h *lab.Host) (all []engineNetwork, err error) {
	err = h.Engine.Get(ctx, `/networks?filters={"driver":["gvlan"]}`, &all)
	return all, err
}

// engineNetwork asks a host's engine about a network, by its name or id.
func (c *cluster) engineNetwork(h *lab.Host, name string) (n engineNetwork, err error) {
	err = h.Engine.Get(c.t.Context(), "/networks/"+name, &n)
	return n, err
}

// status is what the agent of a host says.
type status struct {
	Networks []struct {
		Name, UUID, Scope, State, Parent, Why string
		Endpoints                             int
	}
	Solo bool
	Etcd struct {
		Trusted bool
		Why     string
	}
	PendingReleases int `json:"pendingReleases"`
	Warnings        []string
}

// status asks a host's agent; the zero status while it does not answer.
func (c *cluster) status(h *lab.Host) (s status) {
	c.t.Helper()
	out, err := h.Exec(c.t.Context(), c.binary, "status", "--json")
	if err != nil {
		return status{}
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		c.t.Fatalf("status of %s: %v in %q", h.Name, err, out)
	}
	return s
}

// run starts a container that sleeps and returns its address, IPv4 if it has
// one.
func (c *cluster) run(h *lab.Host, network, name string, flags ...string) netip.Addr {
	c.t.Helper()
	h.MustDocker(c.t, sleeper(network, name, flags...)...)
	return c.address(h, network, name)
}

// sleeper is the command line that starts a container which sleeps until it
// is told to stop, and then stops at once.
func sleeper(network, name string, flags ...string) []string {
	args := append([]string{"run", "-d", "--stop-signal", "KILL", "--network", network, "--name", name}, flags...)
	return append(args, "busybox", "sleep", "100000")
}

// endpoint is what `docker inspect` says of a container on a network.
type endpoint struct {
	EndpointID          string
	IPAddress           string
	Gateway             string
	MacAddress          string
	GlobalIPv6Address   string
	IPv6Gateway         string
	GlobalIPv6PrefixLen int
	IPPrefixLen         int
}

// inspect asks the engine about a container on a network.
func (c *cluster) inspect(h *lab.Host, network, name string) (e endpoint) {
	c.t.Helper()
	var inspected struct {
		NetworkSettings struct{ Networks map[string]endpoint }
	}
	if err := h.Engine.Get(c.t.Context(), "/containers/"+name+"/json", &inspected); err != nil {
		c.t.Fatal(err)
	}
	return inspected.NetworkSettings.Networks[network]
}

// address is a container's address as the engine tells it, IPv4 if it has
// one.
func (c *cluster) address(h *lab.Host, network, name string) netip.Addr {
	c.t.Helper()
	e := c.inspect(h, network, name)
	for _, text := range []string{e.IPAddress, e.GlobalIPv6Address} {
		if addr, err := netip.ParseAddr(text); err == nil {
			return addr
		}
	}
	c.t.Fatalf("%s on %s has no address: %+v", name, h.Name, e)
	return netip.Addr{}
}

// refused runs docker, which must fail and say why in one line that has these
// words.
func (c *cluster) refused(h *lab.Host, words string, args ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience) // a call that hangs is no refusal
	defer cancel()
	_, err := h.Docker(ctx, args...)
	if err == nil {
		c.t.Errorf("docker %s succeeded, want it refused: %s", strings.Join(args, " "), words)
		return
	}
	var said []string
	for line := range strings.Lines(err.Error()) {
		if _, sentence, ok := strings.Cut(line, "Error response from daemon: "); ok {
			said = append(said, strings.TrimSpace(sentence))
		}
	}
	if len(said) != 1 || !strings.Contains(said[0], words) {
		c.t.Errorf("docker %s says\n\t%s\nwant one line with\n\t%s", strings.Join(args, " "), err, words)
	}
}

// reaches pings an address from inside a container.
func (c *cluster) reaches(h *lab.Host, from string, to netip.Addr) {
	c.t.Helper()
	h.MustDocker(c.t, "exec", from, "ping", "-c", "1", "-w", "10", to.String())
}

// oneOwner asks the LAN who has an address: exactly one reply, from that host.
func (c *cluster) oneOwner(addr netip.Addr, h *lab.Host) {
	c.t.Helper()
	if err := c.owned(addr, h); err != nil {
		c.t.Error(err)
	}
}

// owned is nil when one probe gets one answer, through the host's port.
// Answers and ports are counted, never MACs: two holders of one address have
// the same. Silence is asked again, since a busy machine may answer late.
func (c *cluster) owned(addr netip.Addr, h *lab.Host) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		answers, err := c.WhoHas(ctx, addr)
		if err != nil {
			return err
		}
		if len(answers) == 0 && ctx.Err() == nil {
			continue
		}
		if len(answers) != 1 || answers[0].Port != c.LAN.Port(h.Machine) {
			return fmt.Errorf("who has %s: %v, want one answer through %s", addr, answers, c.LAN.Port(h.Machine))
		}
		return nil
	}
}

// fieldsOf reads a JSON list of strings.
func fieldsOf(list string) (fields []string) {
	_ = json.Unmarshal([]byte(list), &fields)
	return fields
}
