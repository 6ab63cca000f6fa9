package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/endpoint"
	"gvlan/driver/engine"
	"gvlan/driver/fixed"
	"gvlan/driver/host"
	"gvlan/driver/hostaccess"
	"gvlan/driver/hostroute"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/network"
	"gvlan/driver/option"
	"gvlan/driver/plan"
	"gvlan/driver/publish"
	"gvlan/driver/reconcile"
	"gvlan/driver/visible"
	"gvlan/ipam/reserve"
	"gvlan/parentfile"
)

// Commands is what operators' commands do and see.
type Commands struct {
	*host.Host
	containers *publish.Containers
	networks   *network.Networks
	swarm      *network.Swarm
	replicas   *network.Replicas
	reconciler *reconcile.Reconciler
	access     *hostaccess.Access
	routes     *hostroute.Routes
	fixed      *fixed.Keeper
	sandboxes  *endpoint.Sandboxes
}

// New makes the commands of a host's services.
func New(h *host.Host, c *publish.Containers, n *network.Networks, s *network.Swarm, r *network.Replicas, rc *reconcile.Reconciler, a *hostaccess.Access, hr *hostroute.Routes, f *fixed.Keeper, sb *endpoint.Sandboxes) *Commands {
	return &Commands{Host: h, containers: c, networks: n, swarm: s, replicas: r, reconciler: rc, access: a, routes: hr, fixed: f, sandboxes: sb}
}

// Defined is what became of a Define.
type Defined struct {
	UUID     string   `json:"uuid"`               // of the definition
	Warnings []string `json:"warnings,omitempty"` // what a user should know, each one sentence
	Local    bool     `json:"local,omitempty"`    // it was asked for on this host only, and has no definition
}

// Define makes a network on this host's engine as `docker network create`
// would, and so, soon after, on every host's. It returns once the definition
// is committed, or the network of this host alone is there.
func (cm *Commands) Define(ctx context.Context, r engine.NetworkRequest) (Defined, error) {
	if cm.Cfg.Swarm {
		return Defined{}, fmt.Errorf("networks of the swarm are made with docker network create -d %s --ipam-driver %s --scope swarm, on a manager", cm.Cfg.Name, cm.Cfg.Name)
	}
	if err := cm.checkDrivers(r); err != nil {
		return Defined{}, err
	}
	rows, _ := cm.Tables.Networks.Rows()
	if _, taken := rows[store.NetworkKey(r.Name)]; taken {
		return Defined{}, fmt.Errorf("network %s is defined already: gvlan network inspect %s", r.Name, r.Name)
	}
	r.Driver, r.IPAM.Driver = cm.Cfg.Name, cm.Cfg.Name
	id, err := cm.Cfg.Engine.CreateNetwork(ctx, r)
	if err != nil {
		return Defined{}, err
	}
	cm.Poke()
	n, err := cm.settled(ctx, id)
	if err != nil {
		return Defined{}, err
	}
	if n.Stage == journal.StageSeen {
		return Defined{}, fmt.Errorf("network %s was not made: %s", r.Name, n.Why)
	}
	if n.Stage == journal.StageLocal {
		return Defined{UUID: n.UUID, Warnings: cm.warningsAfter(ctx, r, n), Local: true}, nil
	}
	if n.Stage != journal.StageCommitted && n.Stage != journal.StageReplica {
		return Defined{}, fmt.Errorf("network %s works on this host only: %s", r.Name, cmp.Or(n.Why, string(n.Stage)))
	}
	return Defined{UUID: n.UUID, Warnings: cm.warningsAfter(ctx, r, n)}, nil
}

// checkDrivers refuses a network of somebody else's; naming none means this
// driver.
func (cm *Commands) checkDrivers(r engine.NetworkRequest) error {
	for _, given := range []struct{ option, name string }{{"--driver", r.Driver}, {"--ipam-driver", r.IPAM.Driver}} {
		if given.name != "" && given.name != cm.Cfg.Name {
			return fmt.Errorf("%s %s: this command makes networks of %s only; leave it out, or use docker network create", given.option, given.name, cm.Cfg.Name)
		}
	}
	return nil
}

