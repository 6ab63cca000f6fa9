package driver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/visible"
	"gvlan/ipam"
)

// freeLostNetworks ends networks that the swarm no longer has: the leader that
// should have freed them died. As with claims, only managers know.
func (d *Driver) freeLostNetworks(ctx context.Context, s *suspects, away int) (failed error) {
	led := slices.DeleteFunc(d.state.Networks(), func(n journal.Network) bool { return !n.IsManager() || n.Removing })
	if len(led) == 0 {
		return nil
	}
	listed, err := d.cfg.Engine.SwarmNetworks(ctx)
	if errors.Is(err, engine.ErrNotManager) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range led {
		stands := slices.ContainsFunc(listed, func(e engine.Network) bool { return e.ID == n.UUID })
		if stands || !s.proven("swarm network "+n.UUID, d.now(), away) {
			continue
		}
		if err := d.FreeNetwork(ctx, n.UUID); err != nil {
			failed = errors.Join(failed, fmt.Errorf("free network %s that the swarm no longer has: %w", n.Title(), err))
			continue
		}
		d.log.Warn("freed a network that the swarm no longer has", "network", n.Title(), "id", n.UUID)
	}
	return failed
}

// endClaims ends what the swarm claims on a network it has freed: the leader
// is not asked to release the addresses of tasks that outlive their network.
func (d *Driver) endClaims(ctx context.Context, n journal.Network) error {
	var subnets []netip.Prefix
	for _, p := range n.Pools {
		subnets = append(subnets, p.Subnet)
	}
	return d.addresses.EndManagerClaims(ctx, ipam.SwarmNetwork{ID: n.UUID, Segment: n.Segment, Subnets: subnets})
}

// hasEnded tells the task states after which the swarm gives a task's
// addresses back (swarmkit api.TaskState).
func hasEnded(state string) bool {
	return slices.Contains([]string{"complete", "shutdown", "failed", "rejected", "remove", "orphaned"}, state)
}

// freeManagerClaims ends claims of tasks and services that are no more: a
// leader that died took their release with it. Only managers know, and two
// observations are needed as for everything that is freed without being asked.
func (d *Driver) freeManagerClaims(ctx context.Context, s *suspects, away int) (failed error) {
	claims, err := d.addresses.ManagerClaims(ctx)
	if err != nil || len(claims) == 0 {
		return err
	}
	used, err := d.swarmAddresses(ctx)
	if errors.Is(err, engine.ErrNotManager) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, c := range claims {
		if used[c.Network][c.Address] || !s.proven(c, d.now(), away) {
			continue
		}
		dropped, err := d.addresses.DropManagerClaim(ctx, c)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("end the swarm's claim of %s: %w", c.Address, err))
		}
		if err != nil || !dropped {
			continue
		}
		d.log.Warn("ended the swarm's claim of an address that no task or service has", "address", c.Address, "network", visible.ID(c.Network))
	}
	return failed
}

// swarmAddresses is every address of a task or service, by network id.
func (d *Driver) swarmAddresses(ctx context.Context) (map[string]map[netip.Addr]bool, error) {
	used := map[string]map[netip.Addr]bool{}
	use := func(network string, addr netip.Addr) {
		if used[network] == nil {
			used[network] = map[netip.Addr]bool{}
		}
		used[network][addr] = true
	}
	tasks, err := d.cfg.Engine.Tasks(ctx)
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
	services, err := d.cfg.Engine.Services(ctx)
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
