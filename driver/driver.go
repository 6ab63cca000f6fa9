package driver

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/option"
	"gvlan/driver/parent"
	"gvlan/driver/plan"
	"gvlan/driver/trouble"
	"gvlan/ipam"
	"gvlan/parentfile"
)

// Config is what a Driver is made of. Every field is needed unless it says
// otherwise.
type Config struct {
	Name      string         // the driver's name as Docker knows it, "gvlan"
	KV        store.KV       // the node's session: its writes are fenced
	Self      ipam.Authority // the same session: who this node is
	Addresses *ipam.Allocator
	Links     Links
	Engine    Engine // not used by any handler
	Memory    *journal.Memory
	Settings  Settings // what was last learned of the engine
	Hosts     parentfile.HostTable
	Scope     option.Scope             // the default for new networks when the engine's labels say nothing
	OnHost    func(path string) string // a path of the host as this agent sees it
	Sandboxes Sandboxes                // nil: no names inside sandboxes
	// AskLAN asks at an interface of this host who has these addresses; nil is
	// link.Ask.
	AskLAN func(ctx context.Context, ifname string, addrs []netip.Addr) (answering []netip.Addr, err error)
	// Elsewhere opens this host's other network namespaces, where links may
	// hang from the same parents; nil: netns.Others.
	Elsewhere func() ([]*netns.Namespace, error)
	Node      store.Node // what is published of this node beside what it has
	Swarm     bool       // this is the managed plugin of a swarm's node
	// Solo reports whether no other host shares this agent's store; nil: one may.
	Solo func() bool
	// Tables are those that the agent runs for other readers too; the driver
	// runs what is left nil itself.
	Tables Tables
	// Drained reports whether an operator wants no new containers here; nil: no.
	Drained func() bool
	Now     func() time.Time
	Log     *slog.Logger
}

// Driver is the networks and endpoints of this host: its services over one Host,
// each of which uses those before it only.
type Driver struct {
	*Host
	*sandboxes
	*endpoints
	*containers
	*nodes
	*networks
	*swarm
	*imports
	*replicas
	*reconciler
	*commands
}

// New reads the journal. Nothing runs until Run.
func New(cfg Config) (*Driver, error) {
	h, err := newHost(cfg)
	if err != nil {
		return nil, err
	}
	d := &Driver{Host: h}
	d.sandboxes = &sandboxes{Host: h, announcer: newAnnouncer()}
	d.endpoints = &endpoints{Host: h, sandboxes: d.sandboxes}
	d.containers = &containers{Host: h, sandboxes: d.sandboxes, endpoints: d.endpoints, names: newNames()}
	d.nodes = &nodes{Host: h, stopped: newStopped()}
	d.networks = &networks{Host: h}
	d.swarm = &swarm{Host: h, containers: d.containers, networks: d.networks}
	d.imports = &imports{Host: h}
	d.replicas = &replicas{
		Host: h, sandboxes: d.sandboxes, containers: d.containers, nodes: d.nodes,
		networks: d.networks, swarm: d.swarm,
	}
	d.reconciler = &reconciler{Host: h, endpoints: d.endpoints, swarm: d.swarm, imports: d.imports, replicas: d.replicas}
	d.commands = &commands{
		Host: h, containers: d.containers, networks: d.networks, swarm: d.swarm,
		replicas: d.replicas, reconciler: d.reconciler,
	}
	d.tables.tell(d.poke, d.keepOutAll)
	return d, nil
}

// Host is what every service has: this host's memory, kernel and engine, the
// cluster's records, and how the services wake each other.
type Host struct {
	cfg       Config
	self      ipam.Authority
	addresses *ipam.Allocator
	memory    *journal.Memory
	parents   *parent.Parents
	scopes    *scopes
	tables    *tables
	troubles  *trouble.Book
	now       func() time.Time
	log       *slog.Logger

	// Both are told without blocking.
	wake    chan struct{} // the engine side has work
	changed chan struct{} // this node's description may have changed
}

