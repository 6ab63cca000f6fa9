package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"

	"github.com/google/uuid"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/parent"
	"gvlan/driver/plan"
	"gvlan/driver/plugin"
	"gvlan/driver/visible"
	"gvlan/ipam"
	"gvlan/ipam/pool"
)

// CreateNetwork takes a network into the journal and makes its VLAN link or
// dummy. It is an upsert: the swarm repeats it after a restart.
func (ns *networks) CreateNetwork(ctx context.Context, r plugin.NewNetwork) error {
	if len(r.Options.Old) > 0 {
		ns.log.Warn("old option names were used: host_iface and host_interface are parent now, and no name starts with a dash",
			"network", visible.ID(r.ID), "names", strings.Join(r.Options.Old, " "))
	}
	local := ns.isLocal(r.Options)
	foreign := foreignIPAM(r.Pools)
	if foreign && !local {
		return fmt.Errorf("gvlan's own addresses are needed for a network of the whole cluster: add --ipam-driver %s (or -o scope=local for one of this host only)", ns.cfg.Name)
	}
	ns.parents.Lock()
	defer ns.parents.Unlock()
	n, asked := ns.describe(r, local, foreign)
	if err := parent.Check(n); err != nil {
		return err
	}
	if err := checkReserved(n); err != nil {
		return err
	}
	if err := ns.checkExclude(r, n, asked); err != nil {
		return err
	}
	if err := ns.parents.Supported(ctx, n); err != nil {
		return err
	}
	if err := ns.parents.Prepare(ctx, &n, ns.replicating(r)); err != nil {
		return err
	}
	failpoint("create: parent ready")
	for _, w := range ns.warnings(ctx, n) {
		ns.log.Warn(w, "network", n.Title())
	}
	err := ns.memory.Change(func(c *journal.Change) error {
		ns.join(c, &n, r.Pools)
		c.Put(n)
		return nil
	})
	if err != nil {
		return errors.Join(err, ns.parents.Release(ctx, n))
	}
	failpoint("create: journaled")
	ns.poke()
	return nil
}

// join gives a network the pools that were opened for it, and returns what they
// say.
func (ns *networks) join(c *journal.Change, n *journal.Network, pools []pool.Data) pool.Addressing {
	if n.Foreign {
		return pool.Addressing{}
	}
	ns.addresses.Attach(c, n.ID, pools)
	asked, _ := ipam.AddressingOf(c, n.ID)
	n.Segment, n.Pools = asked.Segment, asked.Pools
	for i := range n.Pools {
		n.Pools[i] = n.SettleGateway(n.Pools[i])
	}
	return asked
}

// replicating reports whether the engine makes this network because the agent
// asked it to. Only what is refused to a user depends on it: a replica is
// made also where no container of it could start.
func (ns *networks) replicating(r plugin.NewNetwork) bool {
	def := ns.making.Load()
	if def == nil {
		return false
	}
	o, err := option.Parse(def.Created.Options)
	o.Old = r.Options.Old
	return err == nil && reflect.DeepEqual(o, r.Options) && len(r.Pools) == len(def.Created.Pools)
}

// describe is the journal's record of a network Docker just made.
func (ns *networks) describe(r plugin.NewNetwork, local, foreign bool) (n journal.Network, asked pool.Addressing) {
	n = journal.Network{
		ID: r.ID, Stage: journal.StageSeen, UUID: uuid.NewString(), Options: r.Options,
		IPv4: r.IPv4, IPv6: r.IPv6, Internal: r.Internal,
		Foreign: foreign, Since: ns.milliseconds(),
	}
	if known, ok := ns.memory.Network(r.ID); ok && known.Stage != journal.StageGone {
		n.Stage, n.UUID, n.Name = known.Stage, known.UUID, known.Name
	} else if store.IsSwarmID(r.ID) {
		n.Stage, n.UUID = journal.StageSwarm, r.ID
	} else if local {
		n.Stage = journal.StageLocal
	}
	if foreign {
		n.Pools = foreignPools(r.Pools)
	}
	return n, ns.join(ns.memory.Draft(), &n, r.Pools)
}

// maxReserved is how many single addresses a network may reserve: its
// definition and they go in one transaction, which etcd bounds to 128
// operations (its --max-txn-ops).
const maxReserved = 100

