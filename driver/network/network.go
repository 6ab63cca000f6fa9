package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/driver/failpoint"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/option"
	"gvlan/driver/parent"
	"gvlan/driver/plan"
	"gvlan/driver/plugin"
	"gvlan/driver/visible"
	"gvlan/ipam"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
)

// Networks is what Docker's calls on networks do.
type Networks struct {
	*host.Host
	making replicasMade
}

// replicasMade are the definitions that the engine is being asked to make
// replicas of.
type replicasMade struct {
	mu  sync.Mutex
	all map[string]store.Definition // by uuid
}

func (m *replicasMade) begin(def store.Network) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[string]store.Definition{}
	}
	m.all[def.UUID] = def.Created
}

func (m *replicasMade) end(def store.Network) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, def.UUID)
}

// has reports whether a network is one of them, by all that Docker tells of it.
func (m *replicasMade) has(r plugin.NewNetwork) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, def := range m.all {
		o, err := option.Parse(def.Options)
		o.Old = r.Options.Old
		if err == nil && reflect.DeepEqual(o, r.Options) && len(r.Pools) == len(def.Pools) {
			return true
		}
	}
	return false
}

// ErrInUse: containers refer to the network.
var ErrInUse = errors.New("network is in use")

// NewNetworks answers for a host.
func NewNetworks(h *host.Host) *Networks { return &Networks{Host: h} }

// CreateNetwork takes a network into the journal and makes its VLAN link or
// dummy. It is an upsert: the swarm repeats it after a restart.
func (ns *Networks) CreateNetwork(ctx context.Context, r plugin.NewNetwork) error {
	if len(r.Options.Old) > 0 {
		ns.Log.Warn("old option names were used: host_iface and host_interface are parent now, and no name starts with a dash",
			"network", visible.ID(r.ID), "names", strings.Join(r.Options.Old, " "))
	}
	local := ns.IsLocal(r.Options)
	foreign := foreignIPAM(r.Pools)
	if foreign && !local {
		return fmt.Errorf("gvlan's own addresses are needed for a network of the whole cluster: add --ipam-driver %s (or -o scope=local for one of this host only)", ns.Cfg.Name)
	}
	arrived := ns.Now() // before the lock: its pools were opened earlier, those of another create may come meanwhile
	ns.Parents.Lock()
	defer ns.Parents.Unlock()
	n, asked := ns.describe(r, local, foreign, arrived)
	if err := parent.Check(n); err != nil {
		return err
	}
	if err := checkReserved(n); err != nil {
		return err
	}
	if err := ns.checkGiven(r, n, asked); err != nil {
		return err
	}
	if err := ns.Parents.Supported(ctx, n); err != nil {
		return err
	}
	if err := ns.Parents.Prepare(ctx, &n, ns.replicating(r)); err != nil {
		return err
	}
	failpoint.Reach("create: parent ready")
	for _, w := range ns.WarningsOf(ctx, n) {
		ns.Log.Warn(w, "network", n.Title())
	}
	err := ns.Memory.Change(func(c *journal.Change) error {
		ns.join(c, &n, r.Pools, arrived)
		c.Put(n)
		return nil
	})
	if err != nil {
		return errors.Join(err, ns.Parents.Release(ctx, n))
	}
	failpoint.Reach("create: journaled")
	ns.Poke()
	return nil
}

