package docker_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// TestMembers: five agents on one etcd that is beside them on the LAN, so
// that a host can lose its peers, or etcd, or both. Every other host shows
// the same, and everything heals by itself.
func TestMembers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{hosts: lab.Same(5, lab.NoDocker), args: []string{"--gossip", "on"}})
	c.allReady()
	for _, s := range []struct {
		name string
		play func(*cluster)
	}{
		{"follows etcd", membersFollow},
		{"another interface", memberInterface},
		{"drained", memberRemarks},
		{"killed", memberKilled},
		{"stopped", memberStopped},
		{"upgraded", memberUpgraded},
		{"hangs", memberHangs},
		{"cut off", memberCut},
		{"mute, then deaf", memberOneWay},
		{"peers out of reach", memberWithoutPeers},
		{"etcd out of reach", memberWithoutEtcd},
		{"one way between two", memberPairOneWay},
		{"etcd killed", membersWithoutEtcd},
		{"cloned", memberCloned},
		{"strangers", memberStrangers},
		{"key rotated", membersRotate},
		{"gossip off", membersWithoutGossip},
	} {
		t.Run(s.name, func(t *testing.T) {
			in := *c
			in.t = t
			s.play(&in)
			in.allReady()
		})
	}
}

// membersFollow: every host shows of every other how far it has followed
// etcd, by the answers to its probes.
func membersFollow(c *cluster) {
	got := must(c.store.Get(c.t.Context(), prefix+store.NodesSpan().From, clientv3.WithLastRev()...))(c.t)
	last := got.Kvs[0].ModRevision
	for _, h := range c.Hosts {
		eventually(c.t, fmt.Sprintf("all members on %s at revision %d", h.Name, last), func() error {
			for name, m := range c.members(h) {
				if m.Applied < last {
					return fmt.Errorf("%s is at %d", name, m.Applied)
				}
			}
			return nil
		})
	}
}

// memberInterface: an interface that comes is in the node's record, and its
// peers are told another digest, which is that of the record.
func memberInterface(c *cluster) {
	h1, h5 := c.Hosts[0], c.Hosts[4]
	before := c.members(h1)["h5"].Parents
	h5.MustExec(c.t, "ip", "link", "add", "extra0", "mtu", "1400", "type", "veth", "peer", "name", "extra1")
	defer h5.MustExec(c.t, "ip", "link", "del", "extra0")
	eventually(c.t, "h1 to know the interface extra0 of h5", func() error {
		n, now := c.nodes(h1)["h5"], c.members(h1)["h5"].Parents
		i := slices.IndexFunc(n.Interfaces, func(i store.Interface) bool { return i.Name == "extra0" })
		if i < 0 || n.Interfaces[i].Kind != "veth" || n.Interfaces[i].MTU != 1400 {
			return fmt.Errorf("it shows %+v", n.Interfaces)
		}
		if n.StaleParents || now == before {
			return fmt.Errorf("h5 tells its peers the digest %s, before %s, not that of its record: %v", now, before, n.StaleParents)
		}
		return nil
	})
}

// memberKilled: its record in etcd outlasts the agent for a while, and its
// peers notice first.
func memberKilled(c *cluster) {
	if err := c.agents[4].Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.waitState(c.Hosts[:4], "h5", down)
	c.startAgain(4)
}

// memberStopped: it says that it goes, so nobody takes it for dead.
func memberStopped(c *cluster) {
	if err := c.agents[4].Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.waitState(c.Hosts[:4], "h5", down)
	for _, h := range c.Hosts[:4] {
		if got := c.members(h)["h5"].Gossip; got != "left" {
			c.t.Errorf("%s shows the gossip of h5, which was stopped, as %s", h.Name, got)
		}
		if !c.nodes(h)["h5"].Stopped {
			c.t.Errorf("%s does not show that h5 was stopped", h.Name)
		}
	}
	if c.times(`msg="member left" node=h5`) == 0 {
		c.t.Error("the log of h1 does not say that h5 left")
	}
	c.startAgain(4)
}

// memberUpgraded: it gives way to its successor and says nothing.
func memberUpgraded(c *cluster) {
	left := `msg="member left" node=h5`
	before := c.times(left)
	if err := c.agents[4].Signal(syscall.SIGUSR1); err != nil {
		c.t.Fatal(err)
	}
	<-c.agents[4].Done()
	if err := c.agents[4].Err(); err != nil {
		c.t.Errorf("the agent ended with %v", err)
	}
	c.startAgain(4)
	c.allReady()
	if c.times(left) != before {
		c.t.Errorf("h1 was told that h5 leaves, though it was upgraded")
	}
}

func memberHangs(c *cluster) {
	if err := c.agents[3].Pause(); err != nil {
		c.t.Fatal(err)
	}
	c.waitState(c.others("h4"), "h4", down)
	if err := c.agents[3].Resume(); err != nil {
		c.t.Fatal(err)
	}
}

