package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/ipam/pool"
)

// Swarm networks are born at AllocateNetwork and die at FreeNetwork, both on
// the swarm's leader; a worker's CreateNetwork and DeleteNetwork only follow
// its tasks. They are never replicated and never removed by gvlan. The leader
// is asked for every address of services and tasks without ever seeing a
// CreateNetwork, so its side of a network has a key of its own: a leader that
// is a worker too has both, and losing one must not close the other.

// isManager tells the leader's side of a network from a worker's.
func (n hostNetwork) isManager() bool { return n.ID == store.ManagerNetwork(n.UUID) }

// AllocateNetwork takes a swarm network on the leader. It is repeated by every
// new leader.
func (d *Driver) AllocateNetwork(_ context.Context, id string, o Options, pools []pool.Data) error {
	for i := range pools {
		// The allocator leaves the space out; it asks in the global one.
		pools[i].Space = orDefault(pools[i].Space, pool.GlobalSpace)
	}
	if foreignIPAM(pools) {
		return fmt.Errorf("gvlan's own addresses are needed in a swarm: add --ipam-driver %s", d.cfg.Name)
	}
	key := store.ManagerNetwork(id)
	if err := d.addresses.Attach(key, pools); err != nil {
		return err
	}
	n := hostNetwork{ID: key, Stage: StageSwarm, UUID: id, Options: o, IPv4: true, Since: d.milliseconds()}
	asked, _ := d.addresses.Pools(key)
	if err := asked.CheckExclude(); err != nil && d.newToSwarm(id) {
		return errors.Join(err, d.addresses.Detach(key))
	}
	n.Segment, n.Pools = asked.Segment, asked.Pools
	for i := range n.Pools {
		n.Pools[i] = settleGateway(n, n.Pools[i])
	}
	if err := d.state.putNetwork(n); err != nil {
		return err
	}
	d.poke()
	return nil
}

// newToSwarm tells whether no leader took the network before. In doubt it was
// taken: what runs must not be refused to a new leader.
func (d *Driver) newToSwarm(id string) bool {
	_, ready := d.tables.networks.all()
	_, known := d.state.network(store.ManagerNetwork(id))
	return ready && !known && d.definitionName(id) == ""
}

// FreeNetwork ends it. The definition goes outside the handler.
func (d *Driver) FreeNetwork(_ context.Context, id string) error {
	key := store.ManagerNetwork(id)
	if err := d.state.changeNetwork(key, func(n *hostNetwork) { n.Removing = true }); err != nil {
		return err
	}
	d.poke()
	return d.addresses.Detach(key)
}

// planSwarm is for a network the swarm keeps: its name is learned, and its
// definition follows the leader's calls.
func (v view) planSwarm(n hostNetwork) []step {
	e, listed := v.swarm[n.UUID]
	def, defined := v.byUUID(n.UUID)
	switch {
	case n.Removing && defined:
		return []step{{do: doSwarmFree, network: n, definition: def}}
	case n.Removing:
		return []step{{do: doForget, network: n}}
	case !listed: // or the swarm has no quorum: freeLostNetworks asks it
		return nil
	case defined && (n.Name != e.Name || !equalOverrides(n.Overrides, def.Record.Overrides)):
		return []step{{do: doSwarmBind, network: n, engine: e, definition: def}}
	case defined:
		return nil
	}
	if _, buried := v.tombstones[n.UUID]; buried || !n.isManager() {
		return stage(n, e, StageSwarm, "")
	}
	if other, taken := v.definitions[e.Name]; taken {
		return stage(n, e, StageSwarm, fmt.Sprintf("node %s defined a network of this name outside the swarm: it has no names and no overrides", v.hosts.of(other.Record.Origin)))
	}
	return []step{{do: doSwarmCommit, network: n, engine: e}}
}

