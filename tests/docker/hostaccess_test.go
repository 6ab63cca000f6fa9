package docker_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"gvlan/tests/lab"
)

// TestHostAccess: a host and its own containers reach each other, both ways, and the
// LAN beside them sees one answer for each address; whatever is killed or lost. Off,
// nothing of it is left.
func TestHostAccess(t *testing.T) {
	t.Parallel()
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, options{hosts: lab.Same(2, release), args: []string{
				"--dns-listen", "127.0.0.66:53,0.0.0.0:5360", "--dns-allow", "127.0.0.0/8,10.99.0.0/24",
			}})
			c.scenario("on a network of the LAN's own", hostAccess)
		})
	}
}

func hostAccess(c *cluster) {
	h1 := c.Hosts[0]
	c.network(h1, "lan", "-o", "parent=eth1", "-o", "host-access=on", "--ipv6",
		"--subnet", "10.99.0.0/24", "--ip-range", "10.99.0.64/26", "--gateway", "10.99.0.254",
		"--subnet", "fd99::/64", "--ip-range", "fd99::c0:0/112", "--gateway", "fd99::254")
	for _, h := range c.Hosts {
		c.run(h, "lan", "on-"+h.Name, "--restart", "always")
	}
	c.bothWays(c.Hosts...)
	c.oneAnswerEach()
	c.talksByTCP(h1)
	c.byName(h1)
	c.says(c.gvlan(h1, "network", "inspect", "lan"), "host access on (h1, h2)")

	if err := c.agents[0].Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.bothWays(h1)
	c.startAgain(0)
	h1.MustExec(c.t, "ip", "link", "del", c.shim(h1))
	c.bothWays(h1)
	h1.MustExec(c.t, "ip", "route", "flush", "proto", "118")
	c.bothWays(h1)
	c.nicComesBack(h1)
	c.reboots(0)
	c.oneAnswerEach()

	c.gvlan(h1, "network", "set", "lan", "host-access=off")
	for _, h := range c.Hosts {
		c.nothingOfHostAccess(h, "on-"+h.Name)
	}
	c.gvlan(h1, "network", "set", "lan", "host-access=on")
	c.bothWays(c.Hosts...)
}

// addressesOf are those of a container.
func (c *cluster) addressesOf(h *lab.Host, name string) []netip.Addr {
	c.t.Helper()
	e := c.inspect(h, "lan", name)
	return []netip.Addr{netip.MustParseAddr(e.IPAddress), netip.MustParseAddr(e.GlobalIPv6Address)}
}

// bothWays waits until hosts and their containers reach each other by ping.
func (c *cluster) bothWays(hosts ...*lab.Host) {
	c.t.Helper()
	for _, h := range hosts {
		for _, addr := range c.addressesOf(h, "on-"+h.Name) {
			eventually(c.t, h.Name+" to reach its container "+addr.String(), func() error { return c.ping(h, addr) })
		}
		for _, addr := range []netip.Addr{h.Addr4, h.Addr6} {
			eventually(c.t, "the container of "+h.Name+" to reach "+addr.String(), func() error {
				out, err := h.Docker(c.t.Context(), "exec", "on-"+h.Name, "ping", "-c", "1", "-w", "1", addr.String())
				return because(out, err)
			})
		}
	}
}

// ping runs this machine's on the host's network: newer hosts have none.
func (c *cluster) ping(h *lab.Host, addr netip.Addr) error {
	out, err := exec.CommandContext(c.t.Context(), "nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", h.PID), "ping", "-n", "-c", "1", "-w", "1", addr.String()).CombinedOutput()
	return because(string(out), err)
}

// because is an error with what was printed.
func because(out string, err error) error {
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
		for _, addr := range append(c.addressesOf(h, "on-"+h.Name), h.Addr4, h.Addr6) {
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
		if err == nil && len(answers) == 0 {
			err = errors.New("no answer")
		}
		if err == nil && (len(answers) != 1 || answers[0].Port != c.LAN.Port(h.Machine)) {
			c.t.Errorf("who has %s: %v, want one answer through %s", addr, answers, c.LAN.Port(h.Machine))
		}
		return err
	})
}