// join gives a network the pools that were opened for it before Docker's call
// arrived, and returns what they say.
func (ns *Networks) join(c *journal.Change, n *journal.Network, pools []pool.Data, arrived time.Time) pool.Addressing {
	if n.Foreign {
		return pool.Addressing{}
	}
	ns.Addresses.Attach(c, n.ID, pools, arrived)
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
func (ns *Networks) replicating(r plugin.NewNetwork) bool { return ns.making.has(r) }

// describe is the journal's record of a network Docker just made.
func (ns *Networks) describe(r plugin.NewNetwork, local, foreign bool, arrived time.Time) (n journal.Network, asked pool.Addressing) {
	n = journal.Network{
		ID: r.ID, Stage: journal.StageSeen, UUID: uuid.NewString(), Options: r.Options,
		IPv4: r.IPv4, IPv6: r.IPv6, Internal: r.Internal,
		Foreign: foreign, Since: ns.Milliseconds(),
	}
	if known, ok := ns.Memory.Network(r.ID); ok && known.Stage != journal.StageGone {
		n.Stage, n.UUID, n.Name = known.Stage, known.UUID, known.Name
	} else if store.IsSwarmID(r.ID) {
		n.Stage, n.UUID = journal.StageSwarm, r.ID
	} else if local {
		n.Stage = journal.StageLocal
	}
	if foreign {
		n.Pools = foreignPools(r.Pools)
	}
	return n, ns.join(ns.Memory.Draft(), &n, r.Pools, arrived)
}

// MaxReserved is how many single addresses a network may reserve: its
// definition and they go in one transaction, which etcd bounds to 128
// operations (its --max-txn-ops).
const MaxReserved = 100

// checkReserved refuses more gateways and aux addresses than that.
func checkReserved(n journal.Network) error {
	count := 0
	for _, p := range n.Pools {
		count += len(p.Aux)
		if p.Gateway.IsValid() {
			count++
		}
	}
	if n.Foreign || count <= MaxReserved {
		return nil
	}
	return fmt.Errorf("%d addresses by --gateway and --aux-address are more than the %d a network may have: keep ranges out with --ipam-opt exclude=", count, MaxReserved)
}

// checkGiven refuses exclude= outside every subnet, block= that deals out none, and
// options that fit none of them, where a user gives them.
// What stands already, or is defined, came from an agent that took it, and a
// swarm's networks are made again by whoever leads.
func (ns *Networks) checkGiven(r plugin.NewNetwork, n journal.Network, asked pool.Addressing) error {
	if n.Stage != journal.StageSeen && n.Stage != journal.StageLocal || ns.replicating(r) {
		return nil
	}
	if _, known := ns.Memory.Network(r.ID); known {
		return nil
	}
	if err := n.Options.CheckSubnets(n.Subnets()); err != nil || n.Foreign {
		return err
	}
	return cmp.Or(asked.CheckExclude(), asked.CheckBlock(n.Options.Layer3()))
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

// define commits the definition of one of the engine's networks: whoever comes
// first has the name. Its reservations carry the definition's name from then on.
// It is not done where the name was taken, the definition was removed before, or
// a reservation moved: the next look knows.
func (ns *Networks) define(ctx context.Context, s plan.Step, scope store.NetworkScope, more ...store.Cond) (made store.Row[store.Network], done bool, err error) {
	n := store.Network{
		UUID: s.Network.UUID, Name: s.Engine.Name, State: store.NetworkActive, Scope: scope,
		Origin: ns.Self.Node(), Since: ns.Milliseconds() / 1000, Created: plan.Define(s.Engine, s.Network),
	}
	conds, ops, err := ns.Addresses.ReserveFor(ctx, n.UUID, s.Network.ID)
	if err != nil {
		return made, false, err
	}
	key := store.NetworkKey(n.Name)
	conds = append(conds, store.Absent(key), store.Absent(store.TombstoneKey(n.UUID)))
	res, err := ns.Cfg.KV.Commit(ctx, store.Txn{
		If:   append(conds, more...),
		Then: append(ops, store.Put(key, store.Encode(n))),
	})
	if err != nil || !res.Done {
		return made, false, err
	}
	tellMade(ns.Host, n, "")
	return store.Row[store.Network]{Key: key, Record: n, Created: res.Revision, Modified: res.Revision}, true, nil
}

// tellMade tells that a network of the cluster has a definition.
func tellMade(h *host.Host, n store.Network, why string) {
	h.Cfg.Events.Tell(events.Event{Kind: events.NetworkMade, Network: n.Name, Segment: n.Created.Segment, Text: why})
}

// undefine deletes a definition with its reservations, and leaves its tombstone,
// which says what it was. It is not done where the definition changed meanwhile.
func (ns *Networks) undefine(ctx context.Context, def store.Row[store.Network]) (done bool, err error) {
	n := def.Record
	// What operators reserved goes first, in as many transactions as it takes: nothing
	// is reserved on a network that is being removed.
	desk := reserve.Desk{KV: ns.Cfg.KV, Node: ns.Self.Node(), Now: ns.Now}
	if err := desk.EndAll(ctx, def); errors.Is(err, reserve.ErrMeanwhile) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("end the reservations of network %s: %w", n.Name, err)
	}
	conds, ops, err := ns.Addresses.UnreserveFor(ctx, n)
	if err != nil {
		return false, err
	}
	n.State, n.Force = store.NetworkActive, false // as it would come back
	grave := store.Tombstone{Network: n, By: ns.Self.Node(), Since: ns.Milliseconds() / 1000}
	res, err := ns.Cfg.KV.Commit(ctx, store.Txn{
		If:   append(conds, store.Unchanged(def.Key, def.Modified)),
		Then: append(ops, store.Delete(def.Key), store.Put(store.TombstoneKey(n.UUID), store.Encode(grave))),
	})
	if err != nil || !res.Done {
		return false, err
	}
	ns.Cfg.Events.Tell(events.Event{Kind: events.NetworkRemoved, Network: n.Name, Segment: n.Created.Segment})
	return true, nil
}

// DeleteNetwork notes that Docker forgot the network. What that means for
// the definition is settled outside the handler. Unknown networks are
// success.
func (ns *Networks) DeleteNetwork(ctx context.Context, id string) error {
	ns.Parents.Lock()
	defer ns.Parents.Unlock()
	n, ok := ns.Memory.Network(id)
	if !ok {
		return nil
	}
	// Docker drops its network whatever is answered.
	err := ns.Memory.Note(func(c *journal.Change) {
		ns.settleDeleted(c, id)
		ns.Addresses.Detach(c, id)
	})
	if err != nil {
		ns.Log.Error("a deleted network cannot be journaled: it comes back if the agent ends before its removal is settled", "network", n.Title(), "err", err)
	}
	failpoint.Reach("delete: journaled")
	if err := ns.Parents.Release(ctx, n); err != nil {
		ns.Log.Error("links of a deleted network cannot be removed: swept later", "network", n.Title(), "err", err)
	}
	ns.Poke()
	return nil
}

// forget takes a network out of the journal with its pools: one that stayed open
// would have its subnet for ever.
func (ns *Networks) forget(n journal.Network) error {
	return ns.Memory.Change(func(c *journal.Change) error {
		ns.Addresses.Detach(c, n.ID)
		c.Drop(n)
		return nil
	})
}

// CloseForgotten closes the pools of networks that the journal does not have,
// which an agent before this journal's transactions could leave behind.
func (ns *Networks) CloseForgotten() (failed error) {
	for _, id := range ns.Addresses.Joined() {
		if _, known := ns.Memory.Network(id); known || isImport(id) {
			continue
		}
		ns.Log.Warn("closing the pools of a network that this host does not know", "network", visible.ID(id))
		failed = errors.Join(failed, ns.forget(journal.Network{ID: id}))
	}
	return failed
}

// settleDeleted notes that Docker deleted a network: only one that may stand
// for a definition of ours has anything left to settle.
func (ns *Networks) settleDeleted(c *journal.Change, id string) {
	n, ok := c.Network(id)
	switch {
	case !ok:
	case n.Stage == journal.StageLocal || n.Stage == journal.StageSwarm:
		c.Drop(n)
	default:
		n.Stage, n.Since = journal.StageGone, ns.Milliseconds()
		c.Put(n)
	}
}

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

// lookAtClashes remembers, and logs, which hosts made a different network
// under a name that was defined on this one first. The host that lost says so
// itself; whoever won would not hear of it otherwise.
func (rs *Replicas) lookAtClashes(v plan.View) {
	nodes, _ := rs.Tables.Nodes.Rows()
	rs.Clashes.Replace(plan.Clashes(v, nodes), rs.Cfg.Now(), rs.Log, slog.LevelWarn)
}

// WarningsOf are what a user should know of a new network that is no reason to
// refuse it: each one sentence.
func (ns *Networks) WarningsOf(ctx context.Context, n journal.Network) []string {
	return append(overlapping(n, ns.Memory.Networks()), ns.Parents.Warnings(ctx, n)...)
}

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

// learnLabels asks the engine for its labels, and which version it is.
func (rs *Replicas) learnLabels(ctx context.Context) error {
	info, err := rs.Cfg.Engine.Info(ctx)
	if err != nil {
		return err
	}
	rs.sandboxes.Announcer.Learn(info.APIVersion)
	rs.containers.Unheeded.Learn(info.Version)
	rs.containers.Refresh() // what has no effect depends on it
	return rs.Scopes.Learn(info.Labels)
}
