package driver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gvlan/cluster/events/eventstest"
	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/journal/disk"
	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
	"gvlan/driver/netns"
	"gvlan/driver/plan"
	"gvlan/driver/plugin"
	"gvlan/driver/route/routetest"
	"gvlan/driver/visible"
	"gvlan/ipam"
	"gvlan/ipam/node"
	"gvlan/parentfile"
)

// cluster is a store in memory and the hosts on it. Its clock stands still
// until a test moves it.
type cluster struct {
	testing.TB
	mem   *storetest.Mem
	clock *clock
	hosts []*machine
}

func newCluster(t testing.TB) *cluster {
	c := &cluster{TB: t, mem: storetest.NewMem(), clock: &clock{at: time.Unix(1_800_000_000, 0)}}
	t.Cleanup(func() {
		for _, h := range c.hosts {
			h.stop()
		}
	})
	return c
}

// clock is the hosts' clock.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// machine is one node: fakes of its engine and kernel, and the agent between
// them and the store.
type machine struct {
	*cluster
	name    string
	dir     string // of the journal
	wire    *storetest.Wire
	past    storetest.Past
	links   *linktest.Kernel
	engine  *dockerd
	told    eventstest.Heard
	drained atomic.Bool
	swarm   bool
	// elsewhere opens the host's other network namespaces; nil: there are none.
	elsewhere func() []*netns.Namespace
	routes    *routetest.Kernel // the host's
	inside    sync.Map          // those of sandboxes, by their paths as the agent sees them
	entered   sync.Map          // of those the ones that somebody went into
	access    bool              // networks that say nothing have host access
	noRoutes  bool              // this host makes no routes to other hosts' containers
	speaker   host.Speaker      // nil: routers are told of nothing
	imports   []netip.Prefix    // what the speaker learns
	answering []netip.Addr      // on the LAN at eth1
	deaf      error             // of asking there

	besides *besides // addresses in sandboxes; nil: the kernel's

	// Of the agent that runs.
	d         *Driver
	addresses *ipam.Allocator
	session   *session.Session
	client    http.Client
	stop      func()
}

// host starts a node with one network card, eth1.
func (c *cluster) host(name string) *machine {
	c.Helper()
	h := &machine{cluster: c, name: name, dir: c.TempDir(), wire: storetest.NewWire(c.mem), links: linktest.New("gvlan")}
	h.links.Add(link.Interface{Name: "eth1", Up: true})
	h.routes = routetest.New(h.all)
	h.engine = newDockerd(h)
	c.hosts = append(c.hosts, h)
	h.start()
	return h
}

// start starts the host's agent and waits until it may give addresses.
func (h *machine) start() {
	h.Helper()
	h.launch()
	h.eventually("the agent of "+h.name+" opens", h.trusted)
}

func (h *machine) trusted() bool {
	_, listed := h.d.Tables.Networks.Rows()
	return listed && h.session.Trusted() == nil
}

// launch starts the host's agent.
func (h *machine) launch() {
	h.Helper()
	log := slog.New(slog.NewTextHandler(h.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})).With("node", h.name)
	kept, err := disk.Open(filepath.Join(h.dir, "journal.db"), "boot", nil)
	h.must(err)
	h.session = session.New(h.wire, session.Identity{Node: h.name, Install: "install-" + h.name, Boot: "boot", Host: h.name}, &h.past, log)
	h.build(kept, log)
	served := plugin.New(plugin.Config{Driver: h.d, Addresses: h.addresses, Swarm: h.swarm, Log: log})
	socket := h.listen()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	tables := h.d.Tables
	for _, loop := range []func(context.Context) error{
		h.session.Run, h.addresses.Run, h.d.Run,
		func(ctx context.Context) error { return tables.Networks.Run(ctx, h.session) },
		func(ctx context.Context) error { return tables.Live.Run(ctx, h.session) },
		func(ctx context.Context) error { return tables.Nodes.Run(ctx, h.session) },
		func(ctx context.Context) error { return tables.Epochs.Run(ctx, h.session) },
		func(ctx context.Context) error { return tables.Endpoints.Run(ctx, h.session) },
		func(ctx context.Context) error { return served.Serve(ctx, socket) },
	} {
		work.Go(func() {
			if err := loop(ctx); err != nil {
				h.Errorf("agent of %s: %v", h.name, err)
			}
		})
	}
	h.stop = sync.OnceFunc(func() {
		cancel()
		work.Wait()
		h.must(kept.Close())
	})
}