// talksByTCP has each of a host and its container connect to the other.
func (c *cluster) talksByTCP(h *lab.Host) {
	c.t.Helper()
	for i, addr := range []netip.Addr{h.Addr4, h.Addr6} {
		port := fmt.Sprint(8080 + i)
		in := must(h.Listen(c.t.Context(), "tcp", netip.AddrPortFrom(addr, uint16(8080+i)).String()))(c.t)
		var group errgroup.Group
		group.Go(func() error {
			conn, err := in.Accept()
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte("hello from the host\n"))
			return err
		})
		out, err := h.Docker(c.t.Context(), "exec", "on-"+h.Name, "nc", "-w", "5", addr.String(), port)
		if err != nil {
			in.Close()
		}
		if err = errors.Join(err, group.Wait(), in.Close()); err != nil || !strings.Contains(out, "hello from the host") {
			c.t.Errorf("the container asks %s by TCP: %q, %v", addr, out, err)
		}
	}
	h.MustDocker(c.t, "exec", "-d", "on-"+h.Name, "httpd", "-f", "-p", "8090", "-h", "/")
	for _, addr := range c.addressesOf(h, "on-"+h.Name) {
		eventually(c.t, "the host to be answered by TCP from "+addr.String(), func() error {
			conn, err := h.DialContext(c.t.Context(), "tcp", netip.AddrPortFrom(addr, 8090).String())
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("GET /none HTTP/1.0\r\n\r\n")); err != nil {
				return err
			}
			answer := make([]byte, 100)
			n, err := conn.Read(answer)
			if err == nil && !strings.HasPrefix(string(answer[:n]), "HTTP/1") {
				err = fmt.Errorf("it says %q", answer[:n])
			}
			return err
		})
	}
}

// byName: after `gvlan dns setup` the host finds its container by name and reaches it,
// and a container asks the host's own listener.
func (c *cluster) byName(h *lab.Host) {
	c.t.Helper()
	before := must(os.ReadFile(h.Path("/etc/resolv.conf")))(c.t)
	line := h.MustExec(c.t, c.binary, "dns", "setup", "resolv.conf")
	if err := h.WriteFile("/etc/resolv.conf", []byte(line+"\n")); err != nil {
		c.t.Fatal(err)
	}
	name := "on-" + h.Name + ".lan.gvlan.internal"
	eventually(c.t, h.Name+" to find its container by name", func() error {
		out, err := h.Exec(c.t.Context(), "getent", "ahostsv4", name)
		if err != nil {
			return err
		}
		addr, err := netip.ParseAddr(strings.Fields(out)[0])
		if err != nil {
			return err
		}
		return c.ping(h, addr)
	})
	if err := h.WriteFile("/etc/resolv.conf", before); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "the container to ask its host's listener", func() error {
		out, err := h.Docker(c.t.Context(), "exec", "on-"+h.Name, "nslookup", name, netip.AddrPortFrom(h.Addr4, 5360).String())
		return because(out, err)
	})
}

// shim is the name of the host's own link.
func (c *cluster) shim(h *lab.Host) string {
	c.t.Helper()
	for _, l := range must(h.Netlink().LinkList())(c.t) {
		if isShim(l) {
			return l.Attrs().Name
		}
	}
	c.t.Fatalf("%s has no shim", h.Name)
	return ""
}

// nicComesBack takes the host's card out of it and puts it back, which ends every link
// that hangs from it; a container that is started anew and its host reach each other.
func (c *cluster) nicComesBack(h *lab.Host) {
	c.t.Helper()
	if err := c.LAN.Replug(h.Machine); err != nil {
		c.t.Fatal(err)
	}
	c.waitTrusted(h)
	h.MustDocker(c.t, "restart", "-t", "0", "on-"+h.Name)
	c.bothWays(h)
}

// reboots has a host lose its power; it comes back with what it had.
func (c *cluster) reboots(i int) {
	c.t.Helper()
	h := c.Hosts[i]
	if err := errors.Join(h.Crash(c.t.Context()), h.Boot(c.t.Context())); err != nil {
		c.t.Fatal(err)
	}
	c.agents[i] = c.startAgent(h)
	if err := h.Engine.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.waitTrusted(h)
	eventually(c.t, "the container of "+h.Name+" to be back", func() error {
		out, err := h.Docker(c.t.Context(), "inspect", "-f", "{{.State.Running}}", "on-"+h.Name)
		if err == nil && strings.TrimSpace(out) != "true" {
			err = errors.New("it does not run")
		}
		return err
	})
	c.bothWays(h)
}

// nothingOfHostAccess waits until neither the host nor a container has anything of it.
func (c *cluster) nothingOfHostAccess(h *lab.Host, container string) {
	c.t.Helper()
	pid := strings.TrimSpace(h.MustDocker(c.t, "inspect", "-f", "{{.State.Pid}}", container))
	eventually(c.t, "the end of host access on "+h.Name, func() error {
		for _, l := range must(h.Netlink().LinkList())(c.t) {
			if isShim(l) {
				return fmt.Errorf("link %s is there", l.Attrs().Name)
			}
		}
		for _, family := range []string{"-4", "-6"} {
			out, err := h.Exec(c.t.Context(), "ip", family, "route", "show", "table", "all", "proto", "118")
			if err != nil || strings.TrimSpace(out) != "" {
				return fmt.Errorf("routes: %s %w", out, err)
			}
			out, err = h.Exec(c.t.Context(), "nsenter", "-t", pid, "-n", "ip", family, "neigh", "show", "nud", "permanent")
			if err != nil || strings.Contains(out, "lladdr") {
				return fmt.Errorf("neighbours in the container: %s %w", out, err)
			}
		}
		return nil
	})
}
