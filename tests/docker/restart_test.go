package docker_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// TestRestarts: whatever is killed or restarted, old containers talk on, new
// ones start, and no lease is lost, doubled or leaked.
func TestRestarts(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		c.scenario("agent killed", agentKilled)
		c.scenario("agent stopped in order", agentStopped)
		c.scenario("etcd stopped and started", etcdStopped)
		c.scenario("agent started after dockerd", agentAfterDockerd)
	})
}

// TestDockerdRestarts: with live-restore nothing changes for containers;
// without, those with a restart policy come back.
func TestDockerdRestarts(t *testing.T) {
	onBoth(t, 2, func(c *cluster) {
		for _, live := range []bool{true, false} {
			c.setLiveRestore(c.Hosts[0], live)
			for _, how := range []string{"stopped", "killed"} {
				c.scenario(fmt.Sprintf("dockerd %s, live-restore %t", how, live), func(c *cluster) {
					dockerdGone(c, how, live)
				})
			}
		}
	})
}

func agentKilled(c *cluster) {
	talk := c.pair("lan1", "10.70.0.0/24")
	if err := c.agents[0].Kill(); err != nil {
		c.t.Fatal(err)
	}
	talk.goOn()
	c.startAgain(0)
	c.newcomers("lan1")
	talk.end()
}

