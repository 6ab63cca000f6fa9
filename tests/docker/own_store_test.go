package docker_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/tests/lab"
)

// newOwnCluster starts hosts with an agent each, all of them solo, but for the
// late ones: what becomes a cluster keeps its store itself.
func newOwnCluster(t *testing.T, o options) *cluster {
	t.Helper()
	c := newBareCluster(t, o)
	c.args = append(append(c.args, "--log-level", "debug"), o.args...)
	for i, h := range c.Hosts[:len(c.Hosts)-o.late] {
		c.agents[i] = c.agent(h, c.args...)
	}
	for _, h := range c.Hosts[:len(c.Hosts)-o.late] {
		c.waitTrusted(h)
	}
	return c
}

// begin has a host begin a cluster, and returns the words that it says other
// hosts join with.
func (c *cluster) begin(h *lab.Host) []string {
	c.t.Helper()
	return c.joinWords(c.gvlan(h, "init"))
}

// joinWords finds the line to join with, without gvlan's own name.
func (c *cluster) joinWords(out string) []string {
	c.t.Helper()
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) == 4 && words[0] == "gvlan" && words[1] == "join" {
			return words[1:]
		}
	}
	c.t.Fatalf("no line to join with in\n%s", out)
	return nil
}

// joinAtOnce has hosts join a cluster at the same moment, by the line it said.
func (c *cluster) joinAtOnce(words []string, hosts ...*lab.Host) {
	c.t.Helper()
	var joined sync.WaitGroup
	for _, h := range hosts {
		joined.Go(func() {
			if out, err := h.Exec(c.t.Context(), c.binary, words...); err != nil {
				c.t.Errorf("%s cannot join: %v\n%s", h.Name, err, out)
			}
		})
	}
	joined.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// formed begins a cluster on the first host, has others join, and waits until
// it is complete.
func (c *cluster) formed(hosts ...*lab.Host) {
	c.t.Helper()
	c.joinAtOnce(c.begin(hosts[0]), hosts[1:]...)
	voters, learners := 3, 0
	if len(hosts) < voters {
		voters, learners = 1, len(hosts)-1
	}
	c.waitMembers(hosts, voters, learners)
	c.lookThrough(hosts[0])
}

// storeView is `gvlan store ls --json`.
type storeView struct {
	Standing string
	Members  []struct{ Node, Role, Why string }
	Hosts    []struct{ Node, Why string }
	AsOf     time.Time
}

// nodes lists those with one of the roles, in order.
func (v storeView) nodes(roles ...string) []string {
	var names []string
	for _, m := range v.Members {
		if slices.Contains(roles, m.Role) && m.Why == "" {
			names = append(names, m.Node)
		}
	}
	return slices.Sorted(slices.Values(names))
}

// storeOn asks a host for the members.
func (c *cluster) storeOn(h *lab.Host) (v storeView, err error) {
	out, err := h.Exec(c.t.Context(), c.binary, "store", "ls", "--json")
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.AsOf.IsZero() {
		return v, err
	}
	return v, fmt.Errorf("the store does not answer %s, which saw the members last at %s", h.Name, v.AsOf)
}

// waitMembers waits until all these hosts tell of so many voters and learners,
// the same ones, which all answer.
func (c *cluster) waitMembers(hosts []*lab.Host, voters, learners int) storeView {
	c.t.Helper()
	var first storeView
	eventually(c.t, fmt.Sprintf("%d voters and %d learners", voters, learners), func() error {
		for i, h := range hosts {
			v, err := c.storeOn(h)
			if err != nil {
				return err
			}
			if i == 0 {
				first = v
			}
			if len(v.Members) != voters+learners || len(v.nodes("leader")) != 1 || len(v.nodes("leader", "voter")) != voters || len(v.nodes("learner")) != learners {
				return fmt.Errorf("%s lists %+v", h.Name, v)
			}
			if !slices.Equal(v.nodes("leader", "voter", "learner"), first.nodes("leader", "voter", "learner")) {
				return fmt.Errorf("%s lists %+v, %s lists %+v", h.Name, v, hosts[0].Name, first)
			}
		}
		return nil
	})
	return first
}

// leader is the host whose member leads.
func (c *cluster) leader(h *lab.Host) *lab.Host {
	c.t.Helper()
	var leader *lab.Host
	eventually(c.t, "a leader", func() error {
		v, err := c.storeOn(h)
		if err == nil && len(v.nodes("leader")) != 1 {
			err = fmt.Errorf("%s lists %+v", h.Name, v)
		}
		if err == nil {
			leader = c.host(v.nodes("leader")[0])
		}
		return err
	})
	return leader
}

func (c *cluster) host(name string) *lab.Host {
	c.t.Helper()
	i := slices.IndexFunc(c.Hosts, func(h *lab.Host) bool { return h.Name == name })
	if i < 0 {
		c.t.Fatalf("no host is called %s", name)
	}
	return c.Hosts[i]
}

func (c *cluster) agentOf(h *lab.Host) *lab.Agent { return c.agents[slices.Index(c.Hosts, h)] }

// lookThrough has the audit read the store by the socket that a host's own
// member serves to root.
func (c *cluster) lookThrough(h *lab.Host) {
	c.t.Helper()
	if c.store != nil {
		c.store.Close()
	}
	c.store = must(clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + h.Path("/var/lib/gvlan/etcd/client.sock")}}))(c.t)
	c.t.Cleanup(func() { c.store.Close() })
}

