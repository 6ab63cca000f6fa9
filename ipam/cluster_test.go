package ipam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gvlan/cluster/events/eventstest"
	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/group"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
	"gvlan/driver/journal"
	"gvlan/ipam/conflict"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// cluster is a store and the hosts on it.
type cluster struct {
	testing.TB
	far    store.Backend
	hosts  []*host
	probes bool // the hosts ask the LAN before they give an address
}

// onEveryStore runs a scenario on the in-memory store and on a real etcd,
// and checks afterwards that store and hosts agree.
func onEveryStore(t *testing.T, scenario func(c *cluster)) {
	t.Run("mem", func(t *testing.T) {
		play(t, storetest.NewMem(), scenario)
	})
	t.Run("etcd", func(t *testing.T) {
		play(t, openEtcd(t), scenario)
	})
}

// onMem runs a scenario that does things to the store only Mem can do.
func onMem(t *testing.T, scenario func(c *cluster, mem *storetest.Mem)) {
	mem := storetest.NewMem()
	play(t, mem, func(c *cluster) { scenario(c, mem) })
}

func play(t *testing.T, far store.Backend, scenario func(c *cluster)) {
	c := &cluster{TB: t, far: far}
	defer func() {
		for _, h := range c.hosts {
			h.stop()
		}
	}()
	scenario(c)
	if !t.Failed() {
		c.check()
	}
}

var realEtcd struct {
	once     sync.Once
	endpoint string
	stop     func()
	prefixes atomic.Int64
}

// TestMain ends the etcd that the tests share.
func TestMain(m *testing.M) {
	m.Run()
	if realEtcd.stop != nil {
		realEtcd.stop()
	}
}