// build makes allocator and driver, as cmd/gvlan does.
func (h *machine) build(kept *disk.Journal, log *slog.Logger) {
	h.Helper()
	endpoints := &lateEndpoints{}
	memory, err := journal.Recall(kept)
	h.must(err)
	h.addresses = ipam.New(node.Config{
		Ask: func(ctx context.Context, network string, addrs []netip.Addr) ([]netip.Addr, error) {
			return h.d.Ask(ctx, network, addrs)
		},
		Answers: h.onLAN(),
		KV:      h.session, Self: h.session, Memory: memory, Endpoints: endpoints, Events: &h.told, Now: h.clock.now, Log: log,
		Routes: func() ([]netip.Prefix, error) { return nil, nil },
	})
	unread := func(err error) { h.Errorf("record not readable on %s: %v", h.name, err) }
	h.d, err = New(host.Config{
		Tables: host.Tables{
			Networks: store.NewTable[store.Network](store.NetworksSpan(), unread),
			Live:     store.NewTable[store.Live](store.LiveSpan(), unread),
			Nodes:    store.NewTable[store.Node](store.NodesSpan(), unread),
			Epochs:   store.NewTable[store.Epoch](store.EpochsSpan(), unread),

			Endpoints: store.NewTable[store.Endpoint](store.EndpointsSpan(), unread),
		},
		Name: "gvlan", KV: h.kv(), Self: h.session, Addresses: h.addresses, Links: h.links, Engine: h.engine,
		Memory: memory, Settings: kept.Bucket("labels"),
		Hosts:  parentfile.HostTable{Default: "eth1"},
		OnHost: func(path string) string { return filepath.Join(h.dir, path) },
		AskLAN: func(_ context.Context, parent string, asked []netip.Addr) ([]netip.Addr, error) {
			if h.besides != nil {
				return h.besides.answers(h, asked), h.deaf
			}
			return slices.DeleteFunc(slices.Clone(asked), func(a netip.Addr) bool {
				return parent != "eth1" || !slices.Contains(h.answering, a)
			}), h.deaf
		},
		Elsewhere: func() ([]*netns.Namespace, error) {
			if h.elsewhere == nil {
				return nil, nil
			}
			return h.elsewhere(), nil
		},
		Routes: h.routes, Inside: h.within, Defaults: journal.Defaults{HostAccess: h.access, NoRoutes: h.noRoutes}, Speaker: h.speaker, Import: h.imports, Besides: h.inSandboxes(),
		Node: store.Node{Node: h.name, Host: h.name}, Swarm: h.swarm, Drained: h.drained.Load,
		Events: &h.told,
		Now:    h.clock.now, Log: log,
	})
	h.must(err)
	endpoints.driver = h.d
	h.d.Tables.Endpoints.Tell(h.d.Line.Apply)
}

// within opens the routes of a sandbox; one that a test did not make is not there.
func (h *machine) within(sandbox string, f func(host.Routes) error) error {
	h.entered.Store(sandbox, true)
	k, ok := h.inside.Load(sandbox)
	if !ok {
		return fs.ErrNotExist
	}
	return f(k.(*routetest.Kernel))
}

// lateEndpoints lets the allocator reach the driver that is built after it.
type lateEndpoints struct{ driver *Driver }

func (d *lateEndpoints) Silence(endpoint string, addr netip.Addr) error {
	return d.driver.Silence(endpoint, addr)
}

func (d *lateEndpoints) Withdraw(endpoint string, addr netip.Addr) error {
	return d.driver.TakeOut(endpoint, addr)
}

func (d *lateEndpoints) Restored(endpoint string) { d.driver.Republish(endpoint) }

func (d *lateEndpoints) CloseDead(ctx context.Context, endpoint string) (bool, error) {
	return d.driver.CloseDead(ctx, endpoint)
}

// listen opens the plugin's socket where its path is short enough for one.
func (h *machine) listen() net.Listener {
	h.Helper()
	folder, err := os.MkdirTemp("", "gvlan")
	h.must(err)
	h.Cleanup(func() { os.RemoveAll(folder) })
	socket, err := plugin.Listen(folder, "gvlan")
	h.must(err)
	h.client = http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(folder, "gvlan.sock"))
		},
	}}
	return socket
}

// restart ends the agent and starts it anew, with the same journal.
func (h *machine) restart() {
	h.Helper()
	h.stop()
	h.start()
}