func newHost(cfg Config) (*Host, error) {
	if cfg.AskLAN == nil {
		cfg.AskLAN = link.Ask
	}
	if cfg.Elsewhere == nil {
		cfg.Elsewhere = netns.Others
	}
	scopes, err := openScopes(cfg.Settings, cfg.Scope)
	if err != nil {
		return nil, fmt.Errorf("open the driver's journal: %w", err)
	}
	h := &Host{
		cfg: cfg, self: cfg.Self, addresses: cfg.Addresses, memory: cfg.Memory, scopes: scopes,
		tables: newTables(cfg.Tables, cfg.Log), troubles: trouble.NewBook(cfg.Now, cfg.Log),
		now: cfg.Now, log: cfg.Log,
		wake: make(chan struct{}, 1), changed: make(chan struct{}, 1),
	}
	h.parents = parent.New(parent.Config{
		State: cfg.Memory, Links: cfg.Links, Elsewhere: cfg.Elsewhere, Hosts: cfg.Hosts, OnHost: cfg.OnHost,
		Node: cfg.host(), Troubles: h.troubles, Log: cfg.Log,
	})
	return h, nil
}

// sandboxes is names and addresses inside the containers' namespaces.
type sandboxes struct {
	*Host
	announcer *announcer
}

// endpoints is what Docker's calls on endpoints do.
type endpoints struct {
	*Host
	sandboxes *sandboxes
}

// containers is what this host tells the cluster of its containers: their
// endpoints' records.
type containers struct {
	*Host
	sandboxes *sandboxes
	endpoints *endpoints
	names     *names
	unheeded  unheeded // what has no effect on this host's networks
}

// nodes is what this host tells of itself: interfaces, networks, references.
type nodes struct {
	*Host
	inherited inheritance
	stopped   *stopped
	own       ownAddresses
}

// networks is what Docker's calls on networks do.
type networks struct {
	*Host
	making atomic.Pointer[store.Network] // the replica the engine is being asked for
}

// swarm is the networks that a swarm keeps.
type swarm struct {
	*Host
	containers *containers
	networks   *networks
	services   trouble.Findings // services that cannot be reached
}

// imports turns networks of other drivers into ones of the cluster.
type imports struct{ *Host }

// replicas keeps definitions and this engine's networks together.
type replicas struct {
	*Host
	sandboxes  *sandboxes
	containers *containers
	nodes      *nodes
	networks   *networks
	swarm      *swarm
	missing    map[string]time.Time // see view; the loop alone has it
	seen       seen
	clashes    trouble.Findings // networks elsewhere that lost their name to one of this node
}

// reconciler finds what Docker forgot to say.
type reconciler struct {
	*Host
	endpoints *endpoints
	swarm     *swarm
	imports   *imports
	replicas  *replicas
	plugins   trouble.Findings // plugins that hide this one
}

// commands is what operators' commands do and see.
type commands struct {
	*Host
	containers *containers
	networks   *networks
	swarm      *swarm
	replicas   *replicas
	reconciler *reconciler
}

// Run does everything that is not an answer to Docker, until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	err := d.nodes.lookAtOwn(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read this host's addresses: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, loop := range []func(context.Context) error{
		d.sandboxes.reopenSandboxes, d.followEngine, d.followStore, d.replicas.syncReplicas, d.containers.syncNames, d.nodes.publishNode, d.reconciler.reconcileForever, d.followLinks, d.sandboxes.announceJoined,
	} {
		group.Go(func() error { return loop(ctx) })
	}
	return group.Wait()
}

// poke asks the engine side, and what describes this node, to look again.
func (h *Host) poke() {
	tell(h.wake)
	tell(h.changed)
}

// tell wakes whoever waits, or will wait next, for c.
func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// milliseconds is now, in unix milliseconds.
func (h *Host) milliseconds() int64 { return h.now().UnixMilli() }

// Engine is this host's Docker engine as the driver needs it; *engine.Engine
// is one. No handler uses it: the engine holds its own locks while it waits
// for the plugin.
type Engine interface {
	EngineNetworks
	EngineContainers
	EngineSwarm
	Info(ctx context.Context) (engine.Info, error)
	ManagedPlugins(ctx context.Context) ([]string, error)
	Ready(ctx context.Context) error
	Watch(ctx context.Context, deliver func(engine.Event)) error
}