// openEtcd returns keys of their own in the etcd that the tests share.
func openEtcd(t testing.TB) store.Backend {
	t.Helper()
	realEtcd.once.Do(func() { startEtcd(t) })
	client, err := etcd.New(etcd.Config{
		Endpoints: []string{realEtcd.endpoint},
		Prefix:    fmt.Sprintf("/test/%d", realEtcd.prefixes.Add(1)),
		Log:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func startEtcd(t testing.TB) {
	dir, err := mkTemp()
	if err != nil {
		t.Fatal(err)
	}
	server, err := embedded.New(embedded.Config{Dir: dir.path, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	realEtcd.stop = func() {
		cancel()
		<-done
		dir.remove()
	}
	select {
	case <-server.Ready():
		realEtcd.endpoint = server.Endpoint()
	case err := <-done:
		done <- err
		t.Fatalf("embedded etcd: %v", err)
	}
}

// host is one node: a session and an allocator on a wire of its own.
type host struct {
	c       *cluster
	name    string
	wire    *storetest.Wire
	journal *disk
	past    *storetest.Past
	session *session.Session
	lossy   *lossy
	*Allocator
	*node.Node // the allocator's
	stop       func()

	told eventstest.Heard

	mu        sync.Mutex
	routes    []netip.Prefix
	dead      map[string]bool               // endpoints that CloseDead closes
	silent    map[string]bool               // endpoints whose link was silenced
	withdrawn []string                      // fixed addresses that were taken out of endpoints
	lan       []netip.Addr                  // that answer on the LAN
	asked     int                           // how often the LAN was asked
	strange   map[netip.Addr]string         // MAC addresses that answer a probe
	storm     bool                          // another one answers for each address
	hurried   int                           // how often a start waited for answers
	deaf      error                         // why it cannot be asked
	anew      map[string]bool               // endpoints whose record was made again
	cut       bool                          // the wire is down, by down()
	scanned   func()                        // of the next agent's lossy
	gate      chan struct{}                 // likewise
	granted   int                           // etcd leases
	grants    func() (store.LeaseID, error) // instead of the store, if not nil
	created   int                           // networks and endpoints, for ids

	ahead atomic.Int64 // of the time that it is, by its clock
}

// host starts a node.
func (c *cluster) host(name string) *host {
	c.Helper()
	h := &host{c: c, name: name, wire: storetest.NewWire(c.far), journal: newDisk(), past: &storetest.Past{}, dead: map[string]bool{}, silent: map[string]bool{}, anew: map[string]bool{}}
	h.start()
	c.hosts = append(c.hosts, h)
	return h
}

// start starts the agent of a host and waits until it may give addresses.
func (h *host) start() {
	h.c.Helper()
	h.load()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := h.session.Run(ctx); err != nil && !errors.Is(err, store.ErrFenced) { // by endEpoch
			h.c.Errorf("session of %s: %v", h.name, err)
		}
	})
	work.Go(func() {
		if err := h.Allocator.Run(ctx); err != nil {
			h.c.Errorf("allocator of %s: %v", h.name, err)
		}
	})
	work.Go(func() {
		if err := h.Probe(ctx); err != nil {
			h.c.Errorf("the prober of %s: %v", h.name, err)
		}
	})
	h.stop = sync.OnceFunc(func() {
		cancel()
		work.Wait()
	})
	if !h.cut {
		h.opened()
	}
}

// opened waits until the session is open for the first time.
func (h *host) opened() {
	select {
	case <-h.session.Opened():
	case <-h.c.Context().Done():
	}
}

// load makes a session and an allocator from what the host remembers.
func (h *host) load() {
	h.c.Helper()
	log := slog.New(slog.NewTextHandler(h.c.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	id := session.Identity{Node: h.name, Install: "install-" + h.name, Boot: "boot", Host: h.name}
	h.session = session.New(h.wire, id, h.past, log)
	h.lossy = &lossy{KV: group.New(h.session), scanned: h.scanned, gate: h.gate}
	memory, err := journal.Recall(h.journal)
	if err != nil {
		h.c.Fatal(err)
	}
	answers := h.answers
	if !h.c.probes {
		answers = nil
	}
	h.Allocator = New(node.Config{
		Answers: answers, Listens: func(string) bool { return true },
		KV: h.lossy, Grant: h.grant, Self: h.session, Memory: memory, Endpoints: h, Events: &h.told, Ask: h.ask, Log: log, Timeout: time.Minute,
		Routes: func() ([]netip.Prefix, error) { return h.routes, nil },
		Now:    func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) },
	})
	h.Node = h.Allocator.node
}

// Attach, Adopt and Detach are the Allocator's, each a change by itself.
func (h *host) Attach(id string, pools []pool.Data) error {
	return h.Memory.Change(func(c *journal.Change) error {
		h.Allocator.Attach(c, id, pools, h.Now())
		return nil
	})
}

func (h *host) Adopt(id string, def store.Network, at store.Revision) error {
	return h.Memory.Change(func(c *journal.Change) error {
		h.Allocator.Adopt(c, id, def, at)
		return nil
	})
}

func (h *host) Detach(id string) error {
	return h.Memory.Change(func(c *journal.Change) error {
		h.Allocator.Detach(c, id)
		return nil
	})
}

// later lets time pass, by the host's clock.
func (h *host) later(d time.Duration) { h.ahead.Add(int64(d)) }

// restart kills the agent and starts it anew.
func (h *host) restart() {
	h.stop()
	h.start()
}

// CloseDead implements Endpoints.
func (h *host) CloseDead(ctx context.Context, endpoint string) (bool, error) {
	h.mu.Lock()
	dead := h.dead[endpoint]
	h.mu.Unlock()
	if !dead {
		return false, nil
	}
	return true, h.Free(ctx, endpoint)
}

// grant counts the etcd leases.
func (h *host) grant(ctx context.Context, ttl int64) (store.LeaseID, error) {
	h.mu.Lock()
	h.granted++
	instead := h.grants
	h.mu.Unlock()
	if instead != nil {
		return instead()
	}
	return h.session.Grant(ctx, ttl)
}

// ask answers for the LAN.
func (h *host) ask(_ context.Context, _ string, addrs []netip.Addr) ([]netip.Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	return slices.DeleteFunc(slices.Clone(addrs), func(addr netip.Addr) bool { return !slices.Contains(h.lan, addr) }), h.deaf
}

// bound reports whether a container of this host has an address.
func (h *host) bound(addr netip.Addr) bool {
	l, own := h.Memory.Lease(pool.At(pool.DefaultSegment, addr))
	return own && l.State == journal.Bound
}

// answers implements node.Config.Answers.
func (h *host) answers(_ context.Context, _ string, addrs []netip.Addr, patience time.Duration) (map[netip.Addr][]net.HardwareAddr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if patience == conflict.Brief && !slices.ContainsFunc(addrs, h.bound) {
		h.hurried++
	}
	found := map[netip.Addr][]net.HardwareAddr{}
	for _, addr := range addrs {
		if mac, err := net.ParseMAC(h.strange[addr]); err == nil {
			found[addr] = append(found[addr], mac)
		}
		if raw := addr.As16(); h.storm {
			found[addr] = append(found[addr], append(net.HardwareAddr{0x06}, raw[11:]...))
		}
	}
	return found, h.deaf
}

// Silence implements Endpoints.
func (h *host) Silence(endpoint string, _ netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent[endpoint] = true
	return nil
}

// Restored implements Endpoints.
// Withdraw implements node.Endpoints.
func (h *host) Withdraw(endpoint string, addr netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.withdrawn = append(h.withdrawn, endpoint+" "+addr.String())
	return nil
}

func (h *host) Restored(endpoint string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.anew[endpoint] = true
}

func (h *host) kill(ct *container) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead[ct.endpoint] = true
}

func (h *host) id(what string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.created++
	id := fmt.Sprintf("%s-%s-%d-0123456789abcdef", h.name, what, h.created)
	return id + strings.Repeat("0", 64-len(id)) // as long as an engine's: a swarm's have 25
}

// lan is a network of a host's engine.
type lan struct {
	h     *host
	id    string
	pools []pool.Data
	ids   []string // PoolIDs, beside pools
	def   store.Network
}

// flags is what a user gives to docker network create.
type flags struct {
	subnets   []string // "" for a default pool
	ranges    []string // beside subnets
	gateways  []string // beside subnets, "" for the first usable
	noGateway bool     // the driver told Docker to skip it
	aux       map[string]string
	opts      map[string]string
}

// create does what Docker does for docker network create; on error what it
// rolls back was rolled back.
func (h *host) create(f flags) (*lan, error) {
	n := &lan{h: h, id: h.id("net")}
	for i, subnet := range f.subnets {
		data, id, err := h.openOne(f, i, subnet)
		if id != "" {
			n.ids = append(n.ids, id)
		}
		if err != nil {
			n.rollBack()
			return nil, err
		}
		n.pools = append(n.pools, data)
	}
	return n, h.Attach(n.id, n.pools)
}

func (h *host) openOne(f flags, i int, subnet string) (pool.Data, string, error) {
	ctx := h.ctx()
	req := PoolRequest{Space: pool.LocalSpace, Pool: subnet, Options: f.opts}
	if i < len(f.ranges) {
		req.SubPool = f.ranges[i]
	}
	if subnet == "v6" {
		req.Pool, req.V6 = "", true
	}
	reply, err := h.RequestPool(ctx, req)
	if err != nil {
		return pool.Data{}, "", err
	}
	data := pool.Data{Space: pool.LocalSpace, Subnet: reply.Subnet, Aux: map[string]netip.Addr{}}
	if !f.noGateway {
		want := ""
		if i < len(f.gateways) {
			want = f.gateways[i]
		}
		got, err := h.RequestAddress(ctx, AddressRequest{PoolID: reply.ID, Address: want, Options: map[string]string{pool.RequestType: pool.RequestGateway}})
		if err != nil {
			return data, reply.ID, err
		}
		data.Gateway = got.Addr()
	}
	for _, name := range slices.Sorted(maps.Keys(f.aux)) {
		if addr := netip.MustParseAddr(f.aux[name]); reply.Subnet.Contains(addr) {
			if _, err := h.RequestAddress(ctx, AddressRequest{PoolID: reply.ID, Address: addr.String()}); err != nil {
				return data, reply.ID, err
			}
			data.Aux[name] = addr
		}
	}
	return data, reply.ID, nil
}

// rollBack is all Docker does for a create that failed in its addresses.
func (n *lan) rollBack() {
	for _, id := range n.ids {
		if err := n.h.ReleasePool(n.h.ctx(), id); err != nil {
			n.h.c.Errorf("release pool: %v", err)
		}
	}
}

// mustCreate creates a network of these subnets.
func (h *host) mustCreate(subnets ...string) *lan {
	h.c.Helper()
	return h.mustCreateWith(flags{subnets: subnets})
}

func (h *host) mustCreateWith(f flags) *lan {
	h.c.Helper()
	n, err := h.create(f)
	if err != nil {
		h.c.Fatalf("create %v: %v", f, err)
	}
	return n
}

// define commits the network's definition, as the driver does once it has
// learned the name.
func (n *lan) define(name string) *lan {
	n.h.c.Helper()
	all, ok := AddressingOf(n.h.Memory, n.id)
	if !ok {
		n.h.c.Fatalf("network %s has no pools", n.id)
	}
	n.def = store.Network{UUID: "uuid-of-" + name, Name: name, State: store.NetworkActive, Scope: store.ScopeGlobal,
		Created: store.Definition{Segment: all.Segment, Pools: all.Pools, IPAMOptions: all.Options}}
	n.commitDefinition()
	return n
}

func (n *lan) commitDefinition() {
	n.h.c.Helper()
	ctx, key := n.h.c.Context(), store.NetworkKey(n.def.Name)
	for {
		conds, ops, err := n.h.ReserveFor(ctx, n.def.UUID, n.id)
		if err != nil {
			n.h.c.Fatalf("reserve for %s: %v", n.def.Name, err)
		}
		res, err := n.h.session.Commit(ctx, store.Txn{
			If:   conds,
			Then: append(ops, store.Put(key, store.Encode(n.def))),
		})
		if err != nil {
			n.h.c.Fatal(err)
		}
		if res.Done {
			if err := n.h.Adopt(n.id, n.def, res.Revision); err != nil {
				n.h.c.Fatal(err)
			}
			return
		}
	}
}

// undefine deletes the definition.
func (n *lan) undefine() {
	n.h.c.Helper()
	for {
		conds, ops, err := n.h.UnreserveFor(n.h.c.Context(), n.def)
		if err != nil {
			n.h.c.Fatal(err)
		}
		res, err := n.h.session.Commit(n.h.c.Context(), store.Txn{
			If: conds, Then: append(ops, store.Delete(store.NetworkKey(n.def.Name))),
		})
		if err != nil {
			n.h.c.Fatal(err)
		}
		if res.Done {
			return
		}
	}
}

// remove does what Docker does for docker network rm.
func (n *lan) remove() {
	n.h.c.Helper()
	ctx := n.h.ctx()
	for i, p := range n.pools {
		for _, addr := range append(slices.Collect(maps.Values(p.Aux)), p.Gateway) {
			if addr.IsValid() {
				n.h.must(n.h.ReleaseAddress(ctx, n.ids[i], addr.String()))
			}
		}
		n.h.must(n.h.ReleasePool(ctx, n.ids[i]))
	}
	n.h.must(n.h.Detach(n.id))
}

func (h *host) must(err error) {
	h.c.Helper()
	if err != nil {
		h.c.Fatal(err)
	}
}

// container is an endpoint with its addresses.
type container struct {
	n        *lan
	endpoint string
	mac      string   // "": none is known to the store
	pools    []string // PoolID of each address
	addrs    []netip.Prefix
}

// run does what Docker does for docker run, with --ip of the first pool's
// family when one is given; its rollback included.
func (n *lan) run(name, ip string) (*container, error) {
	ct := &container{n: n, endpoint: n.h.id("endpoint")}
	ctx := n.h.ctx()
	for v6 := range 2 {
		i := slices.IndexFunc(n.pools, func(p pool.Data) bool { return p.Subnet.Addr().Is6() == (v6 == 1) })
		if i < 0 {
			continue
		}
		want := ""
		if ip != "" && netip.MustParseAddr(ip).Is6() == (v6 == 1) {
			want = ip
			i = slices.IndexFunc(n.pools, func(p pool.Data) bool { return p.Subnet.Contains(netip.MustParseAddr(ip)) })
		}
		got, err := n.h.RequestAddress(ctx, AddressRequest{PoolID: n.ids[i], Address: want})
		if err != nil {
			return nil, err // Docker has installed no rollback yet
		}
		ct.pools, ct.addrs = append(ct.pools, n.ids[i]), append(ct.addrs, got)
	}
	if err := ct.bind(name); err != nil {
		ct.release()
		return nil, err
	}
	return ct, nil
}

func (n *lan) mustRun(name, ip string) *container {
	n.h.c.Helper()
	ct, err := n.run(name, ip)
	if err != nil {
		n.h.c.Fatalf("run %s: %v", name, err)
	}
	return ct
}

func (ct *container) bind(name string) error {
	b := Binding{Network: ct.n.id, Endpoint: ct.endpoint}
	segment := pool.DefaultSegment
	if len(ct.pools) > 0 {
		id, err := pool.ParseID(ct.pools[0])
		if err != nil {
			return err
		}
		segment = id.Segment
	}
	b.Record = store.Endpoint{Network: ct.n.def.UUID, Name: ct.n.def.Name, Segment: segment, Since: ct.n.h.Now().Unix(), MAC: ct.mac, Container: store.Container{Name: name}}
	for _, p := range ct.addrs {
		b.Addresses = append(b.Addresses, p.Addr())
		if p.Addr().Is4() {
			b.Record.IPv4 = p.String()
		} else {
			b.Record.IPv6 = p.String()
		}
	}
	return ct.n.h.Bind(ct.n.h.ctx(), b)
}

func (ct *container) release() {
	ct.n.h.c.Helper()
	for i, p := range ct.addrs {
		ct.n.h.must(ct.n.h.ReleaseAddress(ct.n.h.ctx(), ct.pools[i], p.Addr().String()))
	}
}

// stop does what Docker does for docker stop.
func (ct *container) stop() {
	ct.n.h.c.Helper()
	ct.n.h.must(ct.n.h.Unbind(ct.n.h.ctx(), ct.endpoint))
	ct.release()
}

func (ct *container) ip() string { return ct.addrs[0].Addr().String() }

// leaseAt reads an address's record; a zero item is none.
func (c *cluster) leaseAt(segment, addr string) (store.Item, store.Lease) {
	c.Helper()
	items := c.list(store.LeasesSpan(segment, netip.PrefixFrom(netip.MustParseAddr(addr), netip.MustParseAddr(addr).BitLen())))
	if len(items) == 0 {
		return store.Item{}, store.Lease{}
	}
	rec, err := store.Decode[store.Lease](items[0])
	if err != nil {
		c.Fatal(err)
	}
	return items[0], rec
}

func (c *cluster) list(span store.Span) []store.Item {
	c.Helper()
	items, _, err := c.far.List(c.Context(), span)
	if err != nil {
		c.Fatal(err)
	}
	return withoutCooldowns(items)
}

// withoutCooldowns leaves out what says that an address rests.
func withoutCooldowns(items []store.Item) []store.Item {
	return slices.DeleteFunc(items, func(it store.Item) bool {
		_, _, rests := store.CooldownOf(it.Key)
		return rests
	})
}

// until waits for the store to look as wanted.
func (c *cluster) until(what string, span store.Span, ok func([]store.Item) bool) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	for {
		items, rev, err := c.far.List(ctx, span)
		if err != nil {
			c.Fatalf("wait until %s: %v", what, err)
		}
		if ok(withoutCooldowns(items)) {
			return
		}
		changed := false
		for _, err := range c.far.Watch(ctx, span, rev) {
			changed = err == nil
			break
		}
		if !changed {
			c.Fatalf("wait until %s: it never came; the store holds %s", what, strings.Join(KeysOf(items), " "))
		}
	}
}

func KeysOf(items []store.Item) []string {
	var keys []string
	for _, it := range items {
		keys = append(keys, it.Key)
	}
	return keys
}

// empty is what until waits for when everything must go.
func empty(items []store.Item) bool { return len(items) == 0 }

// ready waits until a host compared its leases and filled its mirrors.
func (h *host) ready() {
	h.c.Helper()
	for h.compared.Load() != h.session.Epoch() {
		h.Wake()
		if !store.Sleep(h.c.Context(), time.Millisecond) {
			h.c.Fatalf("node %s never compares its leases with the store", h.name)
		}
	}
	for _, p := range h.Memory.Pools(func(p journal.Pool) bool { return !p.Closed }) {
		id := p.Parsed
		for m := h.Mirrors.Of(id.Segment, id.Subnet); !m.IsReady(); m = h.Mirrors.Of(id.Segment, id.Subnet) {
			if !store.Sleep(h.c.Context(), time.Millisecond) {
				h.c.Fatalf("the mirror of %s is never filled", id.Subnet)
			}
		}
	}
}

// compares waits until nothing of an address is left to be compared: meanwhile it is
// given to nobody who asks for any. A release that the watch tells of before its own
// answer came is compared a moment later.
func (h *host) compares(addr netip.Addr) {
	h.c.Helper()
	at, calm := pool.At(pool.DefaultSegment, addr), 0
	h.waitFor("the comparison of "+addr.String()+" is over", func() bool {
		calm++
		for _, left := range []*node.Suspects[pool.Place]{&h.Suspect, &h.missing.places} {
			for _, suspect := range left.Drain() {
				left.Add(suspect)
				calm = 0
			}
		}
		if h.Places.IsBusy(at) {
			calm = 0
		}
		return calm > 3
	})
}

// down cuts the host off from the store; calls fail at once.
func (h *host) down() {
	h.cut = true
	h.wire.Down()
}

// up ends down.
func (h *host) up() {
	h.cut = false
	h.wire.Up()
	h.opened()
}

// mute loses every reply to the host's transactions from now on. The context
// it returns ends once the store looks as wanted, as a call's does that
// waited long enough.
func (h *host) mute(span store.Span, ok func([]store.Item) bool) context.Context {
	h.lossy.muted.Store(true)
	ctx, cancel := context.WithCancel(h.c.Context())
	var work sync.WaitGroup
	work.Go(func() {
		defer cancel()
		h.c.until("a transaction without a reply lands", span, ok)
	})
	h.c.Cleanup(work.Wait)
	return ctx
}

// hear ends mute.
func (h *host) hear() { h.lossy.muted.Store(false) }

// ctx is what a call of Docker's runs under; short while the store is away,
// since that is how long the call will take.
func (h *host) ctx() context.Context {
	if !h.cut {
		return h.c.Context()
	}
	ctx, cancel := context.WithTimeout(h.c.Context(), 30*time.Millisecond)
	h.c.Cleanup(cancel)
	return ctx
}
