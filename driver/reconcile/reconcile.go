package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"gvlan/driver/endpoint"
	"gvlan/driver/engine"
	"gvlan/driver/host"
	"gvlan/driver/network"
	"gvlan/driver/trouble"
	"gvlan/driver/visible"
)

// Reconciler finds what Docker forgot to say.
type Reconciler struct {
	*host.Host
	endpoints *endpoint.Endpoints
	networks  *network.Networks
	swarm     *network.Swarm
	imports   *network.Imports
	replicas  *network.Replicas
	Plugins   trouble.Findings // plugins that hide this one
	rounds    rounds
}

// New has seen nothing yet.
func New(h *host.Host, e *endpoint.Endpoints, n *network.Networks, s *network.Swarm, i *network.Imports, r *network.Replicas) *Reconciler {
	return &Reconciler{Host: h, endpoints: e, networks: n, swarm: s, imports: i, replicas: r}
}

// lookAtPlugins finds a managed plugin whose name hides this socket plugin:
// Docker takes "gvlan:latest" for "gvlan" and then has no other, also when that
// one is disabled.
func (rc *Reconciler) lookAtPlugins(ctx context.Context) error {
	names, err := rc.Cfg.Engine.ManagedPlugins(ctx)
	if err != nil {
		return err
	}
	var found []string
	for _, name := range names {
		if name != rc.Cfg.Name && strings.TrimSuffix(name, ":latest") == rc.Cfg.Name {
			found = append(found, fmt.Sprintf("a managed plugin is called %s: Docker finds it in place of this agent, and plain networks lose their driver; remove it and create it as gvlan-swarm:latest", name))
		}
	}
	rc.Plugins.Replace(found, rc.Cfg.Now(), rc.Log, slog.LevelError)
	return nil
}

// ReconcileEvery is how often Docker is compared with what it said.
const ReconcileEvery = 20 * time.Second

// ReconcileForever finds what Docker forgot to say: endpoints and addresses
// nobody has any more.
func (rc *Reconciler) ReconcileForever(ctx context.Context) error {
	tick := time.NewTicker(ReconcileEvery)
	defer tick.Stop()
	s := host.NewSuspects()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		rc.Troubles.Settle(ctx, trouble.Matter{What: "comparing what this host remembers with the engine", Then: "what Docker left behind stays, and its addresses are taken"}, rc.Reconcile(ctx, s), engine.ErrUnavailable)
	}
}

// Reconcile is one round. An engine that does not answer proves nothing.
func (rc *Reconciler) Reconcile(ctx context.Context, s *host.Suspects) error {
	err := rc.round(ctx, s)
	rc.rounds.ended(err)
	return err
}

func (rc *Reconciler) round(ctx context.Context, s *host.Suspects) error {
	away, _ := rc.Seen.Absences()
	had, err := rc.census(ctx)
	if err != nil {
		return err
	}
	if again, _ := rc.Seen.Absences(); again != away {
		return fmt.Errorf("%w: it went away meanwhile", engine.ErrUnavailable)
	}
	defer s.Round()
	rc.swarm.LookAtServices(ctx)
	rc.swarm.LookAtRefused(ctx)
	// One thing that cannot be freed, or told of, holds up nothing else: a
	// swarm that lost its leader answers nobody, for days perhaps.
	return errors.Join(
		rc.freeDeadEndpoints(ctx, s, had, away),
		rc.freeUnknown(ctx, s, had, away),
		rc.dropLeftovers(ctx, s, had, away),
		rc.freeProvisional(ctx, s, had, away),
		rc.networks.CloseForgotten(),
		rc.swarm.FreeLostNetworks(ctx, s, away),
		rc.swarm.FreeManagerClaims(ctx, s, away),
		rc.lookAtPlugins(ctx),
		rc.Parents.Sweep(ctx),
	)
}

// EngineEndpoints returns the ids of the endpoints that this host's engine
// lists.
func (rc *Reconciler) EngineEndpoints(ctx context.Context) (map[string]bool, error) {
	had, err := rc.census(ctx)
	return had.Endpoints, err
}

