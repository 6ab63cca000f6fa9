package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/option"
	"gvlan/driver/plan"
	"gvlan/driver/publish"
	"gvlan/driver/trouble"
	"gvlan/driver/visible"
	"gvlan/ipam"
	"gvlan/ipam/pool"
)

// Swarm is the networks that a swarm keeps.
type Swarm struct {
	*host.Host
	containers *publish.Containers
	networks   *Networks
	Services   trouble.Findings // services that cannot be reached
	Unmade     trouble.Findings // networks whose creation was refused

	refused refusals
}

// NewSwarm answers for a host.
func NewSwarm(h *host.Host, c *publish.Containers, n *Networks) *Swarm {
	return &Swarm{Host: h, containers: c, networks: n, refused: refusals{why: map[string]error{}}}
}

// refusals are the networks that the leader was refused, and why. The swarm asks
// again by itself; who made the network hears of neither.
type refusals struct {
	mu  sync.Mutex
	why map[string]error // by the swarm's network id
}

// Allocated notes how the swarm's leader was answered about a network.
func (sw *Swarm) Allocated(id string, refused error) {
	sw.refused.mu.Lock()
	defer sw.refused.mu.Unlock()
	if delete(sw.refused.why, id); refused != nil {
		sw.refused.why[id] = refused
	}
}

// list copies them.
func (r *refusals) list() map[string]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.why)
}

// only forgets those of networks that are no more.
func (r *refusals) only(there map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.why, func(id string, _ error) bool { return there[id] == "" })
}

// LookAtRefused names the networks whose creation was refused here, for as long
// as the swarm has them. Only managers know its networks.
func (sw *Swarm) LookAtRefused(ctx context.Context) {
	refused := sw.refused.list()
	var warnings []string
	if len(refused) > 0 {
		listed, err := sw.Cfg.Engine.SwarmNetworks(ctx)
		if err != nil && !errors.Is(err, engine.ErrNotManager) {
			return
		}
		names := map[string]string{}
		for _, n := range listed {
			names[n.ID] = n.Name
		}
		sw.refused.only(names)
		for _, id := range slices.Sorted(maps.Keys(refused)) {
			if name := names[id]; name != "" {
				warnings = append(warnings, fmt.Sprintf("network %s of the swarm was not made: %v (docker network rm %s, and make it again)", name, refused[id], name))
			}
		}
	}
	sw.Unmade.Replace(warnings, sw.Cfg.Now(), sw.Log, slog.LevelWarn)
}

// Census is what the engine has that needs addresses.
type Census struct {
	Endpoints map[string]bool       // endpoint ids
	Addresses map[netip.Addr]bool   // of endpoints on networks with our addresses
	Subnets   map[netip.Prefix]bool // of networks with our addresses
	Unjoined  map[netip.Prefix]bool // of those among them whose pools no CreateNetwork joins: of other drivers, and the swarm's
	Imports   bool                  // the addresses of imported networks are among them
}

// Count takes one of the engine's networks in.
func (c Census) Count(n engine.Network, driver string) {
	for _, e := range n.Endpoints {
		c.Endpoints[e.ID] = true
		c.Addresses[e.IPv4.Addr()] = true
		c.Addresses[e.IPv6.Addr()] = true
	}
	for _, p := range n.IPAM.Pools {
		c.Subnets[p.Subnet.Masked()] = true
		if n.Driver != driver || n.Scope != engine.ScopeLocal {
			c.Unjoined[p.Subnet.Masked()] = true
		}
	}
}

// Needs reports whether something of the engine may stand on a holding: other
// drivers' networks and endpoints never confirm theirs.
func (c Census) Needs(h ipam.Held) bool {
	switch h.Kind {
	case ipam.HeldAddress:
		return c.Addresses[h.Address] || c.Endpoints[h.Endpoint] || isImport(h.Network) && !c.Imports
	case ipam.HeldPool:
		return c.Unjoined[h.Subnet]
	}
	for subnet := range c.Subnets {
		if subnet == h.Subnet || subnet.Contains(h.Address) {
			return true
		}
	}
	return false
}