// EngineNetworks is the engine's networks.
type EngineNetworks interface {
	Networks(ctx context.Context, driver string) ([]engine.Network, error)
	Network(ctx context.Context, id string) (engine.Network, error)
	CreateNetwork(ctx context.Context, r engine.NetworkRequest) (string, error)
	RemoveNetwork(ctx context.Context, id string) error
}

// EngineContainers is the engine's containers.
type EngineContainers interface {
	Containers(ctx context.Context) ([]engine.Container, error)
	Container(ctx context.Context, id string) (engine.ContainerDetail, error)
	Connect(ctx context.Context, network, container string, settings engine.EndpointSettings) error
	Disconnect(ctx context.Context, network, container string, force bool) error
	StartContainer(ctx context.Context, id string) error
}

// EngineSwarm is what a manager's engine knows of the swarm.
type EngineSwarm interface {
	SwarmNetworks(ctx context.Context) ([]engine.Network, error)
	Services(ctx context.Context) ([]engine.Service, error)
	Tasks(ctx context.Context) ([]engine.Task, error)
}

// Links is the kernel's links as the driver needs them; *link.Kernel is one.
type Links interface {
	parent.Links
	// RemoveStale deletes links of ours on a parent that hold a MAC or
	// address and that no live endpoint owns.
	RemoveStale(ctx context.Context, parent string, mac net.HardwareAddr, addr netip.Addr, live func(name, owner string) bool) ([]string, error)
	// Read gives a link of this host.
	Read(ctx context.Context, name string) (link.Link, error)
}

// followLinks keeps what networks hang from, and has this node described anew
// when the host's links changed.
func (d *Driver) followLinks(ctx context.Context) error { return d.parents.Follow(ctx, d.poke) }

// resyncEvery is how often replicas and names are looked at without being
// told to: events are lossy.
const resyncEvery = 30 * time.Second

// followEngine turns the engine's events into looks at the engine.
func (d *Driver) followEngine(ctx context.Context) error {
	err := d.cfg.Engine.Watch(ctx, d.engineEvent)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (d *Driver) engineEvent(ev engine.Event) {
	switch {
	case ev.Kind == engine.KindStream && ev.Action == engine.ActionLost:
		d.replicas.seen.lost()
		return
	case ev.Kind == engine.KindStream, ev.Kind == engine.KindDaemon:
		d.replicas.seen.back()
	case ev.Kind == engine.KindNetwork && ev.Action == engine.ActionPrune:
		d.replicas.seen.prune(ev.Time, d.now())
	case ev.Kind == engine.KindNetwork && ev.Action == engine.ActionDestroy:
		d.replicas.seen.destroy(ev.Time, d.now())
	case ev.Kind == engine.KindContainer && (ev.Action == engine.ActionRename || ev.Action == engine.ActionHealthy || ev.Action == engine.ActionUnhealthy):
		d.containers.names.stale(ev.ID)
	case ev.Kind == engine.KindContainer && ev.Action == engine.ActionKill:
		d.containers.names.stopping(ev.ID, ev.Attributes["signal"])
	case ev.Kind == engine.KindNetwork && ev.Action == engine.ActionConnect:
		d.containers.names.stale(ev.Attributes["container"])
	}
	d.nodes.stopped.event(ev)
	d.poke()
	d.containers.names.poke()
}

// seen is what the engine's events told.
type seen struct {
	mu        sync.Mutex
	fresh     bool      // labels must be read again
	pruned    time.Time // of the last prune that deleted a network
	deleted   time.Time // of the last deletion of any network
	destroyed time.Time // of that deletion, by the engine's clock
	away      int       // how often the engine went away
	answered  bool      // the engine answers, as far as events tell
}

func (s *seen) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered = false
	s.away++
}

func (s *seen) back() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered, s.fresh = true, true
}

