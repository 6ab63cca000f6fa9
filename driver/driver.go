package driver

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/option"
	"gvlan/driver/parent"
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
	Networks  bucket // journal
	Endpoints bucket // journal
	Settings  bucket // journal: what was last learned of the engine
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
	// Drained reports whether an operator wants no new containers here; nil: no.
	Drained func() bool
	Now     func() time.Time
	Log     *slog.Logger
}

// Driver is the networks and endpoints of this host.
type Driver struct {
	cfg       Config
	self      ipam.Authority
	addresses *ipam.Allocator
	state     *registry
	parents   *parent.Parents
	scopes    *scopes
	tables    *tables
	names     *names
	missing   map[string]time.Time // see view; the replicas' loop alone has it
	seen      seen
	services  trouble.Findings // services that cannot be reached
	plugins   trouble.Findings // plugins that hide this one
	clashes   trouble.Findings // networks elsewhere that lost their name to one of this node
	unheeded  unheeded         // what has no effect on this host's networks
	inherited inheritance
	announcer *announcer
	stopped   *stopped

	own      ownAddresses
	making   atomic.Pointer[store.Network] // the replica the engine is being asked for
	troubles *trouble.Book
	now      func() time.Time
	log      *slog.Logger

	// Both are told without blocking.
	wake    chan struct{} // the engine side has work
	changed chan struct{} // this node's description may have changed
}

// New reads the journal. Nothing runs until Run.
func New(cfg Config) (*Driver, error) {
	if cfg.AskLAN == nil {
		cfg.AskLAN = link.Ask
	}
	if cfg.Elsewhere == nil {
		cfg.Elsewhere = netns.Others
	}
	state, err := openRegistry(cfg.Networks, cfg.Endpoints)
	if err != nil {
		return nil, fmt.Errorf("open the driver's journal: %w", err)
	}
	scopes, err := openScopes(cfg.Settings, cfg.Scope)
	if err != nil {
		return nil, fmt.Errorf("open the driver's journal: %w", err)
	}
	d := &Driver{
		cfg: cfg, self: cfg.Self, addresses: cfg.Addresses,
		state: state, scopes: scopes, tables: newTables(cfg.Log), names: newNames(), announcer: newAnnouncer(), stopped: newStopped(),
		troubles: trouble.NewBook(cfg.Now, cfg.Log),
		now:      cfg.Now, log: cfg.Log,
		wake: make(chan struct{}, 1), changed: make(chan struct{}, 1),
	}
	d.parents = parent.New(parent.Config{
		State: state, Links: cfg.Links, Elsewhere: cfg.Elsewhere, Hosts: cfg.Hosts, OnHost: cfg.OnHost,
		Node: cfg.host(), Troubles: d.troubles, Log: cfg.Log,
	})
	d.tables.tell(d.poke, d.keepOutAll)
	return d, d.forgetUnfinished()
}

// Run does everything that is not an answer to Docker, until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	err := d.lookAtOwn(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read this host's addresses: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, loop := range []func(context.Context) error{
		d.reopenSandboxes, d.followEngine, d.followStore, d.syncReplicas, d.syncNames, d.publishNode, d.reconcileForever, d.followLinks, d.announceJoined,
	} {
		group.Go(func() error { return loop(ctx) })
	}
	return group.Wait()
}

// poke asks the engine side, and what describes this node, to look again.
func (d *Driver) poke() {
	tell(d.wake)
	tell(d.changed)
}

// tell wakes whoever waits, or will wait next, for c.
func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// milliseconds is now, in unix milliseconds.
func (d *Driver) milliseconds() int64 { return d.now().UnixMilli() }