// FreeLostNetworks ends networks that the swarm no longer has: the leader that
// should have freed them died. As with claims, only managers know.
func (sw *Swarm) FreeLostNetworks(ctx context.Context, s *host.Suspects, away int) (failed error) {
	led := slices.DeleteFunc(sw.Memory.Networks(), func(n journal.Network) bool { return !n.IsManager() || n.Removing })
	if len(led) == 0 {
		return nil
	}
	listed, err := sw.Cfg.Engine.SwarmNetworks(ctx)
	if errors.Is(err, engine.ErrNotManager) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range led {
		stands := slices.ContainsFunc(listed, func(e engine.Network) bool { return e.ID == n.UUID })
		if stands || !s.Proven("swarm network "+n.UUID, sw.Now(), away) {
			continue
		}
		if err := sw.FreeNetwork(ctx, n.UUID); err != nil {
			failed = errors.Join(failed, fmt.Errorf("free network %s that the swarm no longer has: %w", n.Title(), err))
			continue
		}
		sw.Log.Warn("freed a network that the swarm no longer has", "network", n.Title(), "id", n.UUID)
	}
	return failed
}

// hasEnded reports whether the swarm gives a task's addresses back in that state (swarmkit api.TaskState).
func hasEnded(state string) bool {
	return slices.Contains([]string{"complete", "shutdown", "failed", "rejected", "remove", "orphaned"}, state)
}

// FreeManagerClaims ends claims of tasks and services that are no more: a
// leader that died took their release with it. Only managers know, and two
// observations are needed as for everything that is freed without being asked.
func (sw *Swarm) FreeManagerClaims(ctx context.Context, s *host.Suspects, away int) (failed error) {
	claims, err := sw.Addresses.ManagerClaims(ctx)
	if err != nil || len(claims) == 0 {
		return err
	}
	used, err := sw.swarmAddresses(ctx)
	if errors.Is(err, engine.ErrNotManager) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, c := range claims {
		if used[c.Network][c.Address] || !s.Proven(c, sw.Now(), away) {
			continue
		}
		dropped, err := sw.Addresses.DropManagerClaim(ctx, c)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("end the swarm's claim of %s: %w", c.Address, err))
		}
		if err != nil || !dropped {
			continue
		}
		sw.Log.Warn("ended the swarm's claim of an address that no task or service has", "address", c.Address, "network", visible.ID(c.Network))
	}
	return failed
}