// warningsAfter are what the log said while the network was made.
func (cm *Commands) warningsAfter(ctx context.Context, r engine.NetworkRequest, n journal.Network) []string {
	all := cm.networks.WarningsOf(ctx, n)
	for _, given := range n.Options.Unheeded {
		all = append(all, option.NetworkUnheeded(given))
	}
	for _, subnet := range plan.DroppedSubnets(engine.Network{IPAM: r.IPAM}, n) {
		all = append(all, fmt.Sprintf("Docker ignored subnet %s: an IPv6 subnet needs --ipv6", subnet))
	}
	if cm.IsSolo() {
		all = append(all, host.SoloWarning)
	}
	return all
}

// settled waits until a network this engine just made stands for something, or
// lost its name.
func (cm *Commands) settled(ctx context.Context, id string) (journal.Network, error) {
	for {
		n, ok := cm.Memory.Network(id)
		if !ok {
			return n, fmt.Errorf("%w: %s went away again", endpoint.ErrUnknownNetwork, visible.ID(id))
		}
		if n.Stage != journal.StageSeen || n.Why != "" {
			return n, nil
		}
		if err := cm.Tables.Changed(ctx); err != nil {
			return n, fmt.Errorf("wait for the definition of network %s: %w", visible.ID(id), err)
		}
	}
}

// Remove removes a definition and every host's replica. It refuses while
// containers refer to the network, naming them; with force each host
// disconnects its own.
func (cm *Commands) Remove(ctx context.Context, name string, force bool) error {
	def, err := cm.Definition(ctx, name)
	if err != nil {
		return err
	}
	if def.Record.Scope != store.ScopeGlobal {
		return fmt.Errorf("network %s is the swarm's: remove it with docker network rm on a manager", name)
	}
	users, err := cm.usersLeft(ctx, def.Record.UUID, force)
	if err != nil {
		return err
	}
	if len(users) > 0 && !force {
		return fmt.Errorf("%w: %s is used by %s (--force disconnects them)", network.ErrInUse, name, strings.Join(users, ", "))
	}
	def.Record.State, def.Record.Force = store.NetworkRemoving, force
	return cm.replaceDefinition(ctx, def)
}

// settles is how long a host takes at most, as a rule, to tell the others that a
// container was removed.
const settles = 2 * time.Second

// usersLeft is usersEverywhere without containers that were removed a moment ago,
// which it waits to be told of. Who forces does not.
func (cm *Commands) usersLeft(ctx context.Context, uuid string, force bool) ([]string, error) {
	told, cancel := context.WithTimeout(ctx, settles)
	defer cancel()
	for {
		users, err := cm.usersEverywhere(ctx, uuid)
		if err != nil || len(users) == 0 || force || !store.Sleep(told, settles/20) {
			return users, err
		}
	}
}

