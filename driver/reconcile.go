package driver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/netns"
	"gvlan/driver/trouble"
	"gvlan/driver/visible"
	"gvlan/ipam"
)

// What seems dead is freed after two observations that far
// apart, none of them made while the engine was away in between.
const (
	reconcileEvery = 20 * time.Second
	secondLook     = 30 * time.Second
)

// observation is the first sight of something that seems dead.
type observation struct {
	at   time.Time
	away int // how often the engine had gone away by then
}

// suspects are the things seen dead once.
type suspects struct {
	first map[any]observation
	seen  map[any]bool // in this round
}

// proven reports whether a thing was seen dead before, long enough ago and
// without the engine going away since; else it is remembered.
func (s *suspects) proven(thing any, now time.Time, away int) bool {
	s.seen[thing] = true
	had, ok := s.first[thing]
	if !ok || had.away != away {
		s.first[thing] = observation{at: now, away: away}
		return false
	}
	return now.Sub(had.at) >= secondLook
}

// round forgets what was not seen dead again.
func (s *suspects) round() {
	for thing := range s.first {
		if !s.seen[thing] {
			delete(s.first, thing)
		}
	}
	clear(s.seen)
}

// reconcileForever finds what Docker forgot to say: endpoints and addresses
// nobody has any more.
func (rc *reconciler) reconcileForever(ctx context.Context) error {
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	s := &suspects{first: map[any]observation{}, seen: map[any]bool{}}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := rc.reconcile(ctx, s); err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrUnavailable) {
			rc.troubles.Tell(trouble.Matter{What: "reconcile"}, err)
		} else {
			rc.troubles.Over(trouble.Matter{What: "reconcile"})
		}
	}
}

// reconcile is one round. An engine that does not answer proves nothing.
func (rc *reconciler) reconcile(ctx context.Context, s *suspects) error {
	away, _ := rc.replicas.seen.absences()
	had, err := rc.census(ctx)
	if err != nil {
		return err
	}
	if again, _ := rc.replicas.seen.absences(); again != away {
		return nil
	}
	defer s.round()
	rc.swarm.lookAtServices(ctx)
	// One thing that cannot be freed, or told of, holds up nothing else: a
	// swarm that lost its leader answers nobody, for days perhaps.
	return errors.Join(
		rc.freeDeadEndpoints(ctx, s, had, away),
		rc.freeUnknown(ctx, s, had, away),
		rc.dropLeftovers(ctx, s, had, away),
		rc.freeProvisional(ctx, s, had, away),
		rc.swarm.freeLostNetworks(ctx, s, away),
		rc.swarm.freeManagerClaims(ctx, s, away),
		rc.lookAtPlugins(ctx),
		rc.parents.Sweep(ctx),
	)
}

// census is what the engine has that needs addresses.
type census struct {
	endpoints map[string]bool       // endpoint ids
	addresses map[netip.Addr]bool   // of endpoints on networks with our addresses
	subnets   map[netip.Prefix]bool // of networks with our addresses
	unjoined  map[netip.Prefix]bool // of those among them whose pools no CreateNetwork joins: of other drivers, and the swarm's
	imports   bool                  // the addresses of imported networks are among them
}

// EngineEndpoints returns the ids of the endpoints that this host's engine
// lists.
func (rc *reconciler) EngineEndpoints(ctx context.Context) (map[string]bool, error) {
	had, err := rc.census(ctx)
	return had.endpoints, err
}

// census asks the engine for everything that holds an endpoint or address.
func (rc *reconciler) census(ctx context.Context) (census, error) {
	had := census{endpoints: map[string]bool{}, addresses: map[netip.Addr]bool{}, subnets: map[netip.Prefix]bool{}, unjoined: map[netip.Prefix]bool{}}
	if err := rc.cfg.Engine.Ready(ctx); err != nil {
		return had, err
	}
	networks, err := rc.cfg.Engine.Networks(ctx, "")
	if err != nil {
		return had, err
	}
	for _, n := range networks {
		if n.Driver != rc.cfg.Name && n.IPAM.Driver != rc.cfg.Name {
			continue
		}
		full, err := rc.cfg.Engine.Network(ctx, n.ID)
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			return had, err
		}
		had.count(full, rc.cfg.Name)
	}
	defined, known := rc.definitionNames()
	had.imports = known
	imported := importing(networks, rc.cfg.Name, defined)
	containers, err := rc.cfg.Engine.Containers(ctx)
	if err != nil {
		return had, err
	}
	for _, c := range containers {
		for _, a := range c.Attachments {
			// A container that died with its engine keeps the id of an endpoint
			// that is no more; one being started has its endpoint in the network.
			// A container that waits to be restarted has none.
			if a.EndpointID != "" && c.State != engine.StateExited && c.State != engine.StateDead && c.State != engine.StateCreated {
				had.endpoints[a.EndpointID] = true
			}
			if imported[a.Network] {
				four, six := attachedAddresses(a)
				had.addresses[four], had.addresses[six] = true, true
			}
		}
	}
	return had, nil
}