// swarmAddresses is every address of a task or service, by network id.
func (sw *Swarm) swarmAddresses(ctx context.Context) (map[string]map[netip.Addr]bool, error) {
	used := map[string]map[netip.Addr]bool{}
	use := func(network string, addr netip.Addr) {
		if used[network] == nil {
			used[network] = map[netip.Addr]bool{}
		}
		used[network][addr] = true
	}
	tasks, err := sw.Cfg.Engine.Tasks(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tasks {
		if hasEnded(t.State) {
			continue
		}
		for _, a := range t.Attachments {
			for _, addr := range a.Addresses {
				use(a.NetworkID, addr.Addr())
			}
		}
	}
	services, err := sw.Cfg.Engine.Services(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		for _, vip := range s.VIPs {
			use(vip.NetworkID, vip.Addr.Addr())
		}
	}
	return used, nil
}

// Swarm networks are born at AllocateNetwork and die at FreeNetwork, both on
// the swarm's leader; a worker's CreateNetwork and DeleteNetwork only follow
// its tasks. They are never replicated and never removed by gvlan. The leader
// is asked for every address of services and tasks without ever seeing a
// CreateNetwork, so its side of a network has a key of its own: a leader that
// is a worker too has both, and losing one must not close the other.

// AllocateNetwork takes a swarm network on the leader. It is repeated by every
// new leader.
func (sw *Swarm) AllocateNetwork(_ context.Context, id string, o option.Options, pools []pool.Data) error {
	for i := range pools {
		// The allocator leaves the space out; it asks in the global one.
		pools[i].Space = cmp.Or(pools[i].Space, pool.GlobalSpace)
	}
	if foreignIPAM(pools) {
		return fmt.Errorf("gvlan's own addresses are needed in a swarm: add --ipam-driver %s", sw.Cfg.Name)
	}
	n := journal.Network{ID: store.ManagerNetwork(id), Stage: journal.StageSwarm, UUID: id, Options: o, IPv4: true, Since: sw.Milliseconds()}
	err := sw.Memory.Change(func(c *journal.Change) error {
		asked := sw.networks.join(c, &n, pools, sw.Now())
		err := cmp.Or(asked.CheckExclude(), asked.CheckNoBlock(), n.Options.CheckSubnets(n.Subnets()))
		if err != nil && sw.newToSwarm(id) {
			return err
		}
		c.Put(n)
		return nil
	})
	if err != nil {
		return err
	}
	sw.Poke()
	return nil
}

// newToSwarm reports whether no leader took the network before. In doubt it was
// taken: what runs must not be refused to a new leader.
func (sw *Swarm) newToSwarm(id string) bool {
	_, ready := sw.Tables.Networks.Rows()
	_, known := sw.Memory.Network(store.ManagerNetwork(id))
	return ready && !known && sw.DefinitionName(id) == ""
}

// FreeNetwork ends it. The definition goes outside the handler.
func (sw *Swarm) FreeNetwork(_ context.Context, id string) error {
	key := store.ManagerNetwork(id)
	err := sw.Memory.Change(func(c *journal.Change) error {
		if n, ok := c.Network(key); ok {
			n.Removing = true
			c.Put(n)
		}
		sw.Addresses.Detach(c, key)
		return nil
	})
	sw.Poke()
	return err
}

// commitSwarm makes the definition of a swarm network: its uuid is the swarm's
// own id, so that every leader makes the same.
func (sw *Swarm) commitSwarm(ctx context.Context, s plan.Step) error {
	def, done, err := sw.networks.define(ctx, s, store.ScopeSwarm)
	if err != nil || !done {
		return err
	}
	sw.Log.Info("network of the swarm is defined", "network", def.Record.Name, "id", def.Record.UUID)
	if def.Record.Created.IPAMOptions["exclude"] == "" {
		sw.Log.Warn(auxWarning, "network", def.Record.Name)
	}
	return sw.bindSwarm(plan.Step{Network: s.Network, Engine: s.Engine, Definition: def})
}

// auxWarning is for every network that may miss it: the engine leaves aux
// addresses out before the swarm, or any driver, hears of the network (moby
// daemon/cluster/convert, BasicNetworkCreateToGRPC).
const auxWarning = "swarm drops --aux-address: whatever was given so is not kept out, and this network has no --ipam-opt exclude="

// bindSwarm takes name and overrides over.
func (sw *Swarm) bindSwarm(s plan.Step) error {
	def := s.Definition.Record
	err := sw.Memory.Change(func(c *journal.Change) error {
		if n, ok := c.Network(s.Network.ID); ok {
			n.Name, n.Overrides, n.Why = s.Engine.Name, def.Overrides, ""
			c.Put(n)
			sw.Addresses.Adopt(c, n.ID, def, s.Definition.Modified)
		}
		return nil
	})
	sw.containers.Refresh()
	host.Tell(sw.Reach) // it may have been set on or off
	return err
}

// freeSwarm ends the definition of a network the leader freed.
func (sw *Swarm) freeSwarm(ctx context.Context, s plan.Step) error {
	_, err := sw.networks.undefine(ctx, s.Definition)
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

// LookAtServices remembers, and logs once, which services cannot be reached.
// Only managers know services.
func (sw *Swarm) LookAtServices(ctx context.Context) {
	ours := map[string]journal.Network{}
	for _, n := range sw.Memory.Networks() {
		if n.Stage == journal.StageSwarm {
			ours[n.UUID] = n
		}
	}
	var warnings []string
	if len(ours) > 0 {
		services, err := sw.Cfg.Engine.Services(ctx)
		if err != nil {
			return
		}
		warnings = virtualAddresses(services, ours)
	}
	sw.Services.Replace(warnings, sw.Cfg.Now(), sw.Log, slog.LevelWarn)
}

// endClaims ends what the swarm claims on a network it has freed: the leader
// is not asked to release the addresses of tasks that outlive their network.
func (sw *Swarm) endClaims(ctx context.Context, n journal.Network) error {
	var subnets []netip.Prefix
	for _, p := range n.Pools {
		subnets = append(subnets, p.Subnet)
	}
	return sw.Addresses.EndManagerClaims(ctx, ipam.SwarmNetwork{ID: n.UUID, Segment: n.Segment, Subnets: subnets})
}