// usersEverywhere names the containers that refer to a definition, running or
// stopped, as "name on host".
func (cm *Commands) usersEverywhere(ctx context.Context, uuid string) ([]string, error) {
	items, _, err := cm.Cfg.KV.List(ctx, store.RefsSpan())
	if err != nil {
		return nil, err
	}
	hosts := cm.Hosts()
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

// replaceDefinition writes a changed definition if nobody changed it since.
func (cm *Commands) replaceDefinition(ctx context.Context, def store.Row[store.Network]) error {
	res, err := cm.Cfg.KV.Commit(ctx, store.Txn{
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
func (cm *Commands) Set(ctx context.Context, name string, changes []string) error {
	def, err := cm.Definition(ctx, name)
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

// Reserve keeps addresses of a network of the cluster back, for a container's name
// or for nobody.
func (cm *Commands) Reserve(ctx context.Context, name string, w reserve.Wish) (reserve.Outcome, error) {
	def, err := cm.Definition(ctx, name)
	if err != nil {
		return reserve.Outcome{}, err
	}
	n := def.Record
	if n.State != store.NetworkActive {
		return reserve.Outcome{}, fmt.Errorf("network %s is being removed: nothing is reserved on it", name)
	}
	if w.MAC != "" {
		if w.MAC, err = reservedMAC(n, w.MAC); err != nil {
			return reserve.Outcome{}, err
		}
	}
	return cm.shown(ctx)(cm.desk().Reserve(ctx, def, w))
}

// reservedMAC reads a hardware address that is to go with an address of a network.
func reservedMAC(n store.Network, text string) (string, error) {
	options, err := option.Parse(n.Created.Options)
	if err != nil {
		return "", err
	}
	if options.Kind == link.Ipvlan {
		return "", fmt.Errorf("--mac %s: network %s is ipvlan, whose containers share their parent's MAC address: leave --mac out", text, n.Name)
	}
	hw, why := option.CheckMAC(text)
	if why != "" {
		return "", fmt.Errorf("--mac %q is not a unicast MAC address: %s", text, why)
	}
	return hw.String(), nil
}

// Unreserve ends reservations of a network.
func (cm *Commands) Unreserve(ctx context.Context, name string, w reserve.Wish) (reserve.Outcome, error) {
	def, err := cm.Definition(ctx, name)
	if err != nil {
		return reserve.Outcome{}, err
	}
	return cm.shown(ctx)(cm.desk().Unreserve(ctx, def, w))
}

// shown waits, for a moment, until this host shows what was written.
func (cm *Commands) shown(ctx context.Context) func(reserve.Outcome, error) (reserve.Outcome, error) {
	return func(out reserve.Outcome, err error) (reserve.Outcome, error) {
		ctx, cancel := context.WithTimeout(ctx, settles)
		defer cancel()
		cm.Addresses.AwaitReserved(ctx, out.Revision)
		return out, err
	}
}

func (cm *Commands) desk() *reserve.Desk {
	return &reserve.Desk{KV: cm.Cfg.KV, Node: cm.Self.Node(), Now: cm.Now}
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
func (cm *Commands) Report() []NetworkReport {
	var reports []NetworkReport
	for _, n := range cm.Memory.Networks() {
		if !n.IsManager() {
			reports = append(reports, cm.report(n))
		}
	}
	definitions, _ := cm.Tables.Networks.Rows()
	for about, failed := range cm.Troubles.List() {
		for _, def := range definitions {
			if def.Record.UUID == about.Of {
				reports = append(reports, NetworkReport{UUID: about.Of, Name: def.Record.Name, Scope: string(def.Record.Scope), Why: failed.Why})
			}
		}
	}
	return reports
}

// Progress is how many of the cluster's networks this host has.
type Progress struct {
	Defined int // that every host is to have
	Made    int // of those, that stand here
	Failed  int // of those, that could not be made and are tried again
}

// Progress counts the cluster's networks: a host that finds a thousand of them
// needs a while to make them.
func (cm *Commands) Progress() (p Progress) {
	if cm.Cfg.Swarm {
		return p // its networks are made by the swarm
	}
	here, failed := map[string]bool{}, map[string]bool{} // by uuid
	for _, n := range cm.Memory.Networks() {
		here[n.UUID] = here[n.UUID] || n.Bound() && n.Stage != journal.StageGone
	}
	for about := range cm.Troubles.List() {
		failed[about.Of] = true
	}
	definitions, _ := cm.Tables.Networks.Rows()
	for _, def := range definitions {
		if def.Record.Scope != store.ScopeGlobal || def.Record.State == store.NetworkRemoving {
			continue
		}
		p.Defined++
		switch uuid := def.Record.UUID; {
		case here[uuid]:
			p.Made++
		case failed[uuid]:
			p.Failed++
		}
	}
	return p
}

func (cm *Commands) report(n journal.Network) NetworkReport {
	r := NetworkReport{ID: n.ID, UUID: n.UUID, Name: n.Name, Stage: n.Stage, Why: n.Why, Scope: scopeOf(n), Links: n.Links, Pools: n.Pools}
	for _, e := range cm.Memory.EndpointsOf(n.ID) {
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
func (cm *Commands) FailedStarts(ctx context.Context) ([]engine.ContainerDetail, error) {
	containers, err := cm.Cfg.Engine.Containers(ctx)
	if err != nil {
		return nil, err
	}
	var failed []engine.ContainerDetail
	for _, c := range containers {
		if c.State == engine.StateRunning || !cm.refersToOurs(c) {
			continue
		}
		full, err := cm.Cfg.Engine.Container(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		if full.Error != "" && (full.RestartPolicy == "always" || full.RestartPolicy == "unless-stopped") {
			failed = append(failed, full)
		}
	}
	return failed, nil
}

func (cm *Commands) refersToOurs(c engine.Container) bool {
	return slices.ContainsFunc(c.Attachments, func(a engine.Attachment) bool {
		_, ours := cm.Memory.Network(a.NetworkID)
		// One that never ran knows its networks by name only.
		return ours || a.NetworkID == "" && slices.ContainsFunc(cm.Memory.Networks(), func(n journal.Network) bool {
			return n.Name == a.Network && n.Stage != journal.StageGone
		})
	})
}

// RestartFailed starts them again, and says how each went.
func (cm *Commands) RestartFailed(ctx context.Context) error {
	failed, err := cm.FailedStarts(ctx)
	if err != nil {
		return err
	}
	for _, c := range failed {
		if err := cm.Cfg.Engine.StartContainer(ctx, c.ID); err != nil {
			cm.Log.Warn("a container whose start had failed fails again", "container", c.Name, "err", err)
			continue
		}
		cm.Log.Info("started a container again whose start had failed", "container", c.Name)
	}
	return nil
}

// Warnings are what is wrong here that no error told anybody: services whose
// virtual address nobody answers, networks whose creation the swarm was refused, a
// managed plugin whose name hides this one, hosts whose network lost its name to one
// of this host, fixed addresses that somebody has whose end nobody waits for,
// containers without their interface or that heed routers they are not to heed, and
// what fails for a while.
func (cm *Commands) Warnings() []string {
	return slices.Concat(cm.swarm.Services.List(), cm.swarm.Unmade.List(), cm.reconciler.Plugins.List(), cm.replicas.Clashes.List(), cm.access.Failures.List(), cm.routes.Failures.List(), cm.waiting(true), cm.sandboxes.Lost.List(), cm.sandboxes.Unheeded(), cm.lasting())
}

// lasting is what has failed for a while and no more is said of: networks that cannot
// be made here, or have no parent, say so themselves, and a store or an engine that
// is away is told of once.
func (cm *Commands) lasting() []string {
	titled := func(of string) (string, bool) {
		n, there := cm.Memory.Network(of)
		return visible.Word(n.Title()), there
	}
	told := func(err error) bool {
		_, parentless := errors.AsType[*parentfile.NoParentError](err)
		_, unread := errors.AsType[*parentfile.FileError](err)
		return parentless || unread || store.IsUnusable(err) || errors.Is(err, engine.ErrUnavailable)
	}
	return slices.Concat(cm.Troubles.Lasting(titled, told), cm.Addresses.Failing().Lasting(titled, told))
}

// Hints are what was asked for here and has no effect, or not yet: everything works
// without.
func (cm *Commands) Hints() []string {
	return slices.Concat(cm.containers.Unheeded.List(), cm.access.Off.List(), cm.waiting(false))
}

// waiting are the fixed addresses that containers here wait for: behind one of their
// kind, or behind something odd.
func (cm *Commands) waiting(odd bool) (all []string) {
	for _, w := range cm.fixed.Waiting() {
		if w.Odd != odd {
			continue
		}
		called := "endpoint " + visible.ID(w.Endpoint)
		if w.Container != "" {
			called = "container " + visible.Word(w.Container)
		}
		all = append(all, fmt.Sprintf("network %s: %s waits for its fixed address %s: %s", visible.Word(w.Network), called, w.Address, w.Why))
	}
	return all
}
