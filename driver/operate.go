package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/option"
	"gvlan/driver/plan"
	"gvlan/driver/visible"
)

// What an operator's command can be refused for, beside option.ErrInvalid and
// option.ErrFixed.
var (
	// ErrNoNetwork: no definition has that name.
	ErrNoNetwork = errors.New("no such network")
	// ErrInUse: containers refer to the network.
	ErrInUse = errors.New("network is in use")
)

// Defined is what became of a Define.
type Defined struct {
	UUID     string   `json:"uuid"`               // of the definition
	Warnings []string `json:"warnings,omitempty"` // what a user should know, each one sentence
}

// Define makes a network on this host's engine as `docker network create`
// would, and so, soon after, on every host's. It returns once the definition
// is committed.
func (cm *commands) Define(ctx context.Context, r engine.NetworkRequest) (Defined, error) {
	if cm.cfg.Swarm {
		return Defined{}, fmt.Errorf("networks of the swarm are made with docker network create -d %s --ipam-driver %s --scope swarm, on a manager", cm.cfg.Name, cm.cfg.Name)
	}
	if err := cm.checkDrivers(r); err != nil {
		return Defined{}, err
	}
	rows, _ := cm.tables.networks.Rows()
	if _, taken := rows[store.NetworkKey(r.Name)]; taken {
		return Defined{}, fmt.Errorf("network %s is defined already: gvlan network inspect %s", r.Name, r.Name)
	}
	r.Driver, r.IPAM.Driver = cm.cfg.Name, cm.cfg.Name
	id, err := cm.cfg.Engine.CreateNetwork(ctx, r)
	if err != nil {
		return Defined{}, err
	}
	cm.poke()
	n, err := cm.settled(ctx, id)
	if err != nil {
		return Defined{}, err
	}
	if n.Stage == journal.StageSeen {
		return Defined{}, fmt.Errorf("network %s was not made: %s", r.Name, n.Why)
	}
	if n.Stage != journal.StageCommitted && n.Stage != journal.StageReplica {
		return Defined{}, fmt.Errorf("network %s works on this host only: %s", r.Name, cmp.Or(n.Why, string(n.Stage)))
	}
	return Defined{UUID: n.UUID, Warnings: cm.warningsAfter(ctx, r, n)}, nil
}

// checkDrivers refuses a network of somebody else's; naming none means this
// driver.
func (cm *commands) checkDrivers(r engine.NetworkRequest) error {
	for _, given := range []struct{ option, name string }{{"--driver", r.Driver}, {"--ipam-driver", r.IPAM.Driver}} {
		if given.name != "" && given.name != cm.cfg.Name {
			return fmt.Errorf("%s %s: this command makes networks of %s only; leave it out, or use docker network create", given.option, given.name, cm.cfg.Name)
		}
	}
	return nil
}

// warningsAfter are what the log said while the network was made.
func (cm *commands) warningsAfter(ctx context.Context, r engine.NetworkRequest, n journal.Network) []string {
	all := cm.networks.warnings(ctx, n)
	for _, given := range n.Options.Unheeded {
		all = append(all, option.NetworkUnheeded(given))
	}
	for _, subnet := range plan.DroppedSubnets(engine.Network{IPAM: r.IPAM}, n) {
		all = append(all, fmt.Sprintf("Docker ignored subnet %s: an IPv6 subnet needs --ipv6", subnet))
	}
	if cm.isSolo() {
		all = append(all, soloWarning)
	}
	return all
}

// settled waits until a network this engine just made stands for something, or
// lost its name.
func (cm *commands) settled(ctx context.Context, id string) (journal.Network, error) {
	for {
		n, ok := cm.memory.Network(id)
		if !ok {
			return n, fmt.Errorf("%w: %s went away again", ErrUnknownNetwork, visible.ID(id))
		}
		if n.Stage != journal.StageSeen || n.Why != "" {
			return n, nil
		}
		if err := cm.tables.changed(ctx); err != nil {
			return n, fmt.Errorf("wait for the definition of network %s: %w", visible.ID(id), err)
		}
	}
}

// Remove removes a definition and every host's replica. It refuses while
// containers refer to the network, naming them; with force each host
// disconnects its own.
func (cm *commands) Remove(ctx context.Context, name string, force bool) error {
	def, err := cm.definition(ctx, name)
	if err != nil {
		return err
	}
	if def.Record.Scope != store.ScopeGlobal {
		return fmt.Errorf("network %s is the swarm's: remove it with docker network rm on a manager", name)
	}
	users, err := cm.usersEverywhere(ctx, def.Record.UUID)
	if err != nil {
		return err
	}
	if len(users) > 0 && !force {
		return fmt.Errorf("%w: %s is used by %s (--force disconnects them)", ErrInUse, name, strings.Join(users, ", "))
	}
	def.Record.State, def.Record.Force = store.NetworkRemoving, force
	return cm.replaceDefinition(ctx, def)
}

// usersEverywhere names the containers that refer to a definition, running or
// stopped, as "name on host".
func (cm *commands) usersEverywhere(ctx context.Context, uuid string) ([]string, error) {
	items, _, err := cm.cfg.KV.List(ctx, store.RefsSpan())
	if err != nil {
		return nil, err
	}
	hosts := cm.hosts()
	var users []string
	for _, it := range items {
		refs, err := store.Decode[store.Refs](it)
		if err != nil {
			return nil, err
		}
		for _, container := range refs.Networks[uuid] {
			users = append(users, container+" on "+hosts.Of(store.NameOf(it.Key)))
		}
	}
	return users, nil
}