// importing names the networks of other drivers that have a definition: their
// containers' addresses are held until they move over, running or not.
func importing(networks []engine.Network, driver string, defined map[string]bool) map[string]bool {
	names := map[string]bool{}
	for _, n := range networks {
		if n.Driver != driver && defined[n.Name] {
			names[n.Name] = true
		}
	}
	return names
}

// definitionNames are the names that have a definition. They are not known
// while the store does not answer or is not trusted.
func (rc *reconciler) definitionNames() (defined map[string]bool, known bool) {
	rows, known := rc.tables.networks.Rows()
	names := make(map[string]bool, len(rows))
	for _, r := range rows {
		names[r.Record.Name] = true
	}
	return names, known && rc.self.Trusted() == nil
}

func (c census) count(n engine.Network, driver string) {
	for _, e := range n.Endpoints {
		c.endpoints[e.ID] = true
		c.addresses[e.IPv4.Addr()] = true
		c.addresses[e.IPv6.Addr()] = true
	}
	for _, p := range n.IPAM.Pools {
		c.subnets[p.Subnet.Masked()] = true
		if n.Driver != driver || n.Scope != engine.ScopeLocal {
			c.unjoined[p.Subnet.Masked()] = true
		}
	}
}

// freeDeadEndpoints frees endpoints the engine does not list and whose
// sandbox is gone.
func (rc *reconciler) freeDeadEndpoints(ctx context.Context, s *suspects, had census, away int) (failed error) {
	for _, e := range rc.memory.Endpoints() {
		if had.endpoints[e.ID] || rc.sandboxLives(e) {
			continue
		}
		if !s.proven("endpoint "+e.ID, rc.now(), away) {
			continue
		}
		if err := rc.endpoints.closeEndpoint(ctx, e); err != nil {
			failed = errors.Join(failed, fmt.Errorf("free the dead endpoint %s: %w", visible.ID(e.ID), err))
			continue
		}
		rc.log.Warn("freed an endpoint that the engine forgot", "endpoint", visible.ID(e.ID), "addresses", e.Addresses())
	}
	return failed
}

// freeUnknown frees addresses of endpoints that neither the journal nor the
// engine knows.
func (rc *reconciler) freeUnknown(ctx context.Context, s *suspects, had census, away int) (failed error) {
	for id, addresses := range rc.addresses.Bound() {
		if _, known := rc.memory.Endpoint(id); known || had.endpoints[id] {
			continue
		}
		if !s.proven("bound "+id, rc.now(), away) {
			continue
		}
		if err := rc.addresses.Free(ctx, id); err != nil {
			failed = errors.Join(failed, fmt.Errorf("free the unknown endpoint %s: %w", visible.ID(id), err))
			continue
		}
		rc.log.Warn("freed addresses of an endpoint that neither the journal nor the engine knows", "endpoint", visible.ID(id), "addresses", addresses)
	}
	return failed
}

// dropLeftovers takes records of endpoints out of the store that nothing here
// has: their agent died before it could note them.
func (rc *reconciler) dropLeftovers(ctx context.Context, s *suspects, had census, away int) (failed error) {
	left, err := rc.addresses.Leftovers(ctx)
	if err != nil {
		return err
	}
	for _, id := range left {
		if _, known := rc.memory.Endpoint(id); known || had.endpoints[id] || !s.proven("record "+id, rc.now(), away) {
			continue
		}
		if err := rc.addresses.DropLeftover(ctx, id); err != nil {
			failed = errors.Join(failed, fmt.Errorf("drop the record of the unknown endpoint %s: %w", visible.ID(id), err))
			continue
		}
		rc.log.Warn("dropped the record of an endpoint that neither the journal nor the engine knows", "endpoint", visible.ID(id))
	}
	return failed
}

// closeEndpoint forgets an endpoint and gives its addresses back.
func (ep *endpoints) closeEndpoint(ctx context.Context, e journal.Endpoint) error {
	if err := ep.forgetEndpoint(ctx, e); err != nil {
		return err
	}
	return ep.addresses.Free(ctx, e.ID)
}

// sandboxLives reports whether any process is still in the endpoint's network
// namespace. What cannot be judged lives.
func (h *Host) sandboxLives(e journal.Endpoint) bool {
	if e.Sandbox == "" {
		return false
	}
	sandbox := h.cfg.OnHost(e.Sandbox)
	mounted, err := netns.IsMounted(sandbox)
	if err != nil {
		return true
	}
	if !mounted {
		return false
	}
	ns, err := netns.Open(sandbox)
	if err != nil {
		return false
	}
	defer ns.Close()
	has, err := ns.HasProcess()
	return has || err != nil
}

