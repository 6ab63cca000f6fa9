package driver

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/option"
	"gvlan/driver/plan"
	"gvlan/ipam"
	"gvlan/ipam/pool"
)

// Swarm networks are born at AllocateNetwork and die at FreeNetwork, both on
// the swarm's leader; a worker's CreateNetwork and DeleteNetwork only follow
// its tasks. They are never replicated and never removed by gvlan. The leader
// is asked for every address of services and tasks without ever seeing a
// CreateNetwork, so its side of a network has a key of its own: a leader that
// is a worker too has both, and losing one must not close the other.

// AllocateNetwork takes a swarm network on the leader. It is repeated by every
// new leader.
func (sw *swarm) AllocateNetwork(_ context.Context, id string, o option.Options, pools []pool.Data) error {
	for i := range pools {
		// The allocator leaves the space out; it asks in the global one.
		pools[i].Space = cmp.Or(pools[i].Space, pool.GlobalSpace)
	}
	if foreignIPAM(pools) {
		return fmt.Errorf("gvlan's own addresses are needed in a swarm: add --ipam-driver %s", sw.cfg.Name)
	}
	n := journal.Network{ID: store.ManagerNetwork(id), Stage: journal.StageSwarm, UUID: id, Options: o, IPv4: true, Since: sw.milliseconds()}
	err := sw.memory.Change(func(c *journal.Change) error {
		asked := sw.networks.join(c, &n, pools)
		if err := asked.CheckExclude(); err != nil && sw.newToSwarm(id) {
			return err
		}
		c.Put(n)
		return nil
	})
	if err != nil {
		return err
	}
	sw.poke()
	return nil
}

// newToSwarm reports whether no leader took the network before. In doubt it was
// taken: what runs must not be refused to a new leader.
func (sw *swarm) newToSwarm(id string) bool {
	_, ready := sw.tables.networks.Rows()
	_, known := sw.memory.Network(store.ManagerNetwork(id))
	return ready && !known && sw.definitionName(id) == ""
}

// FreeNetwork ends it. The definition goes outside the handler.
func (sw *swarm) FreeNetwork(_ context.Context, id string) error {
	key := store.ManagerNetwork(id)
	err := sw.memory.Change(func(c *journal.Change) error {
		if n, ok := c.Network(key); ok {
			n.Removing = true
			c.Put(n)
		}
		sw.addresses.Detach(c, key)
		return nil
	})
	sw.poke()
	return err
}

// commitSwarm makes the definition of a swarm network: its uuid is the swarm's
// own id, so that every leader makes the same.
func (sw *swarm) commitSwarm(ctx context.Context, s plan.Step) error {
	n := store.Network{
		UUID: s.Network.UUID, Name: s.Engine.Name, State: store.NetworkActive, Scope: store.ScopeSwarm,
		Origin: sw.self.Node(), Since: sw.milliseconds() / 1000, Created: plan.Define(s.Engine, s.Network),
	}
	conds, ops, err := sw.addresses.ReserveFor(ctx, n.UUID, s.Network.ID)
	if err != nil {
		return err
	}
	key := store.NetworkKey(n.Name)
	res, err := sw.cfg.KV.Commit(ctx, store.Txn{
		If:   append(conds, store.Absent(key), store.Absent(store.TombstoneKey(n.UUID))),
		Then: append(ops, store.Put(key, store.Encode(n))),
	})
	if err != nil || !res.Done {
		return err
	}
	sw.log.Info("network of the swarm is defined", "network", n.Name, "id", n.UUID)
	if n.Created.IPAMOptions["exclude"] == "" {
		sw.log.Warn(auxWarning, "network", n.Name)
	}
	return sw.bindSwarm(plan.Step{Network: s.Network, Engine: s.Engine, Definition: store.Row[store.Network]{Key: key, Record: n, Created: res.Revision, Modified: res.Revision}})
}