// answer is every field of every answer of a plugin.
type answer struct {
	status     int
	raw        string
	Err, Error string

	PoolID, Pool, Address string
	SkipIPv4, SkipIPv6    bool
	Interface             struct{ Address, AddressIPv6, MacAddress string }
	InterfaceName         struct{ SrcName, DstName, DstPrefix string }
	Gateway, GatewayIPv6  string
	StaticRoutes          []struct {
		Destination string
		RouteType   int
		NextHop     string
	}
	DisableGatewayService     bool
	Value                     map[string]any
	Scope, ConnectivityScope  string
	GwAllocChecker            bool
	LocalDefaultAddressSpace  string
	GlobalDefaultAddressSpace string
}

// call is one call of Docker's; the error is the plugin's sentence.
func (h *machine) call(method string, request any) (answer, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return answer{}, err
	}
	return h.send(method, body)
}

func (h *machine) send(method string, body []byte) (answer, error) {
	res, err := h.client.Post("http://plugin/"+method, "application/json", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, raw: string(raw)}
	if res.StatusCode != http.StatusOK {
		return a, fmt.Errorf("%s: %s", res.Status, raw)
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return a, err
	}
	if a.Err+a.Error != "" {
		return a, errors.New(a.Err + a.Error)
	}
	return a, nil
}

// patience is how long a test waits for what must happen. It is never waited
// out unless the test fails.
const patience = 30 * time.Second

// quiet is how long after a deletion an rm and a prune look the same.
const quiet = plan.PruneQuiet

// eventually waits until something holds.
func (c *cluster) eventually(what string, holds func() bool) {
	c.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			c.Fatalf("waited in vain: %s\n%s", what, c.state())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// state is everything, for the message of a test that failed.
func (c *cluster) state() string {
	var b bytes.Buffer
	for _, it := range c.records(store.Prefix("/")) {
		fmt.Fprintf(&b, "%s %s\n", it.Key, it.Value)
	}
	for _, h := range c.hosts {
		for _, n := range h.d.Memory.Networks() {
			fmt.Fprintf(&b, "%s: network %s %s %s %s %s\n", h.name, n.Name, visible.ID(n.ID), n.Stage, n.UUID, n.Why)
		}
	}
	return b.String()
}

// pass lets time pass on every host.
func (c *cluster) pass(d time.Duration) {
	c.clock.advance(d)
	for _, h := range c.hosts {
		h.d.Poke()
	}
}

// settle waits until a whole look at the engine, and the steps it led to,
// began and ended.
func (h *machine) settle() {
	h.Helper()
	from := h.engine.looks.Load()
	h.eventually("the agent of "+h.name+" looks", func() bool {
		h.d.Poke()
		return h.engine.looks.Load() >= from+3
	})
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// records reads a span of the store.
func (c *cluster) records(span store.Span) []store.Item {
	items, _, err := c.mem.List(context.Background(), span)
	if err != nil && !errors.Is(err, store.ErrUnavailable) {
		c.Error(err)
	}
	return items
}

// definition reads a definition from the store.
func (c *cluster) definition(name string) (store.Network, bool) {
	it, err := c.mem.Get(context.Background(), store.NetworkKey(name))
	if err != nil {
		return store.Network{}, false
	}
	n, err := store.Decode[store.Network](it)
	c.must(err)
	return n, true
}

// lease reads the lease or reservation of an address.
func (c *cluster) lease(address string) (store.Lease, bool) {
	it, err := c.mem.Get(context.Background(), store.LeaseKey("default", netip.MustParseAddr(address)))
	if err != nil {
		return store.Lease{}, false
	}
	l, err := store.Decode[store.Lease](it)
	c.must(err)
	return l, true
}

// nothingLeft wants no lease, reservation, endpoint, link or open pool anywhere.
func (c *cluster) nothingLeft() {
	c.Helper()
	c.eventually("nothing is left", func() bool {
		left := len(c.records(store.AllLeasesSpan())) + len(c.records(store.EndpointsSpan())) + len(c.records(store.DefaultPoolsSpan()))
		for _, h := range c.hosts {
			left += len(h.ours()) + len(h.d.Memory.Endpoints()) + h.addresses.Pending() + len(h.addresses.Joined())
			left += len(h.d.Memory.Addressings(func(journal.Addressing) bool { return true }))
		}
		return left == 0
	})
}

// ours are the names of the links that the host's agent made.
func (h *machine) ours() []string {
	h.Helper()
	owned, err := h.links.Owned(context.Background())
	h.must(err)
	var names []string
	for _, l := range owned {
		names = append(names, l.Name)
	}
	return names
}

// all are the names of the host's links.
func (h *machine) all() []string {
	h.Helper()
	names := h.ours()
	there, err := h.links.Interfaces(context.Background())
	h.must(err)
	for _, i := range there {
		names = append(names, i.Name)
	}
	return names
}