// isLocalHere reports whether this host has a network of that name for itself.
func (h *Host) isLocalHere(name string) bool {
	return slices.ContainsFunc(h.memory.Networks(), func(n journal.Network) bool { return n.Stage == journal.StageLocal && n.Name == name })
}

// definition reads a definition by name, from the store itself.
func (h *Host) definition(ctx context.Context, name string) (store.Row[store.Network], error) {
	it, err := h.cfg.KV.Get(ctx, store.NetworkKey(name))
	if errors.Is(err, store.ErrNotFound) {
		if h.isLocalHere(name) {
			return store.Row[store.Network]{}, fmt.Errorf("%w of the cluster: %s is a network of this host only, which docker network makes and removes", ErrNoNetwork, name)
		}
		return store.Row[store.Network]{}, fmt.Errorf("%w: %s (gvlan network ls lists them)", ErrNoNetwork, name)
	}
	if err != nil {
		return store.Row[store.Network]{}, err
	}
	record, err := store.Decode[store.Network](it)
	return store.Row[store.Network]{Key: it.Key, Record: record, Created: it.Created, Modified: it.Modified}, err
}

// replaceDefinition writes a changed definition if nobody changed it since.
func (cm *commands) replaceDefinition(ctx context.Context, def store.Row[store.Network]) error {
	res, err := cm.cfg.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(def.Key, def.Modified)},
		Then: []store.Op{store.Put(def.Key, store.Encode(def.Record))},
	})
	if err != nil {
		return err
	}
	if !res.Done {
		return fmt.Errorf("network %s was changed by somebody else at the same moment: try again", def.Record.Name)
	}
	return nil
}

// Set changes what can change of a definition while it lives, on every host,
// without making it again; option.Set has what that is. Docker goes on showing
// what it was told.
func (cm *commands) Set(ctx context.Context, name string, changes []string) error {
	def, err := cm.definition(ctx, name)
	if err != nil {
		return err
	}
	for _, change := range changes {
		if err := option.Set(&def.Record, change); err != nil {
			return fmt.Errorf("set %s of network %s: %w", change, name, err)
		}
	}
	return cm.replaceDefinition(ctx, def)
}

// NetworkReport is one network of this host, for people.
type NetworkReport struct {
	ID        string // the engine's network id
	UUID      string // of the definition
	Name      string // "" until the engine told it
	Stage     journal.Stage
	Why       string // it is out of step, or has no replica; "" when all is well
	Scope     string
	Parents   []string // in use by containers now
	Links     []string // VLAN links and dummies made or used for it here
	Pools     []store.Pool
	Endpoints int
}

// Report lists this host's networks, and the definitions it could not make.
func (cm *commands) Report() []NetworkReport {
	var reports []NetworkReport
	for _, n := range cm.memory.Networks() {
		if !n.IsManager() {
			reports = append(reports, cm.report(n))
		}
	}
	definitions, _ := cm.tables.networks.Rows()
	for about, failed := range cm.troubles.List() {
		for _, def := range definitions {
			if def.Record.UUID == about.Of {
				reports = append(reports, NetworkReport{UUID: about.Of, Name: def.Record.Name, Scope: string(def.Record.Scope), Why: failed.Why})
			}
		}
	}
	return reports
}

func (cm *commands) report(n journal.Network) NetworkReport {
	r := NetworkReport{ID: n.ID, UUID: n.UUID, Name: n.Name, Stage: n.Stage, Why: n.Why, Scope: scopeOf(n), Links: n.Links, Pools: n.Pools}
	for _, e := range cm.memory.EndpointsOf(n.ID) {
		r.Endpoints++
		if e.Parent != "" && !slices.Contains(r.Parents, e.Parent) {
			r.Parents = append(r.Parents, e.Parent)
		}
	}
	return r
}

// scopeOf is how far the network really reaches; Docker shows "local" for
// every network of a socket plugin.
func scopeOf(n journal.Network) string {
	switch n.Stage {
	case journal.StageLocal, journal.StageConflict, journal.StageOrphaned:
		return string(option.ScopeLocal)
	case journal.StageSwarm:
		return string(store.ScopeSwarm)
	}
	return string(option.ScopeGlobal)
}

// FailedStarts lists this host's containers on gvlan networks that their
// restart policy wants running and whose last start failed: dockerd tries
// once and never again.
func (cm *commands) FailedStarts(ctx context.Context) ([]engine.ContainerDetail, error) {
	containers, err := cm.cfg.Engine.Containers(ctx)
	if err != nil {
		return nil, err
	}
	var failed []engine.ContainerDetail
	for _, c := range containers {
		if c.State == engine.StateRunning || !cm.refersToOurs(c) {
			continue
		}
		full, err := cm.cfg.Engine.Container(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		if full.Error != "" && (full.RestartPolicy == "always" || full.RestartPolicy == "unless-stopped") {
			failed = append(failed, full)
		}
	}
	return failed, nil
}

func (cm *commands) refersToOurs(c engine.Container) bool {
	return slices.ContainsFunc(c.Attachments, func(a engine.Attachment) bool {
		_, ours := cm.memory.Network(a.NetworkID)
		return ours
	})
}

// RestartFailed starts them again, and says how each went.
func (cm *commands) RestartFailed(ctx context.Context) error {
	failed, err := cm.FailedStarts(ctx)
	if err != nil {
		return err
	}
	for _, c := range failed {
		if err := cm.cfg.Engine.StartContainer(ctx, c.ID); err != nil {
			cm.log.Warn("a container whose start had failed fails again", "container", c.Name, "err", err)
			continue
		}
		cm.log.Info("started a container again whose start had failed", "container", c.Name)
	}
	return nil
}
