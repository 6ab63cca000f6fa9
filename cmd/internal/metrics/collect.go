package metrics

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/dns/zone"
	"gvlan/driver/command"
	"gvlan/driver/journal"
	"gvlan/driver/reconcile"
	"gvlan/ipam"
)

// Sources are the agent's parts as a scrape asks them: each answers at once, from
// what it has in memory or this host's kernel. One that is nil has nothing to
// tell.
type Sources struct {
	Now      func() time.Time
	Warnings func() int

	Engine   func() (absences int, answers bool)
	Rounds   func() reconcile.Rounds
	Progress func() command.Progress
	Describe func(context.Context) (store.Node, error) // this host, as it is now

	Networks  func() []journal.Network
	Endpoints func() []journal.Endpoint
	Leases    func(which func(journal.Lease) bool) []journal.Lease
	Requests  func() ipam.Counts
	Pools     func() []ipam.Usage
	Pending   func() int
	Conflicts func() []ipam.Conflict

	Trusted func() error
	Seen    func() store.Revision
	Known   func() gossip.Known
	Members func() Members // of the cluster's own store

	Nodes     func() []cluster.Row
	Answering func() int
	Gossip    func() gossip.Counters

	Zones func() []zone.ZoneCounts
}

// Members is what the last look at the store's members found.
type Members struct {
	Answering, Silent  int
	Size, InUse, Quota int64  // of the largest member, bytes; 0: unknown
	Looked, Failed     uint64 // looks since the start
}

// describing bounds the look at this host's interfaces in a scrape.
const describing = 2 * time.Second

// collector reads the sources at each scrape.
type collector struct{ of Sources }

// Describe implements prometheus.Collector: what there is depends on the host.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := &scrape{ch: ch, told: map[string]bool{}}
	if c.of.Warnings != nil {
		s.set("gvlan_warnings", c.of.Warnings())
	}
	c.host(s)
	c.addresses(s)
	c.store(s)
	c.cluster(s)
	if c.of.Zones != nil {
		for _, z := range c.of.Zones() {
			z.Codes(func(code string, n uint64) { s.add("gvlan_dns_queries_total", n, z.Zone, code) })
		}
	}
}

// host tells of the engine and of networks here.
func (c *collector) host(s *scrape) {
	if c.of.Engine != nil {
		absences, answers := c.of.Engine()
		s.set("gvlan_engine_up", number(answers))
		s.add("gvlan_engine_absences_total", uint64(absences))
	}
	if c.of.Rounds != nil {
		r := c.of.Rounds()
		for outcome, n := range map[string]uint64{"done": r.Done, "unanswered": r.Unanswered, "failed": r.Failed} {
			s.add("gvlan_reconcile_rounds_total", n, outcome)
		}
		for kind, n := range map[string]uint64{"endpoint": r.Endpoints, "address": r.Addresses, "record": r.Records, "unused": r.Unused} {
			s.add("gvlan_reconcile_freed_total", n, kind)
		}
	}
	if c.of.Progress != nil {
		p := c.of.Progress()
		for state, n := range map[string]int{"made": p.Made, "failed": p.Failed, "waiting": p.Defined - p.Made - p.Failed} {
			s.set("gvlan_networks", n, state)
		}
	}
	if c.of.Describe != nil {
		c.here(s)
	}
}

// here tells what containers of each network would hang from, and whether they can
// start.
func (c *collector) here(s *scrape) {
	ctx, cancel := context.WithTimeout(context.Background(), describing)
	defer cancel()
	own, err := c.of.Describe(ctx)
	if err != nil {
		return // what is not known is not told
	}
	down := map[string]bool{}
	for _, i := range own.Interfaces {
		down[i.Name] = !i.Up
	}
	unusable := map[string]bool{} // by name; what fails about a network is told beside it
	for _, n := range own.Networks {
		unusable[n.Name] = unusable[n.Name] || n.Why != ""
	}
	for _, n := range own.Networks {
		if n.Engine == "" {
			continue // it is not here
		}
		if journal.Stage(n.State) != journal.StageSwarm {
			s.set("gvlan_network_usable", number(!unusable[n.Name]), n.Name)
		}
		if n.Parent != "" || n.Why != "" { // else it needs none
			s.set("gvlan_network_parent_up", number(n.Parent != "" && !down[n.Parent]), n.Name, n.Parent)
		}
	}
}