// checkReserved refuses more gateways and aux addresses than that.
func checkReserved(n journal.Network) error {
	count := 0
	for _, p := range n.Pools {
		count += len(p.Aux)
		if p.Gateway.IsValid() {
			count++
		}
	}
	if n.Foreign || count <= maxReserved {
		return nil
	}
	return fmt.Errorf("%d addresses by --gateway and --aux-address are more than the %d a network may have: keep ranges out with --ipam-opt exclude=", count, maxReserved)
}

// checkExclude refuses exclude= outside every subnet where a user gives it.
// What stands already, or is defined, came from an agent that took it, and a
// swarm's networks are made again by whoever leads.
func (ns *networks) checkExclude(r plugin.NewNetwork, n journal.Network, asked pool.Addressing) error {
	if n.Foreign || n.Stage != journal.StageSeen && n.Stage != journal.StageLocal || ns.replicating(r) {
		return nil
	}
	if _, known := ns.memory.Network(r.ID); known {
		return nil
	}
	return asked.CheckExclude()
}

// foreignIPAM reports whether the addresses come from another IPAM driver.
func foreignIPAM(pools []pool.Data) bool {
	for _, p := range pools {
		if !pool.IsSpace(p.Space) {
			return true
		}
	}
	return false
}

// foreignPools describes pools that another IPAM driver keeps.
func foreignPools(all []pool.Data) []store.Pool {
	var pools []store.Pool
	for _, p := range all {
		pools = append(pools, store.Pool{Subnet: p.Subnet, Gateway: p.Gateway, Aux: p.Aux, Asked: true})
	}
	return pools
}

// DeleteNetwork notes that Docker forgot the network. What that means for
// the definition is settled outside the handler. Unknown networks are
// success.
func (ns *networks) DeleteNetwork(ctx context.Context, id string) error {
	ns.parents.Lock()
	defer ns.parents.Unlock()
	n, ok := ns.memory.Network(id)
	if !ok {
		return nil
	}
	// Docker drops its network whatever is answered: what fails here is
	// logged, and a later look at the engine finds the same.
	err := ns.memory.Change(func(c *journal.Change) error {
		ns.settleDeleted(c, id)
		ns.addresses.Detach(c, id)
		return nil
	})
	if err != nil {
		ns.log.Error("a deleted network cannot be journaled: settled at a later look at the engine", "network", n.Title(), "err", err)
	}
	failpoint("delete: journaled")
	if err := ns.parents.Release(ctx, n); err != nil {
		ns.log.Error("links of a deleted network cannot be removed: swept later", "network", n.Title(), "err", err)
	}
	ns.poke()
	return nil
}

// settleDeleted notes that Docker deleted a network: only one that may stand
// for a definition of ours has anything left to settle.
func (ns *networks) settleDeleted(c *journal.Change, id string) {
	n, ok := c.Network(id)
	switch {
	case !ok:
	case n.Stage == journal.StageLocal || n.Stage == journal.StageSwarm:
		c.Drop(n)
	default:
		n.Stage, n.Since = journal.StageGone, ns.milliseconds()
		c.Put(n)
	}
}

// ErrNameLost: the network's name belongs to another definition, and no
// container ran on the network before that was known.
var ErrNameLost = errors.New("network is not the cluster's")

// noteClash remembers that a network lost its name before any container ran
// on it, which is what unused says: whoever makes a network with other settings than the cluster's, as an
// edited compose file does, would start containers that no other host reaches
// and no other host knows by name. Docker shows an error where it shows no
// warning, so it is the containers' start that tells. What ran before goes on,
// and starts again: that it lost its name is no reason to end it.
func noteClash(n *journal.Network, why string, unused bool) {
	if n.Stage == journal.StageSeen && n.Why == "" && why != "" {
		n.NameLost = unused
	}
}

// refuseLost refuses a container on a network that lost its name.
func (ep *endpoints) refuseLost(n journal.Network) error {
	if !n.NameLost {
		return nil
	}
	return fmt.Errorf("%w: network %s on node %s: %s: remove its containers and the network here, and the cluster's comes in its place; or make it with the settings that `gvlan network inspect %s` shows, or under another name",
		ErrNameLost, n.Title(), ep.cfg.host(), n.Why, n.Title())
}

// lookAtClashes remembers, and logs once, which hosts made a different network
// under a name that was defined on this one first. The host that lost says so
// itself; whoever won would not hear of it otherwise.
func (rs *replicas) lookAtClashes(v plan.View) {
	nodes, _ := rs.tables.nodes.Rows()
	for _, clash := range rs.clashes.Replace(plan.Clashes(v, nodes)) {
		rs.log.Warn(clash)
	}
}

