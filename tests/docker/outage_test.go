package docker_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// TestEtcdDown: what needs a new address fails and says why, what gives one
// back works, and etcd learns of it when it is back.
func TestEtcdDown(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		c.scenario("etcd down", etcdDown)
		c.scenario("etcd hangs", etcdHangs)
		c.scenario("records vanish", recordsVanish)
	})
}

// TestAgentDown: Docker goes on by itself, and what it forgets meanwhile is
// found by reconcile.
func TestAgentDown(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		c.scenario("agent down", agentDown)
		c.scenario("agent down while dockerd is killed", agentDownAtBoot)
	})
}

const noAddressNow = "no new address can be given now"

func etcdDown(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.90.0.0/24", "--ip-range", "10.90.0.16/30", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	api := c.run(h2, "lan1", "api", "--ip", "10.90.0.50")
	if err := c.etcd.Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}

	c.refused(h1, noAddressNow, "run", "--rm", "--network", "lan1", "busybox", "true")
	c.refused(h2, noAddressNow, "run", "--rm", "--network", "lan1", "--ip", "10.90.0.51", "busybox", "true")
	c.logged(0, "method=IpamDriver.RequestAddress", noAddressNow) // the handler ended by itself
	c.refused(h1, "etcd", "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.91.0.0/24", "-o", "parent=eth1", "lan2")

	h1.MustDocker(c.t, "stop", "web")
	h1.MustDocker(c.t, "rm", "web")
	h2.MustDocker(c.t, "rm", "-f", "api")
	// What this host gave up itself it may give again; another host may not.
	if again := c.run(h1, "lan1", "again"); again != web {
		c.t.Errorf("during the outage a container on h1 got %s, want %s, which h1 gave up", again, web)
	}
	c.refused(h1, noAddressNow, "run", "--rm", "--network", "lan1", "--ip", api.String(), "busybox", "true")

	c.startEtcdAgain()
	c.audit()
	c.run(h1, "lan1", "api", "--ip", api.String())
	h1.MustDocker(c.t, "rm", "-f", "again")
	c.run(h2, "lan1", "web", "--ip", web.String())
}

// etcdHangs: an etcd that takes connections and never answers is the hardest
// case for a handler: Docker itself would wait for ever.
func etcdHangs(c *cluster) {
	h1 := c.Hosts[0]
	c.network(h1, "lan1", "--subnet", "10.92.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	eventually(c.t, "the name of web", func() error { // which follows a moment after its start
		_, err := h1.Exec(c.t.Context(), c.binary, "dns", "lookup", "--from", "web", "web")
		return err
	})
	if err := c.etcd.Pause(); err != nil {
		c.t.Fatal(err)
	}
	c.refused(h1, noAddressNow, "run", "--rm", "--network", "lan1", "busybox", "true")
	c.logged(0, "method=IpamDriver.RequestAddress", noAddressNow)
	c.looksOn(h1, "lan1", web)
	h1.MustDocker(c.t, "rm", "-f", "web")
	if err := c.etcd.Resume(); err != nil {
		c.t.Fatal(err)
	}
	c.audit()
	c.run(c.Hosts[1], "lan1", "web", "--ip", web.String())
}

// looksOn: while etcd does not answer, the agent tells what it said last and
// how long ago, and blames nobody else.
func (c *cluster) looksOn(h *lab.Host, network string, web netip.Addr) {
	c.t.Helper()
	const age = "etcd does not answer this host: this is what it said "
	for _, question := range []struct {
		words, want []string
	}{
		{[]string{"network", "ls"}, []string{age, network}},
		{[]string{"network", "inspect", network}, []string{age, web.String()}},
		{[]string{"dns", "lookup", "--from", "web", "web"}, []string{web.String()}},
	} {
		out := c.gvlan(h, question.words...)
		for _, want := range question.want {
			if !strings.Contains(out, want) {
				c.t.Errorf("gvlan %s says\n%s\nwant %q in it", strings.Join(question.words, " "), out, want)
			}
		}
	}
	status := c.gvlan(h, "status")
	c.says(status, "- no new address is given: etcd does not answer: no answer in time")
	for line := range strings.Lines(status) {
		if strings.HasPrefix(line, "docker") && strings.Contains(line, "not answer") {
			c.t.Errorf("the status blames Docker:\n%s", status)
		}
	}
}

func agentDown(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.93.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	api := c.run(h1, "lan1", "api")
	if err := c.agents[0].Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.refused(h1, "gvlan.sock: connect: connection refused", "run", "--rm", "--network", "lan1", "busybox", "true")
	h1.MustDocker(c.t, "rm", "-f", "web")
	c.refused(h2, "in use by container web on node h1", "run", "--rm", "--network", "lan1", "--ip", web.String(), "busybox", "true")
	c.startAgain(0)
	c.audit()
	c.run(h2, "lan1", "web", "--ip", web.String())
	c.oneOwner(web, h2)
	c.oneOwner(api, h1)
}

// agentDownAtBoot: dockerd comes up without the agent after a crash, and
// forgets endpoints without a word to anybody.
func agentDownAtBoot(c *cluster) {
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.94.0.0/24", "-o", "parent=eth1")
	web := c.run(h1, "lan1", "web")
	if err := c.agents[0].Kill(); err != nil {
		c.t.Fatal(err)
	}
	if err := h1.Engine.Kill(); err != nil {
		c.t.Fatal(err)
	}
	if err := h1.Engine.Launch(); err != nil {
		c.t.Fatal(err)
	}
	c.awaitEngine(h1)
	c.startAgain(0)
	c.audit()
	c.run(h2, "lan1", "next", "--ip", web.String())
	c.oneOwner(web, h2)
	h1.MustDocker(c.t, "start", "web")
	if got := c.address(h1, "lan1", "web"); got == web || got == (netip.Addr{}) {
		c.t.Errorf("web has %s, which is next's", got)
	}
}

// logged waits until the agent of a host has a log line with all the words.
func (c *cluster) logged(i int, words ...string) {
	c.t.Helper()
	c.loggedOn(c.Hosts[i], c.agents[i], words...)
}

func (c *cluster) loggedOn(h *lab.Host, a *lab.Agent, words ...string) {
	c.t.Helper()
	eventually(c.t, "a log line of the agent of "+h.Name, func() error {
		text, err := os.ReadFile(a.Log)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if hasAll(line, words) {
				return nil
			}
		}
		return fmt.Errorf("no line has %q", words)
	})
}

func hasAll(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}