// memberCut: the rest sees it down, and it sees that nobody answers, while
// etcd's last word was that all are connected.
func memberCut(c *cluster) {
	h5 := c.Hosts[4]
	if err := c.LAN.Cut(h5.Machine); err != nil {
		c.t.Fatal(err)
	}
	c.waitState(c.others("h5"), "h5", down)
	for _, h := range c.others("h5") {
		c.waitState([]*lab.Host{h5}, h.Name, unreachable)
	}
	if !c.nodes(h5)["h1"].Stale {
		c.t.Errorf("node ls of the host that was cut off does not say that etcd is out of reach")
	}
	c.healed(h5)
}

// memberOneWay: a cable that works in one direction is as good as none for
// etcd and peers.
func memberOneWay(c *cluster) {
	h2 := c.Hosts[1]
	for _, cut := range []func() error{
		func() error { return c.LAN.Mute(c.t.Context(), h2.Machine) },
		func() error { return c.LAN.Deafen(c.t.Context(), h2.Machine) },
	} {
		if err := cut(); err != nil {
			c.t.Fatal(err)
		}
		c.waitState(c.others("h2"), "h2", down)
		c.healed(h2)
		c.allReady()
	}
}

// memberWithoutPeers: gossip is blocked, etcd is not.
func memberWithoutPeers(c *cluster) {
	h3 := c.Hosts[2]
	c.block(h3, "meta l4proto { tcp, udp } th dport 7947 drop", "meta l4proto { tcp, udp } th sport 7947 drop")
	c.waitState(c.others("h3"), "h3", unreachable)
	for _, h := range c.others("h3") {
		c.waitState([]*lab.Host{h3}, h.Name, unreachable)
	}
	c.unblock(h3)
}

// memberWithoutEtcd: it answers its peers, and takes no new address.
func memberWithoutEtcd(c *cluster) {
	h3 := c.Hosts[2]
	c.block(h3, "tcp dport 2379 drop", "tcp sport 2379 drop")
	c.waitState(c.others("h3"), "h3", detached)
	c.unblock(h3)
}

// memberPairOneWay: what h3 sends to h2 is lost, and nothing else. By way of
// the others everybody stays alive, so only the raw view shows it: the
// direct answers of h3 to h2 stop.
func memberPairOneWay(c *cluster) {
	h2 := c.Hosts[1]
	c.block(h2, "ip saddr 10.99.0.3 drop")
	cut := c.members(h2)
	eventually(c.t, "h2 to hear from everybody but h3", func() error {
		now := c.members(h2)
		for _, other := range []string{"h1", "h4", "h5"} {
			if !now[other].Direct.After(cut[other].Direct) {
				return fmt.Errorf("%s answered last at %s", other, now[other].Direct)
			}
		}
		for _, other := range []string{"h1", "h4", "h5"} { // and h3 was asked meanwhile, too
			if !now[other].Direct.After(cut["h3"].Direct.Add(probeRound)) {
				return fmt.Errorf("%s answered last at %s", other, now[other].Direct)
			}
		}
		return nil
	})
	now := c.members(h2)["h3"]
	if !now.Direct.Equal(cut["h3"].Direct) {
		c.t.Errorf("h2 had an answer of h3 at %s, after %s, when the way back was cut", now.Direct, cut["h3"].Direct)
	}
	if now.Gossip != "alive" || now.Etcd != "connected" {
		c.t.Errorf("members on h2 shows %+v, want h3 alive and connected", now)
	}
	c.waitState(c.Hosts, "h3", ready)
	c.unblock(h2)
	eventually(c.t, "h2 to hear from h3 again", func() error {
		if got := c.members(h2)["h3"].Direct; !got.After(now.Direct) {
			return fmt.Errorf("it answered last at %s", got)
		}
		return nil
	})
}

// membersWithoutEtcd: who answers is known without etcd, also of one more
// host that goes.
func membersWithoutEtcd(c *cluster) {
	if err := c.etcd.Kill(); err != nil {
		c.t.Fatal(err)
	}
	for _, h := range c.Hosts {
		eventually(c.t, "node ls on "+h.Name, func() error {
			for name, n := range c.nodes(h) {
				if n.State != ready || !n.Stale {
					return fmt.Errorf("%s is %+v, want it ready as etcd said last", name, n)
				}
			}
			return nil
		})
	}
	if err := c.agents[4].Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.waitState(c.Hosts[:4], "h5", unreachable)
	if err := c.agents[4].Start(c.t.Context()); err != nil { // it knows its peers from its own folder
		c.t.Fatal(err)
	}
	c.waitState(c.Hosts[:4], "h5", ready)
	if err := c.etcd.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	back := time.Now()
	c.allReady()
	fmt.Printf("BENCH members_ready_after_etcd_s %.1f\n", time.Since(back).Seconds())
}