// auxWarning is for every network that may miss it: the engine leaves aux
// addresses out before the swarm, or any driver, hears of the network (moby
// daemon/cluster/convert, BasicNetworkCreateToGRPC).
const auxWarning = "swarm drops --aux-address: whatever was given so is not kept out, and this network has no --ipam-opt exclude="

// bindSwarm takes name and overrides over.
func (sw *swarm) bindSwarm(s plan.Step) error {
	def := s.Definition.Record
	err := sw.memory.Change(func(c *journal.Change) error {
		if n, ok := c.Network(s.Network.ID); ok {
			n.Name, n.Overrides, n.Why = s.Engine.Name, def.Overrides, ""
			c.Put(n)
		}
		sw.addresses.Adopt(c, s.Network.ID, def, s.Definition.Modified)
		return nil
	})
	sw.containers.names.poke()
	return err
}

// freeSwarm ends the definition of a network the leader freed.
func (sw *swarm) freeSwarm(ctx context.Context, s plan.Step) error {
	def := s.Definition.Record
	conds, ops, err := sw.addresses.UnreserveFor(ctx, def)
	if err != nil {
		return err
	}
	grave := store.Tombstone{Network: def, By: sw.self.Node(), Since: sw.milliseconds() / 1000}
	_, err = sw.cfg.KV.Commit(ctx, store.Txn{
		If:   append(conds, store.Unchanged(s.Definition.Key, s.Definition.Modified)),
		Then: append(ops, store.Delete(s.Definition.Key), store.Put(store.TombstoneKey(def.UUID), store.Encode(grave))),
	})
	return err
}

// virtualAddresses names the services that have a virtual address on a
// network of ours, which nobody answers: the swarm makes a load balancer for
// overlay networks only.
func virtualAddresses(services []engine.Service, ours map[string]journal.Network) []string {
	var warnings []string
	for _, s := range services {
		if s.Mode != engine.ModeVIP {
			continue
		}
		for _, vip := range s.VIPs {
			n, ok := ours[vip.NetworkID]
			if !ok || !vip.Addr.IsValid() {
				continue
			}
			warnings = append(warnings, fmt.Sprintf("service %s has the virtual address %s on network %s, which nobody answers: create it with --endpoint-mode dnsrr",
				s.Name, vip.Addr.Addr(), n.Title()))
		}
	}
	return warnings
}

// lookAtServices remembers, and logs once, which services cannot be reached.
// Only managers know services.
func (sw *swarm) lookAtServices(ctx context.Context) {
	ours := map[string]journal.Network{}
	for _, n := range sw.memory.Networks() {
		if n.Stage == journal.StageSwarm {
			ours[n.UUID] = n
		}
	}
	var warnings []string
	if len(ours) > 0 {
		services, err := sw.cfg.Engine.Services(ctx)
		if err != nil {
			return
		}
		warnings = virtualAddresses(services, ours)
	}
	for _, w := range sw.services.Replace(warnings) {
		sw.log.Warn(w)
	}
}

// Warnings are what is wrong here that no error told anybody: services whose
// virtual address nobody answers, a managed plugin whose name hides this one,
// hosts whose network lost its name to one of this host, options without effect.
func (cm *commands) Warnings() []string {
	return slices.Concat(cm.swarm.services.List(), cm.reconciler.plugins.List(), cm.replicas.clashes.List(), cm.containers.unheeded.list())
}

// endClaims ends what the swarm claims on a network it has freed: the leader
// is not asked to release the addresses of tasks that outlive their network.
func (sw *swarm) endClaims(ctx context.Context, n journal.Network) error {
	var subnets []netip.Prefix
	for _, p := range n.Pools {
		subnets = append(subnets, p.Subnet)
	}
	return sw.addresses.EndManagerClaims(ctx, ipam.SwarmNetwork{ID: n.UUID, Segment: n.Segment, Subnets: subnets})
}