// census asks the engine for everything that holds an endpoint or address.
func (rc *Reconciler) census(ctx context.Context) (network.Census, error) {
	had := network.Census{Endpoints: map[string]bool{}, Addresses: map[netip.Addr]bool{}, Subnets: map[netip.Prefix]bool{}, Unjoined: map[netip.Prefix]bool{}}
	if err := rc.Cfg.Engine.Ready(ctx); err != nil {
		return had, err
	}
	networks, err := rc.Cfg.Engine.Networks(ctx, "")
	if err != nil {
		return had, err
	}
	for _, n := range networks {
		if n.Driver != rc.Cfg.Name && n.IPAM.Driver != rc.Cfg.Name {
			continue
		}
		full, err := rc.Cfg.Engine.Network(ctx, n.ID)
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			return had, err
		}
		had.Count(full, rc.Cfg.Name)
	}
	defined, known := rc.DefinitionNames()
	had.Imports = known
	imported := importing(networks, rc.Cfg.Name, defined)
	containers, err := rc.Cfg.Engine.Containers(ctx)
	if err != nil {
		return had, err
	}
	for _, c := range containers {
		for _, a := range c.Attachments {
			// A container that died with its engine keeps the id of an endpoint
			// that is no more; one being started has its endpoint in the network.
			// A container that waits to be restarted has none.
			if a.EndpointID != "" && c.State != engine.StateExited && c.State != engine.StateDead && c.State != engine.StateCreated {
				had.Endpoints[a.EndpointID] = true
			}
			if imported[a.Network] {
				four, six := network.AttachedAddresses(a)
				had.Addresses[four], had.Addresses[six] = true, true
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

// DefinitionNames are the names that have a definition. They are not known
// while the store does not answer or is not trusted.
func (rc *Reconciler) DefinitionNames() (defined map[string]bool, known bool) {
	rows, known := rc.Tables.Networks.Rows()
	names := make(map[string]bool, len(rows))
	for _, r := range rows {
		names[r.Record.Name] = true
	}
	return names, known && rc.Self.Trusted() == nil
}

// freeDeadEndpoints frees endpoints the engine does not list, whose sandbox is
// gone, and whose addresses are silent on the LAN.
func (rc *Reconciler) freeDeadEndpoints(ctx context.Context, s *host.Suspects, had network.Census, away int) (failed error) {
	var dead []string
	for _, e := range rc.Memory.Endpoints() {
		if !had.Endpoints[e.ID] && !rc.SandboxLives(e) && s.Proven("endpoint "+e.ID, rc.Now(), away) {
			dead = append(dead, e.ID)
		}
	}
	silent, failed := rc.silent(ctx, dead)
	for _, id := range silent {
		e, known := rc.Memory.Endpoint(id)
		if !known {
			continue
		}
		if err := rc.endpoints.CloseEndpoint(ctx, e); err != nil {
			failed = errors.Join(failed, fmt.Errorf("free the dead endpoint %s: %w", visible.ID(e.ID), err))
			continue
		}
		rc.rounds.count(func(all *Rounds) { all.Endpoints++ })
		rc.Log.Warn("freed an endpoint that the engine forgot", "endpoint", visible.ID(e.ID), "addresses", e.Addresses())
	}
	return failed
}

// silent are those of dead endpoints whose addresses nobody answers for.
func (rc *Reconciler) silent(ctx context.Context, dead []string) (silent []string, failed error) {
	answering, err := rc.endpoints.Answering(ctx, dead)
	if err != nil {
		return nil, fmt.Errorf("ask the LAN before dead endpoints are freed: %w", err)
	}
	for _, id := range dead {
		if heard := answering[id]; len(heard) > 0 {
			failed = errors.Join(failed, fmt.Errorf("the dead endpoint %s is not freed: %v answers on the LAN: another host runs a copy of this one, or another machine has the address; stop that one", visible.ID(id), heard))
			continue
		}
		silent = append(silent, id)
	}
	return silent, failed
}

// freeUnknown frees addresses of endpoints that neither the journal nor the
// engine knows, likewise.
func (rc *Reconciler) freeUnknown(ctx context.Context, s *host.Suspects, had network.Census, away int) (failed error) {
	bound := rc.Addresses.Bound()
	var dead []string
	for id := range bound {
		if _, known := rc.Memory.Endpoint(id); !known && !had.Endpoints[id] && s.Proven("bound "+id, rc.Now(), away) {
			dead = append(dead, id)
		}
	}
	silent, failed := rc.silent(ctx, dead)
	for _, id := range silent {
		if err := rc.Addresses.Free(ctx, id); err != nil {
			failed = errors.Join(failed, fmt.Errorf("free the unknown endpoint %s: %w", visible.ID(id), err))
			continue
		}
		rc.rounds.count(func(all *Rounds) { all.Addresses++ })
		rc.Log.Warn("freed addresses of an endpoint that neither the journal nor the engine knows", "endpoint", visible.ID(id), "addresses", len(bound[id]))
	}
	return failed
}

// dropLeftovers takes records of endpoints out of the store that nothing here
// has: their agent died before it could note them.
func (rc *Reconciler) dropLeftovers(ctx context.Context, s *host.Suspects, had network.Census, away int) (failed error) {
	left, err := rc.Addresses.Leftovers(ctx)
	if err != nil {
		return err
	}
	for _, id := range left {
		if _, known := rc.Memory.Endpoint(id); known || had.Endpoints[id] || !s.Proven("record "+id, rc.Now(), away) {
			continue
		}
		if err := rc.Addresses.DropLeftover(ctx, id); err != nil {
			failed = errors.Join(failed, fmt.Errorf("drop the record of the unknown endpoint %s: %w", visible.ID(id), err))
			continue
		}
		rc.rounds.count(func(all *Rounds) { all.Records++ })
		rc.Log.Warn("dropped the record of an endpoint that neither the journal nor the engine knows", "endpoint", visible.ID(id))
	}
	return failed
}

// freeProvisional gives up what was asked for and never confirmed.
func (rc *Reconciler) freeProvisional(ctx context.Context, s *host.Suspects, had network.Census, away int) (failed error) {
	held, err := rc.Addresses.Provisional(ctx)
	if err != nil {
		return err
	}
	for _, h := range held {
		if had.Needs(h) || !s.Proven(h, rc.Now(), away) {
			continue
		}
		if err := rc.Addresses.FreeProvisional(ctx, h); err != nil {
			failed = errors.Join(failed, fmt.Errorf("give up what nothing confirmed: %w", err))
			continue
		}
		rc.rounds.count(func(all *Rounds) { all.Unused++ })
		rc.Log.Info("gave up what was asked for and never used", "segment", h.Segment, "address", h.Address, "subnet", h.Subnet)
	}
	return errors.Join(failed, rc.imports.CloseImports(s, held, away))
}
