package docker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// TestStoreOutlives: containers start on all hosts, over and over, while the
// host whose member leads meets its fate. They pause for an election and go on;
// no address is given twice, none is forgotten, and three members vote in the
// end.
func TestStoreOutlives(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: lab.Same(4, lab.Docker28), args: []string{"--member-gone", "20s"}})
	c.formed(c.Hosts...)
	c.scenario("cut off", func(c *cluster) { c.outlives(leaderCutOff) })
	c.scenario("paused", func(c *cluster) { c.outlives(leaderPaused) })
	c.scenario("disk full", func(c *cluster) { c.outlives(leaderDiskFull) })
	// The last: what an evicted host held rests for a while, so that something
	// is left.
	t.Run("dead", func(t *testing.T) {
		in := *c
		in.t = t
		in.outlives(leaderDead)
		in.audit()
	})
}

// outlives has the leader's host meet a fate while containers start.
func (c *cluster) outlives(fate func(c *cluster, leader *lab.Host, s *starts)) {
	c.network(c.Hosts[0], "lan1", "--subnet", "10.211.0.0/24", "-o", "parent=eth1")
	leader := c.leader(c.Hosts[0])
	c.run(leader, "lan1", "old")
	s := c.startsOn("lan1", c.Hosts...)
	fate(c, leader, s)
	s.goOn(c.besides(leader)...)
	s.end()
	c.joinLAN("10.211.0.250/24")
	c.alone(c.Hosts...)
	c.lookThrough(c.leader(c.besides(leader)[0]))
}

// besides are the hosts but one.
func (c *cluster) besides(h *lab.Host) []*lab.Host {
	return slices.DeleteFunc(slices.Clone(c.Hosts), func(other *lab.Host) bool { return other == h })
}

// replaced waits until three members vote, none of them on that host.
func (c *cluster) replaced(h *lab.Host) {
	c.t.Helper()
	eventually(c.t, "another host in the place of "+h.Name, func() error {
		v, err := c.storeOn(c.besides(h)[0])
		if err == nil && (len(v.Members) != 3 || slices.Contains(v.nodes("leader", "voter"), h.Name) || len(v.nodes("leader", "voter")) != 3) {
			err = fmt.Errorf("members are %+v", v)
		}
		return err
	})
}

// leaderCutOff: the network of its host is gone, for long enough that another
// takes its place. Back again it is a host without a member.
func leaderCutOff(c *cluster, leader *lab.Host, s *starts) {
	if err := c.LAN.Cut(leader.Machine); err != nil {
		c.t.Fatal(err)
	}
	s.goOn(c.besides(leader)...)
	c.refused(leader, noAddressNow, "run", "--rm", "--network", "lan1", "busybox", "true")
	c.replaced(leader)
	c.healed(leader)
	c.waitTrusted(leader)
	s.goOn(c.Hosts...)
	c.waitMembers(c.Hosts, 3, 0)
}

// leaderPaused: its agent stands still for half a minute, member included, and
// does not know of it afterwards.
func leaderPaused(c *cluster, leader *lab.Host, s *starts) {
	const pause = 30 * time.Second
	agent := c.agentOf(leader)
	if err := agent.Pause(); err != nil {
		c.t.Fatal(err)
	}
	since := time.Now()
	s.goOn(c.besides(leader)...)
	time.Sleep(time.Until(since.Add(pause)))
	if err := agent.Resume(); err != nil {
		c.t.Fatal(err)
	}
	c.waitTrusted(leader)
	s.goOn(c.Hosts...)
	c.waitMembers(c.Hosts, 3, 0)
}

// leaderDiskFull: not a byte can be written where its host keeps the store.
func leaderDiskFull(c *cluster, leader *lab.Host, s *starts) {
	const dir = "/var/lib/gvlan"
	leader.MustExec(c.t, "sh", "-c", `used=$(df -k --output=used `+dir+` | tail -n 1)
		mount -o remount,size="$((used + 64))k" `+dir+` && dd if=/dev/zero of=`+dir+`/filler bs=4k 2>/dev/null; test -e `+dir+`/filler`)
	s.goOn(c.besides(leader)...)
	eventually(c.t, "a leader elsewhere", func() error {
		if now := c.leader(c.besides(leader)[0]); now == leader {
			return fmt.Errorf("%s leads", now.Name)
		}
		return nil
	})
	s.goOn(c.besides(leader)...)
	leader.MustExec(c.t, "sh", "-c", "rm "+dir+"/filler; mount -o remount,size=2g "+dir)
	defer c.startedByUnit(leader)()
	c.waitTrusted(leader)
	s.goOn(c.Hosts...)
	c.waitMembers(c.Hosts, 3, 0)
}

// startedByUnit starts the agent of a host whenever it has ended, as its unit
// does, until stop is called.
func (c *cluster) startedByUnit(h *lab.Host) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		for agent := c.agentOf(h); ctx.Err() == nil; {
			if !agent.Running() {
				if err := agent.Start(ctx); err != nil && ctx.Err() == nil {
					c.t.Logf("start the agent of %s: %v", h.Name, err)
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	return func() {
		cancel()
		work.Wait()
	}
}

// leaderDead: the host dies, its disk is lost, the fourth takes its place. What
// it held stays its own until somebody says that it is gone for good. It comes
// back as a new host of its name.
func leaderDead(c *cluster, leader *lab.Host, s *starts) {
	old := c.address(leader, "lan1", "old")
	s.leave(leader)
	c.powerCut(leader)
	c.diskLost(leader)
	if err := leader.Boot(c.t.Context()); err != nil { // its containers' links go here
		c.t.Fatal(err)
	}
	s.goOn(c.besides(leader)...)
	c.replaced(leader)
	s.goOn(c.besides(leader)...)
	other := c.besides(leader)[0]
	c.refused(other, "in use by container old on node "+leader.Name, "run", "--rm", "--network", "lan1", "--ip", old.String(), "busybox", "true")
	c.gvlan(other, "node", "evict", leader.Name)
	s.goOn(c.besides(leader)...)

	if err := c.agentOf(leader).Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	if err := leader.Engine.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.waitTrusted(leader)
	// It had the cluster's keys, so the token is another one now, once every
	// member knows it.
	var words []string
	eventually(c.t, "a token that lets a host in", func() error {
		words = c.joinWords(c.gvlan(other, "token", "show"))
		_, err := leader.Exec(c.t.Context(), c.binary, words...)
		return err
	})
	c.waitNetwork(leader, "lan1")
	c.waitMembers(c.Hosts, 3, 0)
}