// powerCut ends everything on a host at once.
func (c *cluster) powerCut(hosts ...*lab.Host) {
	c.t.Helper()
	var off sync.WaitGroup
	for _, h := range hosts {
		off.Go(func() {
			if err := h.Crash(c.t.Context()); err != nil {
				c.t.Error(err)
			}
		})
	}
	off.Wait()
}

// diskLost empties what a host that is off has of gvlan and Docker, but for
// images.
func (c *cluster) diskLost(h *lab.Host) {
	c.t.Helper()
	h.MustExec(c.t, "sh", "-c", "rm -rf /var/lib/gvlan/* /var/lib/docker/containers/* /var/lib/docker/network")
}

// starts runs containers one after the other on each of its hosts, the latest
// three of which stay.
type starts struct {
	c       *cluster
	network string
	wait    sync.WaitGroup
	stop    chan struct{}

	mu     sync.Mutex
	away   map[string]bool  // hosts it leaves alone
	begun  map[string]int   // containers that were asked for
	up     map[string]int   // the last of them that started
	failed map[string]error // the last refusal
}

// startsOn begins to start containers on hosts, over and over.
func (c *cluster) startsOn(network string, hosts ...*lab.Host) *starts {
	s := &starts{
		c: c, network: network, stop: make(chan struct{}),
		away: map[string]bool{}, begun: map[string]int{}, up: map[string]int{}, failed: map[string]error{},
	}
	for _, h := range hosts {
		s.wait.Go(func() { s.loop(h) })
	}
	c.t.Cleanup(s.end)
	s.goOn(hosts...)
	return s
}

const startsKept = 3

func (s *starts) loop(h *lab.Host) {
	for {
		select {
		case <-s.stop:
			return
		default:
		}
		s.mu.Lock()
		away := s.away[h.Name]
		s.begun[h.Name]++
		n := s.begun[h.Name]
		s.mu.Unlock()
		if away {
			return
		}
		name := func(n int) string { return fmt.Sprintf("loop%d", n) }
		_, err := h.Docker(s.c.t.Context(), sleeper(s.network, name(n))...)
		s.mu.Lock()
		if err == nil {
			s.up[h.Name] = n
		} else {
			s.failed[h.Name] = err
		}
		s.mu.Unlock()
		// One that was refused is there, but does not run.
		gone := name(n)
		if err == nil {
			gone = name(n - startsKept)
		}
		_, _ = h.Docker(s.c.t.Context(), "rm", "-f", gone)
	}
}

// leave ends the loop of a host that is about to be away: what is started there
// has no meaning.
func (s *starts) leave(h *lab.Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away[h.Name] = true
}

// goOn waits until each of the hosts has started a container that was asked for
// after this call.
func (s *starts) goOn(hosts ...*lab.Host) {
	s.c.t.Helper()
	s.mu.Lock()
	before := maps.Clone(s.begun)
	s.mu.Unlock()
	eventually(s.c.t, "containers to start", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, h := range hosts {
			if s.up[h.Name] <= before[h.Name] {
				return fmt.Errorf("%s has started %d of %d, the last refusal was: %s", h.Name, s.up[h.Name], s.begun[h.Name], fmt.Sprint(s.failed[h.Name]))
			}
		}
		return nil
	})
}

// end stops the loops and waits for them.
func (s *starts) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.mu.Unlock()
	s.wait.Wait()
	s.mu.Lock()
}

// alone checks with the LAN that what runs on the hosts has its address alone.
func (c *cluster) alone(hosts ...*lab.Host) {
	c.t.Helper()
	holders := map[string]string{}
	for _, a := range must(c.attachments())(c.t) {
		addr, _, _ := strings.Cut(a.IPv4Address, "/")
		if other, twice := holders[addr]; twice {
			c.t.Errorf("%s has %s, which %s has", a.Container, addr, other)
		}
		holders[addr] = a.Container + " on " + a.Host
		if h := c.host(a.Host); slices.Contains(hosts, h) {
			c.oneOwner(c.address(h, a.Network, a.Container), h)
		}
	}
}