// commitSwarm makes the definition of a swarm network: its uuid is the swarm's
// own id, so that every leader makes the same.
func (d *Driver) commitSwarm(ctx context.Context, s step) error {
	n := store.Network{
		UUID: s.network.UUID, Name: s.engine.Name, State: store.NetworkActive, Scope: store.ScopeSwarm,
		Origin: d.self.Node(), Since: d.milliseconds() / 1000, Created: define(s.engine, s.network),
	}
	conds, ops, err := d.addresses.ReserveFor(ctx, n.UUID, s.network.ID)
	if err != nil {
		return err
	}
	key := store.NetworkKey(n.Name)
	res, err := d.cfg.KV.Commit(ctx, store.Txn{
		If:   append(conds, store.Absent(key), store.Absent(store.TombstoneKey(n.UUID))),
		Then: append(ops, store.Put(key, store.Encode(n))),
	})
	if err != nil || !res.Done {
		return err
	}
	d.log.Info("network of the swarm is defined", "network", n.Name, "id", n.UUID)
	if n.Created.IPAMOptions["exclude"] == "" {
		d.log.Warn(auxWarning, "network", n.Name)
	}
	return d.bindSwarm(step{network: s.network, engine: s.engine, definition: row[store.Network]{Key: key, Record: n, Born: res.Revision, Modified: res.Revision}})
}

// auxWarning is for every network that may miss it: the engine leaves aux
// addresses out before the swarm, or any driver, hears of the network (moby
// daemon/cluster/convert, BasicNetworkCreateToGRPC).
const auxWarning = "swarm drops --aux-address: whatever was given so is not kept out, and this network has no --ipam-opt exclude="

// bindSwarm takes name and overrides over.
func (d *Driver) bindSwarm(s step) error {
	def := s.definition.Record
	err := d.state.changeNetwork(s.network.ID, func(n *hostNetwork) {
		n.Name, n.Overrides, n.Why = s.engine.Name, def.Overrides, ""
	})
	if err != nil {
		return err
	}
	d.names.poke()
	return d.addresses.Adopt(s.network.ID, def, s.definition.Modified)
}

// freeSwarm ends the definition of a network the leader freed.
func (d *Driver) freeSwarm(ctx context.Context, s step) error {
	def := s.definition.Record
	conds, ops, err := d.addresses.UnreserveFor(ctx, def)
	if err != nil {
		return err
	}
	grave := store.Tombstone{Network: def, By: d.self.Node(), Since: d.milliseconds() / 1000}
	_, err = d.cfg.KV.Commit(ctx, store.Txn{
		If:   append(conds, store.Unchanged(s.definition.Key, s.definition.Modified)),
		Then: append(ops, store.Delete(s.definition.Key), store.Put(store.TombstoneKey(def.UUID), store.Encode(grave))),
	})
	return err
}

// virtualAddresses names the services that have a virtual address on a
// network of ours, which nobody answers: the swarm makes a load balancer for
// overlay networks only.
func virtualAddresses(services []engine.Service, ours map[string]hostNetwork) []string {
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
				s.Name, vip.Addr.Addr(), n.title()))
		}
	}
	return warnings
}

// lookAtServices remembers, and logs once, which services cannot be reached.
// Only managers know services.
func (d *Driver) lookAtServices(ctx context.Context) {
	ours := map[string]hostNetwork{}
	for _, n := range d.state.allNetworks() {
		if n.Stage == StageSwarm {
			ours[n.UUID] = n
		}
	}
	var warnings []string
	if len(ours) > 0 {
		services, err := d.cfg.Engine.Services(ctx)
		if err != nil {
			return
		}
		warnings = virtualAddresses(services, ours)
	}
	for _, w := range d.services.replace(warnings) {
		d.log.Warn(w)
	}
}

// findings are sentences that were found true at the last look.
type findings struct {
	mu  sync.Mutex
	all []string
}

// replace takes the sentences of a new look and returns those that are new.
func (f *findings) replace(now []string) (fresh []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range now {
		if !slices.Contains(f.all, s) {
			fresh = append(fresh, s)
		}
	}
	f.all = now
	return fresh
}

// list copies the sentences.
func (f *findings) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

// Warnings are what is wrong here that no error told anybody: services whose
// virtual address nobody answers, a managed plugin whose name hides this one,
// hosts whose network lost its name to one of this host, options without effect.
func (d *Driver) Warnings() []string {
	return slices.Concat(d.services.list(), d.plugins.list(), d.clashes.list(), d.unheeded.list())
}