// memberCloned: a second host with the identity of the first is refused and
// told who has it.
func memberCloned(c *cluster) {
	args := append([]string{"agent", "--node-name", "h1", "--data-dir", "/var/lib/clone", "--plugin-socket-dir", "/run/clone/plugins",
		"--status-socket", "/run/clone/gvlan.sock", "--gossip-port", "7948", "--dns-listen", "127.0.0.1:5355"}, c.args...)
	clone := must(c.Hosts[1].Start("clone", nil, c.binary, args...))(c.t)
	c.t.Cleanup(func() { _ = clone.Kill() })
	eventually(c.t, "the clone to end", func() error {
		if clone.Running() {
			return errors.New("it runs")
		}
		return nil
	})
	var failed *exec.ExitError
	if err := clone.Err(); !errors.As(err, &failed) {
		c.t.Errorf("the clone ended with %v, want a failure", err)
	}
	said := string(must(os.ReadFile(clone.Log))(c.t))
	for _, want := range []string{"h1", "10.99.0.1"} {
		if !strings.Contains(lastLine(said), want) {
			c.t.Errorf("the clone says last\n%s\nwant %s in it", lastLine(said), want)
		}
	}
}

// memberStrangers: an agent without the key, and one of another cluster,
// that believe h1 to be theirs. Both are refused and counted, and nobody
// takes note of them.
func memberStrangers(c *cluster) {
	before := c.gossip(c.Hosts[0])
	c.stranger("/other", store.LiveKey("h1"))
	eventually(c.t, "the stranger of another cluster to be counted", func() error {
		if now := c.gossip(c.Hosts[0]); now.RefusedCluster == before.RefusedCluster || now.RefusedKey != before.RefusedKey {
			return fmt.Errorf("counted are %+v, before %+v", now, before)
		}
		return nil
	})
	c.stranger("/keyless", store.LiveKey("h1"), store.MetaKey())
	eventually(c.t, "the stranger without the key to be counted", func() error {
		if now := c.gossip(c.Hosts[0]); now.RefusedKey == before.RefusedKey {
			return fmt.Errorf("counted are %+v, before %+v", now, before)
		}
		return nil
	})
	for _, h := range c.Hosts {
		if m, there := c.members(h)["stranger"]; there {
			c.t.Errorf("%s knows %+v", h.Name, m)
		}
	}
}

// stranger runs an agent of another cluster on the peer until the scenario
// ends. Its store says what ours says under some keys.
func (c *cluster) stranger(at string, copied ...string) *lab.Process {
	c.t.Helper()
	for _, key := range copied {
		got := must(c.store.Get(c.t.Context(), prefix+key))(c.t)
		must(c.store.Put(c.t.Context(), at+key, string(got.Kvs[0].Value)))(c.t)
	}
	p := must(c.Peer.Start("stranger", nil, c.binary, "agent", "--node-name", "stranger", "--data-dir", "/var/lib"+at,
		"--etcd-endpoints", c.etcd.Endpoint(), "--etcd-prefix", at, "--plugin-socket-dir", "/run"+at,
		"--status-socket", "/run"+at+".sock", "--gossip-port", map[string]string{"/other": "7951", "/keyless": "7952"}[at],
		"--dns", "off"))(c.t)
	c.t.Cleanup(func() { _ = p.Kill() })
	return p
}

// membersRotate: another key is in use, nobody was lost meanwhile, and one
// that slept through it is back with the new one.
func membersRotate(c *cluster) {
	before := c.gossipKeys()
	flaps := c.flaps()
	c.Hosts[1].MustExec(c.t, c.binary, "key", "rotate")
	after := c.gossipKeys()
	if len(before) != 1 || len(after) != 1 || slices.Equal(before[0], after[0]) {
		c.t.Errorf("etcd has %d keys, before %d; want one, and another", len(after), len(before))
	}
	if now := c.flaps(); now != flaps {
		c.t.Errorf("%d members were taken for dead during the rotation", now-flaps)
	}
	if err := c.agents[2].Restart(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.waitTrusted(c.Hosts[2])
}

func (c *cluster) gossipKeys() [][]byte {
	c.t.Helper()
	got := must(c.store.Get(c.t.Context(), prefix+store.GossipKeysKey()))(c.t)
	return must(store.Decode[store.GossipKeys](store.Item{Value: got.Kvs[0].Value}))(c.t).Keys
}

// membersWithoutGossip: then etcd alone says who is there, only later.
func membersWithoutGossip(c *cluster) {
	fmt.Printf("BENCH members_flaps %d\n", c.flaps())
	for i, h := range c.Hosts {
		if err := c.agents[i].Stop(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		c.agents[i] = c.agent(h, append(slices.Clone(c.args), "--gossip", "off")...)
	}
	c.allReady()
	if got := c.members(c.Hosts[0])["h2"]; got.Gossip != "" || got.Etcd != "connected" {
		c.t.Errorf("members shows %+v of h2, want etcd's word alone", got)
	}
	if err := c.agents[4].Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.waitState(c.Hosts[:4], "h5", down)
	c.startAgain(4)
	if _, err := c.Hosts[0].Exec(c.t.Context(), c.binary, "key", "rotate"); err == nil || !strings.Contains(err.Error(), "--gossip off") {
		c.t.Errorf("key rotate says %v, want it to say that gossip is off", err)
	}
}