// freeProvisional gives up what was asked for and never confirmed.
func (rc *reconciler) freeProvisional(ctx context.Context, s *suspects, had census, away int) (failed error) {
	held, err := rc.addresses.Provisional(ctx)
	if err != nil {
		return err
	}
	for _, h := range held {
		if had.needs(h) || !s.proven(h, rc.now(), away) {
			continue
		}
		if err := rc.addresses.FreeProvisional(ctx, h); err != nil {
			failed = errors.Join(failed, fmt.Errorf("give up what nothing confirmed: %w", err))
			continue
		}
		rc.log.Info("gave up what was asked for and never used", "segment", h.Segment, "address", h.Address, "subnet", h.Subnet)
	}
	return errors.Join(failed, rc.imports.closeImports(s, held, away))
}

// needs reports whether something of the engine may stand on a holding: other
// drivers' networks and endpoints never confirm theirs.
func (c census) needs(h ipam.Held) bool {
	switch h.Kind {
	case ipam.HeldAddress:
		return c.addresses[h.Address] || c.endpoints[h.Endpoint] || isImport(h.Network) && !c.imports
	case ipam.HeldPool:
		return c.unjoined[h.Subnet]
	}
	for subnet := range c.subnets {
		if subnet == h.Subnet || subnet.Contains(h.Address) {
			return true
		}
	}
	return false
}

// deadAfter is how old an endpoint must be before an address request may
// find it dead by itself.
const deadAfter = time.Minute

// CloseDead closes an endpoint whose address is asked for again, if it is
// provably dead: old enough, its sandbox gone and its link
// absent or back in the host's namespace, where Docker moves it when a
// container stops. It asks the kernel only: it runs within a handler.
func (ep *endpoints) CloseDead(ctx context.Context, endpoint string) (bool, error) {
	e, ok := ep.memory.Endpoint(endpoint)
	if !ok {
		return false, nil
	}
	age := time.Duration(ep.milliseconds()-e.Since) * time.Millisecond
	if age < deadAfter || ep.sandboxLives(e) {
		return false, nil
	}
	return true, ep.closeEndpoint(ctx, e)
}

// freeLostNetworks ends networks that the swarm no longer has: the leader that
// should have freed them died. As with claims, only managers know.
func (sw *swarm) freeLostNetworks(ctx context.Context, s *suspects, away int) (failed error) {
	led := slices.DeleteFunc(sw.memory.Networks(), func(n journal.Network) bool { return !n.IsManager() || n.Removing })
	if len(led) == 0 {
		return nil
	}
	listed, err := sw.cfg.Engine.SwarmNetworks(ctx)
	if errors.Is(err, engine.ErrNotManager) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range led {
		stands := slices.ContainsFunc(listed, func(e engine.Network) bool { return e.ID == n.UUID })
		if stands || !s.proven("swarm network "+n.UUID, sw.now(), away) {
			continue
		}
		if err := sw.FreeNetwork(ctx, n.UUID); err != nil {
			failed = errors.Join(failed, fmt.Errorf("free network %s that the swarm no longer has: %w", n.Title(), err))
			continue
		}
		sw.log.Warn("freed a network that the swarm no longer has", "network", n.Title(), "id", n.UUID)
	}
	return failed
}

// hasEnded tells the task states after which the swarm gives a task's
// addresses back (swarmkit api.TaskState).
func hasEnded(state string) bool {
	return slices.Contains([]string{"complete", "shutdown", "failed", "rejected", "remove", "orphaned"}, state)
}

// freeManagerClaims ends claims of tasks and services that are no more: a
// leader that died took their release with it. Only managers know, and two
// observations are needed as for everything that is freed without being asked.
func (sw *swarm) freeManagerClaims(ctx context.Context, s *suspects, away int) (failed error) {
	claims, err := sw.addresses.ManagerClaims(ctx)
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
		if used[c.Network][c.Address] || !s.proven(c, sw.now(), away) {
			continue
		}
		dropped, err := sw.addresses.DropManagerClaim(ctx, c)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("end the swarm's claim of %s: %w", c.Address, err))
		}
		if err != nil || !dropped {
			continue
		}
		sw.log.Warn("ended the swarm's claim of an address that no task or service has", "address", c.Address, "network", visible.ID(c.Network))
	}
	return failed
}

// swarmAddresses is every address of a task or service, by network id.
func (sw *swarm) swarmAddresses(ctx context.Context) (map[string]map[netip.Addr]bool, error) {
	used := map[string]map[netip.Addr]bool{}
	use := func(network string, addr netip.Addr) {
		if used[network] == nil {
			used[network] = map[netip.Addr]bool{}
		}
		used[network][addr] = true
	}
	tasks, err := sw.cfg.Engine.Tasks(ctx)
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
	services, err := sw.cfg.Engine.Services(ctx)
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