func agentStopped(c *cluster) {
	talk := c.pair("lan1", "10.71.0.0/24")
	if err := c.agents[1].Restart(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.waitTrusted(c.Hosts[1])
	c.newcomers("lan1")
	talk.end()
}

func etcdStopped(c *cluster) {
	talk := c.pair("lan1", "10.72.0.0/24")
	if err := c.etcd.Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	talk.goOn()
	c.startEtcdAgain()
	c.newcomers("lan1")
	talk.end()
}

// agentAfterDockerd: dockerd comes up without its plugin and waits for it,
// network by network; the agent then knows everything that it knew.
func agentAfterDockerd(c *cluster) {
	h1 := c.Hosts[0]
	talk := c.pair("lan1", "10.73.0.0/24", "--restart", "always", "--ip", "10.73.0.77")
	c.setLiveRestore(h1, true)
	if err := c.agents[0].Kill(); err != nil {
		c.t.Fatal(err)
	}
	if err := h1.Engine.Kill(); err != nil {
		c.t.Fatal(err)
	}
	if err := h1.Engine.Launch(); err != nil {
		c.t.Fatal(err)
	}
	talk.goOn()
	c.startAgain(0)
	c.awaitEngine(h1)
	c.newcomers("lan1")
	talk.end()
}

// dockerdGone ends the dockerd of the first host and starts it again.
func dockerdGone(c *cluster, how string, live bool) {
	h1 := c.Hosts[0]
	talk := c.pair("lan1", "10.74.0.0/24", "--restart", "always", "--ip", "10.74.0.77")
	c.run(h1, "lan1", "any", "--restart", "always")
	c.run(h1, "lan1", "once")
	before := c.running(h1)
	end := h1.Engine.Kill
	if how == "stopped" {
		end = func() error { return h1.Engine.Stop(c.t.Context()) }
	}
	if live {
		talk.goOn()
	} else {
		talk.end() // the containers stop with their engine
	}
	if err := end(); err != nil {
		c.t.Fatal(err)
	}
	if err := h1.Engine.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	want := before
	if !live {
		want = slices.DeleteFunc(slices.Clone(before), func(line string) bool { return strings.HasPrefix(line, "once ") })
	}
	eventually(c.t, "the containers of "+h1.Name, func() error {
		if got := c.running(h1); !sameContainers(want, got, live) {
			return fmt.Errorf("running are %v, want %v", got, want)
		}
		return nil
	})
	if got := c.address(h1, "lan1", "one"); got != netip.MustParseAddr("10.74.0.77") {
		c.t.Errorf("one has %s, want its --ip", got)
	}
	c.oneOwner(netip.MustParseAddr("10.74.0.77"), h1)
	c.newcomers("lan1")
	if live {
		talk.end()
	}
}

// sameContainers compares names, and with addresses also what they have.
func sameContainers(want, got []string, addresses bool) bool {
	if addresses {
		return slices.Equal(want, got)
	}
	return slices.EqualFunc(want, got, func(a, b string) bool { return strings.Fields(a)[0] == strings.Fields(b)[0] })
}

// running lists "name address" of a host's running containers, by name.
func (c *cluster) running(h *lab.Host) []string {
	c.t.Helper()
	var all []struct {
		Names           []string // each behind a slash
		NetworkSettings struct{ Networks map[string]endpoint }
	}
	if err := h.Engine.Get(c.t.Context(), "/containers/json", &all); err != nil {
		c.t.Fatal(err)
	}
	var lines []string
	for _, container := range all {
		line := strings.TrimPrefix(container.Names[0], "/") + " "
		for _, e := range container.NetworkSettings.Networks {
			line += e.IPAddress
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// setLiveRestore restarts an engine without containers with the flag set.
func (c *cluster) setLiveRestore(h *lab.Host, live bool) {
	c.t.Helper()
	if h.Engine.LiveRestore == live {
		return
	}
	h.Engine.LiveRestore = live
	if len(c.running(h)) > 0 {
		return // it counts from the next start on
	}
	if err := h.Engine.Restart(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// awaitEngine waits for an engine that was launched.
func (c *cluster) awaitEngine(h *lab.Host) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := h.Engine.Ready(ctx); err != nil {
		c.t.Fatal(err)
	}
}

// startAgain starts the agent of a host after it ended.
func (c *cluster) startAgain(i int) {
	c.t.Helper()
	if err := c.agents[i].Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.waitTrusted(c.Hosts[i])
}

// startEtcdAgain starts etcd after it ended, and waits until every agent has
// it.
func (c *cluster) startEtcdAgain() {
	c.t.Helper()
	if err := c.etcd.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	for _, h := range c.Hosts {
		c.waitTrusted(h)
	}
}

// newcomers starts one more container on each host; they reach each other
// and the old ones reach them.
func (c *cluster) newcomers(network string) {
	c.t.Helper()
	h1, h2 := c.Hosts[0], c.Hosts[1]
	new1, new2 := c.run(h1, network, "new"), c.run(h2, network, "new")
	c.reaches(h1, "new", new2)
	c.reaches(h2, "new", new1)
	c.reaches(h1, "one", new2)
	c.reaches(h2, "two", new1)
	c.oneOwner(new1, h1)
	c.oneOwner(new2, h2)
}

// conversation is an old pair of containers on two hosts that talk all the
// time.
type conversation struct {
	c        *cluster
	one, two netip.Addr
	stop     context.CancelFunc
	wait     sync.WaitGroup
	mu       sync.Mutex
	lost     []error
	heard    int // answers since the last look
}

// pair makes a network and a container on each of two hosts, "one" (with
// the flags) and "two", which talk from then on.
func (c *cluster) pair(network, subnet string, flags ...string) *conversation {
	c.t.Helper()
	c.network(c.Hosts[0], network, "--subnet", subnet, "-o", "parent=eth1")
	ctx, stop := context.WithCancel(c.t.Context())
	talk := &conversation{c: c, stop: stop}
	talk.one = c.run(c.Hosts[0], network, "one", flags...)
	talk.two = c.run(c.Hosts[1], network, "two")
	prefix := netip.MustParsePrefix(subnet)
	from := prefixedLast(prefix)
	c.joinLAN(from)
	c.t.Cleanup(func() { stop(); talk.wait.Wait() })
	talk.wait.Go(func() { talk.loop(ctx) })
	return talk
}

// prefixedLast is an address near the end of a /24, for the peer.
func prefixedLast(p netip.Prefix) string {
	raw := p.Addr().As4()
	raw[3] = 250
	return netip.PrefixFrom(netip.AddrFrom4(raw), p.Bits()).String()
}

// loop asks both containers from the LAN, over and over, a few times in the
// seconds that one question may take.
func (k *conversation) loop(ctx context.Context) {
	for ; ctx.Err() == nil; breathe(ctx) {
		for _, addr := range []netip.Addr{k.one, k.two} {
			err := k.c.Peer.Ping(ctx, addr)
			if ctx.Err() != nil {
				return
			}
			k.mu.Lock()
			if err != nil {
				k.lost = append(k.lost, err)
			} else {
				k.heard++
			}
			k.mu.Unlock()
		}
	}
}

// breathe waits a little, or until the end: each question is a program.
func breathe(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(200 * time.Millisecond):
	}
}

// goOn waits until both were heard again: what was done just now did not
// end the conversation.
func (k *conversation) goOn() {
	k.c.t.Helper()
	k.mu.Lock()
	k.heard = 0
	k.mu.Unlock()
	eventually(k.c.t, "old containers to talk on", func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.heard < 4 {
			return fmt.Errorf("%d answers, lost: %v", k.heard, k.lost)
		}
		return nil
	})
}

// end stops the conversation; nothing may have been lost in it.
func (k *conversation) end() {
	k.c.t.Helper()
	k.stop()
	k.wait.Wait()
	for _, err := range k.lost {
		k.c.t.Errorf("old containers did not talk throughout: %v", err)
	}
}
