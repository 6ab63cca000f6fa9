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
func (d *Driver) CreateNetwork(ctx context.Context, r plugin.NewNetwork) error {
	if len(r.Options.Old) > 0 {
		d.log.Warn("old option names were used: host_iface and host_interface are parent now, and no name starts with a dash",
			"network", visible.ID(r.ID), "names", strings.Join(r.Options.Old, " "))
	}
	local := d.isLocal(r.Options)
	foreign := foreignIPAM(r.Pools)
	if foreign && !local {
		return fmt.Errorf("gvlan's own addresses are needed for a network of the whole cluster: add --ipam-driver %s (or -o scope=local for one of this host only)", d.cfg.Name)
	}
	d.parents.Lock()
	defer d.parents.Unlock()
	n, asked := d.describe(r, local, foreign)
	if err := parent.Check(n); err != nil {
		return err
	}
	if err := checkReserved(n); err != nil {
		return err
	}
	if err := d.checkExclude(r, n, asked); err != nil {
		return err
	}
	if err := d.parents.Supported(ctx, n); err != nil {
		return err
	}
	if err := d.parents.Prepare(ctx, &n, d.replicating(r)); err != nil {
		return err
	}
	failpoint("create: parent ready")
	for _, w := range d.warnings(ctx, n) {
		d.log.Warn(w, "network", n.Title())
	}
	err := d.memory.Change(func(c *journal.Change) error {
		d.join(c, &n, r.Pools)
		c.Put(n)
		return nil
	})
	if err != nil {
		return errors.Join(err, d.parents.Release(ctx, n))
	}
	failpoint("create: journaled")
	d.poke()
	return nil
}

// join gives a network the pools that were opened for it, and returns what they
// say.
func (d *Driver) join(c *journal.Change, n *journal.Network, pools []pool.Data) pool.Addressing {
	if n.Foreign {
		return pool.Addressing{}
	}
	d.addresses.Attach(c, n.ID, pools)
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
func (d *Driver) replicating(r plugin.NewNetwork) bool {
	def := d.making.Load()
	if def == nil {
		return false
	}
	o, err := option.Parse(def.Created.Options)
	o.Old = r.Options.Old
	return err == nil && reflect.DeepEqual(o, r.Options) && len(r.Pools) == len(def.Created.Pools)
}

// describe is the journal's record of a network Docker just made.
func (d *Driver) describe(r plugin.NewNetwork, local, foreign bool) (n journal.Network, asked pool.Addressing) {
	n = journal.Network{
		ID: r.ID, Stage: journal.StageSeen, UUID: uuid.NewString(), Options: r.Options,
		IPv4: r.IPv4, IPv6: r.IPv6, Internal: r.Internal,
		Foreign: foreign, Since: d.milliseconds(),
	}
	if known, ok := d.memory.Network(r.ID); ok && known.Stage != journal.StageGone {
		n.Stage, n.UUID, n.Name = known.Stage, known.UUID, known.Name
	} else if store.IsSwarmID(r.ID) {
		n.Stage, n.UUID = journal.StageSwarm, r.ID
	} else if local {
		n.Stage = journal.StageLocal
	}
	if foreign {
		n.Pools = foreignPools(r.Pools)
	}
	return n, d.join(d.memory.Draft(), &n, r.Pools)
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
func (d *Driver) checkExclude(r plugin.NewNetwork, n journal.Network, asked pool.Addressing) error {
	if n.Foreign || n.Stage != journal.StageSeen && n.Stage != journal.StageLocal || d.replicating(r) {
		return nil
	}
	if _, known := d.memory.Network(r.ID); known {
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
func (d *Driver) DeleteNetwork(ctx context.Context, id string) error {
	d.parents.Lock()
	defer d.parents.Unlock()
	n, ok := d.memory.Network(id)
	if !ok {
		return nil
	}
	// Docker drops its network whatever is answered: what fails here is
	// logged, and a later look at the engine finds the same.
	err := d.memory.Change(func(c *journal.Change) error {
		d.settleDeleted(c, id)
		d.addresses.Detach(c, id)
		return nil
	})
	if err != nil {
		d.log.Error("a deleted network cannot be journaled: settled at a later look at the engine", "network", n.Title(), "err", err)
	}
	failpoint("delete: journaled")
	if err := d.parents.Release(ctx, n); err != nil {
		d.log.Error("links of a deleted network cannot be removed: swept later", "network", n.Title(), "err", err)
	}
	d.poke()
	return nil
}

// settleDeleted notes that Docker deleted a network: only one that may stand
// for a definition of ours has anything left to settle.
func (d *Driver) settleDeleted(c *journal.Change, id string) {
	n, ok := c.Network(id)
	switch {
	case !ok:
	case n.Stage == journal.StageLocal || n.Stage == journal.StageSwarm:
		c.Drop(n)
	default:
		n.Stage, n.Since = journal.StageGone, d.milliseconds()
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
func (d *Driver) refuseLost(n journal.Network) error {
	if !n.NameLost {
		return nil
	}
	return fmt.Errorf("%w: network %s on node %s: %s: remove its containers and the network here, and the cluster's comes in its place; or make it with the settings that `gvlan network inspect %s` shows, or under another name",
		ErrNameLost, n.Title(), d.cfg.host(), n.Why, n.Title())
}

// lookAtClashes remembers, and logs once, which hosts made a different network
// under a name that was defined on this one first. The host that lost says so
// itself; whoever won would not hear of it otherwise.
func (d *Driver) lookAtClashes(v plan.View) {
	nodes, _ := d.tables.nodes.Rows()
	for _, clash := range d.clashes.Replace(plan.Clashes(v, nodes)) {
		d.log.Warn(clash)
	}
}

// warnings are what a user should know of a new network that is no reason to
// refuse it: each one sentence.
func (d *Driver) warnings(ctx context.Context, n journal.Network) []string {
	return append(overlapping(n, d.memory.Networks()), d.parents.Warnings(ctx, n)...)
}

// soloWarning is for a network that is defined where nobody else sees it.
const soloWarning = "this agent is solo: no other host shares its etcd, so the network exists on this host only (start the agent with --etcd-listen and join the others)"

func (d *Driver) isSolo() bool { return d.cfg.Solo != nil && d.cfg.Solo() }

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
func (d *Driver) isLocal(o option.Options) bool {
	return cmp.Or(o.Scope, d.scopes.of(o.Kind)) == option.ScopeLocal
}

// learnLabels asks the engine for its labels, and which version it is.
func (d *Driver) learnLabels(ctx context.Context) error {
	info, err := d.cfg.Engine.Info(ctx)
	if err != nil {
		return err
	}
	d.announcer.learn(info.APIVersion)
	d.unheeded.learn(info.Version)
	d.names.poke() // what has no effect depends on it
	return d.scopes.learn(info.Labels)
}

// lookAtPlugins finds a managed plugin whose name hides this socket plugin:
// Docker takes "gvlan:latest" for "gvlan" and then has no other, also when that
// one is disabled.
func (d *Driver) lookAtPlugins(ctx context.Context) error {
	names, err := d.cfg.Engine.ManagedPlugins(ctx)
	if err != nil {
		return err
	}
	var found []string
	for _, name := range names {
		if name != d.cfg.Name && strings.TrimSuffix(name, ":latest") == d.cfg.Name {
			found = append(found, fmt.Sprintf("a managed plugin is called %s: Docker finds it in place of this agent, and plain networks lose their driver; remove it and create it as gvlan-swarm:latest", name))
		}
	}
	for _, f := range d.plugins.Replace(found) {
		d.log.Error(f)
	}
	return nil
}
