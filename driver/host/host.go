package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/option"
	"gvlan/driver/parent"
	"gvlan/driver/plan"
	"gvlan/driver/route"
	"gvlan/driver/trouble"
	"gvlan/ipam"
	"gvlan/ipam/node"
	"gvlan/parentfile"
)

// Config is what a Driver is made of. Every field is needed unless it says
// otherwise.
type Config struct {
	Name      string         // the driver's name as Docker knows it, "gvlan"
	KV        store.KV       // the node's session: its writes are fenced
	Self      node.Authority // the same session: who this node is
	Addresses *ipam.Allocator
	Events    events.Teller // is told of networks made and removed, and of containers' names
	Links     Links
	Engine    Engine // not used by any handler
	Memory    *journal.Memory
	Settings  Settings // what was last learned of the engine
	Hosts     parentfile.HostTable
	Scope     option.Scope             // the default for new networks when the engine's labels say nothing
	OnHost    func(path string) string // a path of the host as this agent sees it
	Resolvers Resolvers                // nil: no names inside sandboxes
	// Routes are this host's own, and Inside opens those of a sandbox; nil: there is
	// no host access, and hosts have no routes to each other's containers.
	Routes      Routes
	Inside      func(sandbox string, f func(Routes) error) error
	Defaults    journal.Defaults
	RoutesTable int // the kernel's, of routes to other hosts' containers; 0: main
	// Speaker tells routers of this host's containers; nil: nobody is told. Import are
	// the prefixes inside of which it learns routes.
	Speaker Speaker
	Import  []netip.Prefix
	// AskLAN asks at an interface of this host who has these addresses; nil is
	// link.Ask.
	AskLAN func(ctx context.Context, ifname string, addrs []netip.Addr) (answering []netip.Addr, err error)
	// AnswersLAN asks at an interface of this host who has these addresses, before
	// one is given, and waits so long; nil: nobody is asked then.
	AnswersLAN func(ctx context.Context, ifname string, addrs []netip.Addr, patience time.Duration) (map[netip.Addr][]net.HardwareAddr, error)
	// Elsewhere opens this host's other network namespaces, where links may
	// hang from the same parents; nil: netns.Others.
	Elsewhere func() ([]*netns.Namespace, error)
	// Besides gives addresses to what is in sandboxes; nil: the kernel does.
	Besides Besides
	Node    store.Node // what is published of this node beside what it has
	Swarm   bool       // this is the managed plugin of a swarm's node
	// Solo reports whether no other host shares this agent's store; nil: one may.
	Solo func() bool
	// Tables are those that the agent runs, for other readers too; the driver runs
	// the rest of its mirrors.
	Tables Tables
	// Drained reports whether an operator wants no new containers here; nil: no.
	Drained func() bool
	Now     func() time.Time
	Log     *slog.Logger
}

// Host is what every service has: this host's memory, kernel and engine, the
// cluster's records, and how the services wake each other.
type Host struct {
	Cfg       Config
	Self      node.Authority
	Addresses *ipam.Allocator
	Memory    *journal.Memory
	Parents   *parent.Parents
	Scopes    *scopes
	Tables    *Mirrors
	Troubles  *trouble.Book
	Seen      Seen
	Now       func() time.Time
	Log       *slog.Logger

	// They are told without blocking.
	Wake    chan struct{} // the engine side has work
	Changed chan struct{} // this node's description may have changed
	Reach   chan struct{} // host access may not be as it should
	Ways    chan struct{} // routes to other hosts' containers may not be as they should
	// Later is Wake and Changed for what may wait until a burst is over.
	Later chan struct{}
}

// New opens what is kept; it asks nobody.
func New(cfg Config) (*Host, error) {
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
		Cfg: cfg, Self: cfg.Self, Addresses: cfg.Addresses, Memory: cfg.Memory, Scopes: scopes,
		Tables: newMirrors(cfg.Tables, cfg.Log), Troubles: trouble.NewBook(cfg.Now, cfg.Log),
		Now: cfg.Now, Log: cfg.Log,
		Wake: make(chan struct{}, 1), Changed: make(chan struct{}, 1), Reach: make(chan struct{}, 1), Ways: make(chan struct{}, 1), Later: make(chan struct{}, 1),
	}
	h.Parents = parent.New(parent.Config{
		State: cfg.Memory, Links: cfg.Links, Elsewhere: cfg.Elsewhere, Hosts: cfg.Hosts, OnHost: cfg.OnHost,
		Node: cfg.Host(), Troubles: h.Troubles, Log: cfg.Log,
	})
	return h, nil
}

// Poke asks the engine side, what describes this node, host access, and routes
// between hosts, to look again.
func (h *Host) Poke() {
	Tell(h.Wake)
	Tell(h.Changed)
	Tell(h.Reach)
	Tell(h.Ways)
}

