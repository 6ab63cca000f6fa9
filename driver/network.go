package driver

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/google/uuid"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/driver/option"
	"gvlan/driver/parent"
	"gvlan/driver/plugin"
	"gvlan/driver/visible"
	"gvlan/ipam"
	"gvlan/ipam/pool"
)

// CreateNetwork takes a network into the journal and makes its VLAN link or
// dummy. It is an upsert: the swarm repeats it after a restart.
func (d *Driver) CreateNetwork(ctx context.Context, r plugin.NewNetwork) (refused error) {
	if len(r.Options.Old) > 0 {
		d.log.Warn("old option names were used: host_iface and host_interface are parent now, and no name starts with a dash",
			"network", visible.ID(r.ID), "names", strings.Join(r.Options.Old, " "))
	}
	local := d.isLocal(r.Options)
	foreign := foreignIPAM(r.Pools)
	if foreign && !local {
		return fmt.Errorf("gvlan's own addresses are needed for a network of the whole cluster: add --ipam-driver %s (or -o scope=local for one of this host only)", d.cfg.Name)
	}
	if !foreign {
		if err := d.addresses.Attach(r.ID, r.Pools); err != nil {
			return err
		}
	}
	failpoint("create: pools joined")
	defer func() {
		if refused != nil && !foreign {
			refused = errors.Join(refused, d.addresses.Detach(r.ID))
		}
	}()
	n := d.describe(r, local, foreign)
	if err := parent.Check(n); err != nil {
		return err
	}
	if err := checkReserved(n); err != nil {
		return err
	}
	if err := d.checkExclude(r, n); err != nil {
		return err
	}
	if err := d.parents.Supported(ctx, n); err != nil {
		return err
	}
	d.parents.Lock()
	defer d.parents.Unlock()
	if err := d.parents.Prepare(ctx, &n, d.replicating(r)); err != nil {
		return err
	}
	failpoint("create: parent ready")
	for _, w := range d.warnings(ctx, n) {
		d.log.Warn(w, "network", n.Title())
	}
	if err := d.state.PutNetwork(n); err != nil {
		return errors.Join(err, d.parents.Release(ctx, n))
	}
	failpoint("create: journaled")
	d.poke()
	return nil
}

// forgetUnfinished lets go of the pools of networks that the journal does not
// know: the agent died between the two writes of CreateNetwork, and Docker was
// told of a failure.
func (d *Driver) forgetUnfinished() error {
	for _, id := range d.addresses.Joined() {
		if _, known := d.state.Network(id); known || isImport(id) {
			continue
		}
		if err := d.addresses.Detach(id); err != nil {
			return fmt.Errorf("forget a network that was never finished: %w", err)
		}
	}
	return nil
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
func (d *Driver) describe(r plugin.NewNetwork, local, foreign bool) journal.Network {
	n := journal.Network{
		ID: r.ID, Stage: journal.StageSeen, UUID: uuid.NewString(), Options: r.Options,
		IPv4: r.IPv4, IPv6: r.IPv6, Internal: r.Internal,
		Foreign: foreign, Since: d.milliseconds(),
	}
	if known, ok := d.state.Network(r.ID); ok && known.Stage != journal.StageGone {
		n.Stage, n.UUID, n.Name = known.Stage, known.UUID, known.Name
	} else if ipam.IsSwarmID(r.ID) {
		n.Stage, n.UUID = journal.StageSwarm, r.ID
	} else if local {
		n.Stage = journal.StageLocal
	}
	if foreign {
		n.Pools = foreignPools(r.Pools)
		return n
	}
	asked, _ := d.addresses.Pools(r.ID)
	n.Segment, n.Pools = asked.Segment, asked.Pools
	for i := range n.Pools {
		n.Pools[i] = n.SettleGateway(n.Pools[i])
	}
	return n
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
func (d *Driver) checkExclude(r plugin.NewNetwork, n journal.Network) error {
	if n.Foreign || n.Stage != journal.StageSeen && n.Stage != journal.StageLocal || d.replicating(r) {
		return nil
	}
	if _, known := d.state.Network(r.ID); known {
		return nil
	}
	asked, _ := d.addresses.Pools(r.ID)
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
	n, ok := d.state.Network(id)
	if !ok {
		return nil
	}
	// Docker drops its network whatever is answered: what fails here is
	// logged, and a later look at the engine finds the same.
	settled := d.settleDeleted(n)
	failpoint("delete: journaled")
	if err := errors.Join(settled, d.addresses.Detach(id)); err != nil {
		d.log.Error("a deleted network cannot be journaled: settled at a later look at the engine", "network", n.Title(), "err", err)
	}
	failpoint("delete: pools left")
	if err := d.parents.Release(ctx, n); err != nil {
		d.log.Error("links of a deleted network cannot be removed: swept later", "network", n.Title(), "err", err)
	}
	d.poke()
	return nil
}

// settleDeleted journals that Docker deleted a network: only one that may
// stand for a definition of ours has anything left to settle.
func (d *Driver) settleDeleted(n journal.Network) error {
	if n.Stage == journal.StageLocal || n.Stage == journal.StageSwarm {
		return d.state.DropNetwork(n.ID)
	}
	return d.state.ChangeNetwork(n.ID, func(n *journal.Network) { n.Stage, n.Since = journal.StageGone, d.milliseconds() })
}