// pruneGap is how far a prune's own event may be behind the last deletion it
// made: both engines tell the two in the same millisecond. A prune that
// deleted nothing is told too and must not excuse an rm before it.
const pruneGap = 500 * time.Millisecond

func (s *seen) prune(event, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if event.Sub(s.destroyed) <= pruneGap {
		s.pruned = now
	}
}

func (s *seen) destroy(event, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted, s.destroyed = now, event
}

// times are the last prune and the last deletion.
func (s *seen) times() (pruned, deleted time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pruned, s.deleted
}

// wantsLabels tells, once, that the labels may have changed.
func (s *seen) wantsLabels() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.fresh
	s.fresh = false
	return was
}

// absences counts how often the engine went away: an observation that spans
// one proves nothing.
func (s *seen) absences() (count int, answers bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away, s.answered
}

// Tables are spans of the store that others read too.
type Tables struct {
	Networks *store.Table[store.Network]
	Live     *store.Table[store.Live]
	Nodes    *store.Table[store.Node]
}

// tables are the spans of the store that replicas are kept from.
type tables struct {
	networks   *store.Table[store.Network]
	tombstones *store.Table[store.Tombstone]
	removals   *store.Table[store.Removal]
	refs       *store.Table[store.Refs]
	live       *store.Table[store.Live]
	nodes      *store.Table[store.Node]

	own []func(context.Context, store.KV) error // runs those that nobody else does
}

func newTables(shared Tables, log *slog.Logger) *tables {
	unread := func(err error) {
		log.Error("a record of the store cannot be read: what it said before stands", "err", err)
	}
	t := &tables{
		networks:   shared.Networks,
		tombstones: store.NewTable[store.Tombstone](store.TombstonesSpan(), unread),
		removals:   store.NewTable[store.Removal](store.RemovalsSpan(), unread),
		refs:       store.NewTable[store.Refs](store.RefsSpan(), unread),
		live:       shared.Live,
		nodes:      shared.Nodes,
	}
	t.own = append(t.own, t.tombstones.Run, t.removals.Run, t.refs.Run)
	if t.networks == nil {
		t.networks = store.NewTable[store.Network](store.NetworksSpan(), unread)
		t.own = append(t.own, t.networks.Run)
	}
	if t.live == nil {
		t.live = store.NewTable[store.Live](store.LiveSpan(), unread)
		t.own = append(t.own, t.live.Run)
	}
	if t.nodes == nil {
		t.nodes = store.NewTable[store.Node](store.NodesSpan(), unread)
		t.own = append(t.own, t.nodes.Run)
	}
	return t
}

// tell has changed called after every change, and nodes before that after one
// of a node's description.
func (t *tables) tell(changed, nodes func()) {
	t.nodes.Tell(func(store.Change) { nodes() })
	reader := func(store.Change) { changed() }
	t.networks.Tell(reader)
	t.tombstones.Tell(reader)
	t.removals.Tell(reader)
	t.refs.Tell(reader)
	t.live.Tell(reader)
	t.nodes.Tell(reader)
}

// run keeps the driver's own tables up to date until ctx ends.
func (t *tables) run(ctx context.Context, kv store.KV) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range t.own {
		group.Go(func() error { return run(ctx, kv) })
	}
	return group.Wait()
}

// changed waits until something happens to a network, here or anywhere, a
// second at most: what is waited for may have happened just before.
func (t *tables) changed(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.networks.Changed():
	case <-t.nodes.Changed(): // of this node too: it describes what it did
	case <-time.After(time.Second):
	}
	return nil
}

// followStore keeps the driver's tables.
func (d *Driver) followStore(ctx context.Context) error { return d.tables.run(ctx, d.cfg.KV) }

// hosts are the names of all hosts that described themselves.
func (h *Host) hosts() plan.Hosts {
	nodes, _ := h.tables.nodes.Rows()
	all := plan.Hosts{}
	for _, n := range nodes {
		all[n.Record.Node] = n.Record.Host
	}
	return all
}

// host is what messages call this node.
func (c Config) host() string { return cmp.Or(c.Node.Host, c.Self.Node()) }