// Tell wakes whoever waits, or will wait next, for c.
func Tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Milliseconds is now, in unix milliseconds.
func (h *Host) Milliseconds() int64 { return h.Now().UnixMilli() }

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

// Routes are the routes and neighbours of a namespace as the driver needs them;
// *route.Kernel is one.
type Routes interface {
	Addresses(ctx context.Context) ([]route.Address, error)
	// Strict reports whether a link drops what its answers would not leave by.
	Strict(link string) (bool, error)
	// Set makes of ours that leave by a link in reach those that are wanted.
	Set(ctx context.Context, reach func(link string) bool, want route.State) error
	// Change is Set from what the caller made before, without a look at what is there.
	Change(ctx context.Context, had, want route.State) error
	// Ours lists what is there of ours.
	Ours(ctx context.Context) (route.State, error)
	// Watch tells of changes, until ctx ends.
	Watch(ctx context.Context, changed func()) error
}

// Speaker is a routing protocol's as the driver needs it; *bgp.Speaker is one. Ways
// are a destination with its next hop.
type Speaker interface {
	// Announce makes these ways, the next hop this host's own, all that routers are
	// told. It does not wait for them.
	Announce(ways []route.Route)
	// Learned are the ways that routers told of and that this host is to go.
	Learned() []route.Route
}

// ResyncEvery is how often replicas and names are looked at without being
// told to: events are lossy.
const ResyncEvery = 30 * time.Second

// Hosts are the names of all hosts that described themselves.
func (h *Host) Hosts() plan.Hosts {
	nodes, _ := h.Tables.Nodes.Rows()
	all := plan.Hosts{}
	for _, n := range nodes {
		all[n.Record.Node] = n.Record.Host
	}
	return all
}

// Host is what messages call this node.
func (c Config) Host() string { return cmp.Or(c.Node.Host, c.Self.Node()) }

// SoloWarning is for a network that is defined where nobody else sees it.
const SoloWarning = "this agent is solo: no other host shares its etcd, so the network exists on this host only (gvlan init opens this host's store to others, gvlan join brings the host into a cluster)"

// IsSolo reports whether no other host shares this agent's store.
func (h *Host) IsSolo() bool { return h.Cfg.Solo != nil && h.Cfg.Solo() }

// IsLocal reports whether a new network stays on this host.
func (h *Host) IsLocal(o option.Options) bool {
	return cmp.Or(o.Scope, h.Scopes.Of(o.Kind)) == option.ScopeLocal
}

// ErrNoNetwork: no definition has that name.
var ErrNoNetwork = errors.New("no such network")

// isLocalHere reports whether this host has a network of that name for itself.
func (h *Host) isLocalHere(name string) bool {
	return slices.ContainsFunc(h.Memory.Networks(), func(n journal.Network) bool { return n.Stage == journal.StageLocal && n.Name == name })
}

// Definition reads a definition by name, from the store itself.
func (h *Host) Definition(ctx context.Context, name string) (store.Row[store.Network], error) {
	it, err := h.Cfg.KV.Get(ctx, store.NetworkKey(name))
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

// DefinitionName is the name of the definition with that uuid, or "".
func (h *Host) DefinitionName(uuid string) string {
	rows, _ := h.Tables.Networks.Rows()
	for _, def := range rows {
		if def.Record.UUID == uuid {
			return def.Record.Name
		}
	}
	return ""
}

// SandboxLives reports whether any process is still in the endpoint's network
// namespace. What cannot be judged lives.
func (h *Host) SandboxLives(e journal.Endpoint) bool {
	if e.Sandbox == "" {
		return false
	}
	sandbox := h.Cfg.OnHost(e.Sandbox)
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

// Besides is addresses inside sandboxes, beside those that Docker puts there. A
// sandbox is a path of this agent's.
type Besides interface {
	// Give gives the interface that has an address one more. The error is
	// link.ErrNotFound while none has it, and netns.ErrNotNamespace or
	// fs.ErrNotExist while there is no sandbox.
	Give(sandbox string, beside netip.Addr, more netip.Prefix) (given bool, err error)
	// Take takes an address away, wherever it is; a sandbox that is no more has
	// none.
	Take(sandbox string, addr netip.Addr) error
	// Announce tells the LAN that an address is there.
	Announce(sandbox string, addr netip.Addr) error
}

// Resolvers answers names inside containers; *sandbox.Resolvers of dns is one. A
// container starts and stops also without names, so both report their own
// failures.
type Resolvers interface {
	// Attach makes the names of a network (definition uuid) known in a
	// sandbox (SandboxKey) for as long as the endpoint is there.
	Attach(sandbox, endpoint, network string) error
	// Detach ends that.
	Detach(endpoint string)
}