// warnings are what a user should know of a new network that is no reason to
// refuse it: each one sentence.
func (ns *networks) warnings(ctx context.Context, n journal.Network) []string {
	return append(overlapping(n, ns.memory.Networks()), ns.parents.Warnings(ctx, n)...)
}

// soloWarning is for a network that is defined where nobody else sees it.
const soloWarning = "this agent is solo: no other host shares its etcd, so the network exists on this host only (start the agent with --etcd-listen and join the others)"

func (h *Host) isSolo() bool { return h.cfg.Solo != nil && h.cfg.Solo() }

// overlapping names pools of other networks that share addresses with the
// network's own: legal, since an address exists once per segment, and worth
// knowing.
func overlapping(n journal.Network, all []journal.Network) []string {
	var warnings []string
	for _, other := range all {
		if other.ID == n.ID || other.Stage == journal.StageGone || other.Segment != n.Segment || other.Foreign {
			continue
		}
		for _, a := range n.Pools {
			for _, b := range other.Pools {
				if a.Subnet.Overlaps(b.Subnet) {
					warnings = append(warnings, fmt.Sprintf("subnet %s shares addresses with %s of network %s: no address is given twice", a.Subnet, b.Subnet, other.Title()))
				}
			}
		}
	}
	return warnings
}

// Settings is where a few words last, a bucket of the journal.
type Settings interface {
	Put(key string, value []byte) error
	Each(func(key string, value []byte) error) error
}

// scopes is the default scope of new networks by kind, as the engine's labels
// (`dockerd --label macvlan=local`) set it. Labels come by the Engine API,
// which no handler may ask, so the last ones known are kept in the journal.
type scopes struct {
	mu       sync.Mutex
	byKind   map[link.Kind]option.Scope
	fallback option.Scope
	kept     Settings
}

func openScopes(kept Settings, fallback option.Scope) (*scopes, error) {
	s := &scopes{byKind: map[link.Kind]option.Scope{}, fallback: cmp.Or(fallback, option.ScopeGlobal), kept: kept}
	err := kept.Each(func(key string, value []byte) error {
		if kind := link.Kind(key); kind == link.Macvlan || kind == link.Ipvlan {
			s.byKind[kind] = option.Scope(value)
		}
		return nil
	})
	return s, err
}

// of is the default scope of a kind; global while no label is known.
func (s *scopes) of(kind link.Kind) option.Scope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.byKind[kind], s.fallback)
}

// learn takes the engine's labels over.
func (s *scopes) learn(labels map[string]string) error {
	said, err := option.ParseLabels(labels)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if maps.Equal(said, s.byKind) {
		return nil
	}
	for _, kind := range []link.Kind{link.Macvlan, link.Ipvlan} {
		if err := s.kept.Put(string(kind), []byte(said[kind])); err != nil {
			return err
		}
	}
	s.byKind = said
	return nil
}

// isLocal reports whether a new network stays on this host.
func (h *Host) isLocal(o option.Options) bool {
	return cmp.Or(o.Scope, h.scopes.of(o.Kind)) == option.ScopeLocal
}

// learnLabels asks the engine for its labels, and which version it is.
func (rs *replicas) learnLabels(ctx context.Context) error {
	info, err := rs.cfg.Engine.Info(ctx)
	if err != nil {
		return err
	}
	rs.sandboxes.announcer.learn(info.APIVersion)
	rs.containers.unheeded.learn(info.Version)
	rs.containers.names.poke() // what has no effect depends on it
	return rs.scopes.learn(info.Labels)
}

// lookAtPlugins finds a managed plugin whose name hides this socket plugin:
// Docker takes "gvlan:latest" for "gvlan" and then has no other, also when that
// one is disabled.
func (rc *reconciler) lookAtPlugins(ctx context.Context) error {
	names, err := rc.cfg.Engine.ManagedPlugins(ctx)
	if err != nil {
		return err
	}
	var found []string
	for _, name := range names {
		if name != rc.cfg.Name && strings.TrimSuffix(name, ":latest") == rc.cfg.Name {
			found = append(found, fmt.Sprintf("a managed plugin is called %s: Docker finds it in place of this agent, and plain networks lose their driver; remove it and create it as gvlan-swarm:latest", name))
		}
	}
	for _, f := range rc.plugins.Replace(found) {
		rc.log.Error(f)
	}
	return nil
}