// addresses tells of leases, pools and what hangs from them.
func (c *collector) addresses(s *scrape) {
	if c.of.Requests != nil {
		r := c.of.Requests()
		for outcome, n := range map[string]uint64{"given": r.Given, "full": r.Full, "withheld": r.Withheld, "refused": r.Refused} {
			s.add("gvlan_address_requests_total", n, outcome)
		}
		s.add("gvlan_address_races_total", r.Raced)
		s.set("gvlan_releases_pending", c.of.Pending())
		s.set("gvlan_address_conflicts", len(c.of.Conflicts()))
	}
	if c.of.Networks == nil {
		return
	}
	called := map[string]string{} // by the engine's id
	attached := map[string]int{}
	for _, n := range c.of.Networks() {
		called[n.ID], attached[n.ID] = n.Title(), 0
	}
	for _, e := range c.of.Endpoints() {
		attached[e.Network]++
	}
	for id, title := range called {
		s.set("gvlan_endpoints", attached[id], title)
	}
	leases := map[journal.LeaseState]int{journal.Given: 0, journal.Reissued: 0, journal.Bound: 0, journal.Unbound: 0, journal.Releasing: 0}
	for _, l := range c.of.Leases(func(journal.Lease) bool { return true }) {
		leases[l.State]++
	}
	for state, n := range leases {
		s.set("gvlan_leases", n, string(state))
	}
	for _, u := range c.of.Pools() {
		if called[u.Network] == "" {
			continue // another driver's
		}
		for state, n := range map[string]uint64{"used": u.Used, "resting": u.Resting, "free": u.Free} {
			s.tell("gvlan_pool_addresses", prometheus.GaugeValue, float64(n), called[u.Network], u.Subnet.String(), state)
		}
	}
}

// store tells what etcd is to this host.
func (c *collector) store(s *scrape) {
	if c.of.Trusted != nil {
		now := stateOf(c.of.Trusted())
		for _, state := range []string{trusted, unavailable, suspect, foreign, fenced} {
			s.set("gvlan_store_state", number(state == now), state)
		}
	}
	if c.of.Known != nil {
		known := c.of.Known()
		s.set("gvlan_store_up", number(known.Fresh))
		if !known.Heard.IsZero() {
			s.tell("gvlan_mirror_age_seconds", prometheus.GaugeValue, c.of.Now().Sub(known.Heard).Seconds())
			s.set("gvlan_mirror_lag_revisions", int(max(0, c.of.Seen()-known.Revision)))
		}
	}
	if c.of.Members == nil {
		return
	}
	m := c.of.Members()
	s.add("gvlan_store_looks_total", m.Looked, "done")
	s.add("gvlan_store_looks_total", m.Failed, "failed")
	if m.Answering+m.Silent > 0 {
		s.set("gvlan_store_members", m.Answering, "answering")
		s.set("gvlan_store_members", m.Silent, "silent")
	}
	if m.Size > 0 {
		s.set("gvlan_store_size_bytes", int(m.Size))
		s.set("gvlan_store_in_use_bytes", int(m.InUse))
		s.set("gvlan_store_quota_bytes", int(m.Quota))
	}
}

// What the store is to this host.
const (
	trusted     = "trusted"
	unavailable = "unavailable"
	suspect     = "suspect"
	foreign     = "foreign"
	fenced      = "fenced"
)

// stateOf reads session.Trusted.
func stateOf(err error) string {
	switch {
	case err == nil:
		return trusted
	case errors.Is(err, store.ErrSuspect):
		return suspect
	case errors.Is(err, store.ErrForeign):
		return foreign
	case errors.Is(err, store.ErrFenced):
		return fenced
	}
	return unavailable
}

// stopped is what a node that is down is called when it said that it goes.
const stopped = "stopped"

// cluster tells of the other hosts.
func (c *collector) cluster(s *scrape) {
	if c.of.Nodes != nil {
		nodes := map[string]int{stopped: 0}
		for _, state := range []cluster.State{cluster.Ready, cluster.Unreachable, cluster.Detached, cluster.Down, cluster.Evicted} {
			nodes[string(state)] = 0
		}
		for _, row := range c.of.Nodes() {
			if row.State == cluster.Down && row.Stopped {
				nodes[stopped]++
			} else {
				nodes[string(row.State)]++
			}
		}
		for state, n := range nodes {
			s.set("gvlan_nodes", n, state)
		}
	}
	if c.of.Gossip == nil {
		return
	}
	g := c.of.Gossip()
	s.set("gvlan_gossip_answering", c.of.Answering())
	s.add("gvlan_gossip_joins_total", g.Joins)
	s.add("gvlan_gossip_flaps_total", g.Flaps)
	for reason, n := range map[string]uint64{"key": g.RefusedKey, "cluster": g.RefusedCluster, "node": g.RefusedNode} {
		s.add("gvlan_gossip_refused_total", n, reason)
	}
	s.add("gvlan_gossip_conflicts_total", g.Conflicts)
	s.add("gvlan_gossip_udp_blocked_total", g.UDPBlocked)
	s.add("gvlan_gossip_dropped_total", g.Dropped)
}

func number(is bool) int {
	if is {
		return 1
	}
	return 0
}

// scrape is one answer.
type scrape struct {
	ch   chan<- prometheus.Metric
	told map[string]bool // two networks of one name would spoil all of it
}

func (s *scrape) set(name string, value int, labels ...string) {
	s.tell(name, prometheus.GaugeValue, float64(value), labels...)
}

func (s *scrape) add(name string, value uint64, labels ...string) {
	s.tell(name, prometheus.CounterValue, float64(value), labels...)
}

func (s *scrape) tell(name string, of prometheus.ValueType, value float64, labels ...string) {
	series := name + "\x00" + strings.Join(labels, "\x00")
	if s.told[series] {
		return
	}
	s.told[series] = true
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "?") // a network's name may be any text
	}
	s.ch <- prometheus.MustNewConstMetric(named(name).desc(), of, value, labels...)
}
