package driver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/ipam/conflict"
)

// besides is what sandboxes have beside what Docker put there, on every host of a
// LAN, in memory.
type besides struct {
	t testing.TB

	mu    sync.Mutex
	at    map[netip.Addr]map[string]bool // sandboxes, by address
	off   map[string]bool                // folders of hosts whose cable is cut
	asked map[string]int                 // how often the LAN was asked, by host

	answersAfter time.Duration // 0: the LAN is not asked before addresses are given

	listed  int   // how often the lease's key was, by whom the address was wanted
	refused error // of following it
}

// leaseReader counts who reads the lease's key.
type leaseReader struct {
	store.KV
	of *besides
}

func (r leaseReader) isIts(span store.Span) bool {
	return span.From == store.LeaseKey("default", fixedAt)
}

func (r leaseReader) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	r.of.mu.Lock()
	if r.isIts(span) {
		r.of.listed++
	}
	r.of.mu.Unlock()
	return r.KV.List(ctx, span)
}

func (r leaseReader) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	r.of.mu.Lock()
	refused := r.of.refused
	r.of.mu.Unlock()
	if refused != nil && r.isIts(span) {
		return func(yield func(store.Batch, error) bool) { yield(store.Batch{}, refused) }
	}
	return r.KV.Watch(ctx, span, after)
}

// kv is the store of a host's driver.
func (h *machine) kv() store.KV {
	if h.besides == nil {
		return h.session
	}
	return leaseReader{h.session, h.besides}
}

func newBesides(t testing.TB) *besides {
	return &besides{t: t, at: map[netip.Addr]map[string]bool{}, off: map[string]bool{}, asked: map[string]int{}}
}

// Give implements host.Besides. Two that have one address on one LAN fail the test.
func (b *besides) Give(sandbox string, _ netip.Addr, more netip.Prefix) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	addr := more.Addr()
	if b.at[addr][sandbox] {
		return false, nil
	}
	if b.at[addr] == nil {
		b.at[addr] = map[string]bool{}
	}
	b.at[addr][sandbox] = true
	b.judge()
	return true, nil
}

// judge wants one sandbox for each address, of those whose host is on the LAN.
func (b *besides) judge() {
	for addr, all := range b.at {
		var on []string
		for sandbox := range all {
			if !b.isOff(sandbox) {
				on = append(on, sandbox)
			}
		}
		if len(on) > 1 {
			b.t.Errorf("%s is in %v at once", addr, on)
		}
	}
}

func (b *besides) isOff(sandbox string) bool {
	for dir := range b.off {
		if strings.HasPrefix(sandbox, dir) {
			return true
		}
	}
	return false
}

// Take implements host.Besides.
func (b *besides) Take(sandbox string, addr netip.Addr) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.at[addr], sandbox)
	return nil
}

// Announce implements host.Besides.
func (b *besides) Announce(string, netip.Addr) error { return nil }

// gone is what becomes of a sandbox whose container leaves.
func (b *besides) gone(sandbox string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, all := range b.at {
		delete(all, sandbox)
	}
}

// cut takes a host's cable out, or puts it in again.
func (b *besides) cut(h *machine, off bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.off, h.dir)
	if off {
		b.off[h.dir] = true
	}
	b.judge()
}

// answers are the addresses that answer a host on the LAN.
func (b *besides) answers(h *machine, asked []netip.Addr) (all []netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked[h.name]++
	for _, addr := range asked {
		if addr == router && !b.off[h.dir] {
			all = append(all, addr)
		}
		for sandbox := range b.at[addr] {
			if !b.isOff(sandbox) && !b.off[h.dir] {
				all = append(all, addr)
				break
			}
		}
	}
	return all
}

// onLAN asks the LAN before addresses are given, where a test has somebody answer.
func (h *machine) onLAN() conflict.Answers {
	if h.besides == nil || h.besides.answersAfter == 0 {
		return nil
	}
	return func(ctx context.Context, _ string, asked []netip.Addr, _ time.Duration) (map[netip.Addr][]net.HardwareAddr, error) {
		all := map[netip.Addr][]net.HardwareAddr{}
		for _, addr := range h.besides.answers(h, asked) {
			all[addr] = []net.HardwareAddr{{2, 0, 0, 0, 0, 1}}
		}
		select {
		case <-ctx.Done():
		case <-time.After(h.besides.answersAfter):
			h.looks() // others come and go meanwhile
		}
		return all, ctx.Err()
	}
}

// inSandboxes is nil where the kernel's sandboxes are meant.
func (h *machine) inSandboxes() host.Besides {
	if h.besides == nil {
		return nil
	}
	return h.besides
}

// fixedAt is the address of these tests; router is somebody else on the LAN.
var (
	fixedAt = netip.MustParseAddr("10.0.0.99")
	router  = netip.MustParseAddr("10.0.0.254")
)

// fixedOn are hosts on one LAN, whose network has a gateway that answers.
func fixedOn(t *testing.T, names ...string) (all []*machine, on *besides) {
	c := newCluster(t)
	on = newBesides(t)
	for i, name := range names {
		h := c.host(name)
		h.stop()
		h.besides = on
		h.start()
		if i == 0 {
			h.create(lan("lan", "10.0.0.0/24", func(r *engine.NetworkRequest) { r.IPAM.Pools[0].Gateway = router }))
		}
		h.replica("lan")
		all = append(all, h)
	}
	return all, on
}

// wants has a container want the address.
func wants(opts ...string) func(*enginetest.ContainerSpec) {
	return func(s *enginetest.ContainerSpec) {
		s.Settings.DriverOpts = map[string]string{"gvlan.ip": fixedAt.String()}
		for i := 0; i < len(opts); i += 2 {
			s.Settings.DriverOpts[opts[i]] = opts[i+1]
		}
	}
}

// sandbox is where a container's is, as its agent sees it.
func (ct *container) sandbox() string {
	e, _ := ct.h.d.Memory.Endpoint(ct.endpoint)
	return ct.h.d.Cfg.OnHost(e.Sandbox)
}

// leaves is stop, with what the kernel does to the sandbox.
func (ct *container) leaves() {
	ct.h.Helper()
	sandbox := ct.sandbox()
	_, err := ct.h.call("NetworkDriver.Leave", ct.about())
	ct.h.must(err)
	ct.h.besides.gone(sandbox)
	ct.stop()
}

// looks has time pass, and every wish on a host looked at, and its containers: the
// pauses of all of them are real.
func (h *machine) looks() {
	h.d.Containers.Refresh()
	h.clock.advance(50 * time.Millisecond)
	for _, it := range h.records(store.EndpointsSpan()) {
		h.d.Line.Apply(store.Change{Events: []store.Event{{Item: it}}, Revision: it.Modified})
	}
}

// has waits until a container has the address, in the store, its record and its
// sandbox.
func (ct *container) has() {
	ct.h.Helper()
	ct.h.eventually(ct.spec.Name+" has the address", func() bool {
		ct.h.looks()
		l, _ := ct.h.lease(fixedAt.String())
		it, err := ct.h.mem.Get(context.Background(), store.EndpointKey(ct.h.name, ct.endpoint))
		if err != nil {
			return false
		}
		rec, _ := store.Decode[store.Endpoint](it)
		ct.h.besides.mu.Lock()
		defer ct.h.besides.mu.Unlock()
		return l.Endpoint == ct.endpoint && l.Kind == store.Service && slices.Contains(rec.Addresses(), fixedAt) && ct.h.besides.at[fixedAt][ct.sandbox()]
	})
}

// waits waits until a container says why it does not have the address.
func (ct *container) waits(why string) {
	ct.h.Helper()
	ct.h.eventually(ct.spec.Name+" waits: "+why, func() bool {
		ct.h.looks()
		said := slices.Concat(ct.h.d.Warnings(), ct.h.d.Hints())
		return slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, "waits for its fixed address 10.0.0.99: "+why) })
	})
}

// TestFixedAddressGoesDownTheLine: in the order in which they were made, whatever
// host they are on.
func TestFixedAddressGoesDownTheLine(t *testing.T) {
	all, _ := fixedOn(t, "h1", "h2")
	one := all[0].run("one", "lan", wants())
	one.has()
	two := all[1].run("two", "lan", wants())
	two.waits("in use by")
	three := all[0].run("three", "lan", wants())
	three.waits("in use by")
	one.leaves()
	two.has()
	two.leaves()
	three.has()
	three.leaves()
	if l, held := all[0].lease(fixedAt.String()); held {
		t.Errorf("the lease is %+v, want none", l)
	}
}

// TestFixedAddressOfWhoAsksForLong: while the LAN is asked its holder may be listed,
// and who waits asks once, not for ever.
func TestFixedAddressOfWhoAsksForLong(t *testing.T) {
	all, lan := fixedOn(t, "h1", "h2")
	one := all[0].run("one", "lan", wants())
	one.has()
	h2 := all[1]
	h2.stop()
	lan.answersAfter = 100 * time.Millisecond
	h2.start()
	h2.replica("lan")
	two := h2.run("two", "lan", wants())
	h2.eventually("two says who has it", func() bool {
		return slices.ContainsFunc(h2.d.Hints(), func(s string) bool { return strings.Contains(s, "waits for its fixed address 10.0.0.99: in use by") })
	})
	one.leaves()
	two.has()
	two.leaves()
}

// TestFixedAddressThatIsNotGivenBackYet by this host is waited for, and not listed
// again and again.
func TestFixedAddressThatIsNotGivenBackYet(t *testing.T) {
	all, lan := fixedOn(t, "h1")
	h := all[0]
	owed := journal.Lease{Segment: "default", Address: fixedAt, Kind: store.Dynamic, State: journal.Given, Nonce: "lost", Created: 1}
	h.must(h.d.Memory.KnownPut(owed))
	one := h.run("one", "lan", wants())
	lists := func() int {
		lan.mu.Lock()
		defer lan.mu.Unlock()
		return lan.listed
	}
	h.eventually("its key is listed", func() bool { return lists() > 0 })
	for range 50 {
		h.looks()
		h.d.Waiting() // its lock is that of whoever is told to look
	}
	h.must(h.d.Memory.KnownDrop(owed))
	one.has()
	if got := lists(); got > 1 {
		t.Errorf("its key was listed %d times, want once", got)
	}
	one.leaves()
}

// TestFixedAddressAfterAConflict is asked for on the LAN: whoever had it may have it
// still.
func TestFixedAddressAfterAConflict(t *testing.T) {
	all, lan := fixedOn(t, "h1")
	h := all[0]
	h.stop()
	lan.answersAfter = time.Millisecond
	h.start()
	h.replica("lan")
	lan.put("somebody")
	key := store.LeaseKey("default", fixedAt)
	h.write(store.Put(key, store.Encode(store.Lease{State: store.Conflicted, Node: "h1", MAC: "02:00:00:00:00:01"})))
	one := h.run("one", "lan", wants())
	one.waits("in use on the LAN by MAC 02:00:00:00:00:01, as host h1 saw")
	h.write(store.Delete(key)) // gvlan conflict clear
	one.waits("address 10.0.0.99 is in use on the LAN by MAC 02:00:00:00:00:01: give another one")
	lan.gone("somebody")
	one.has()
	one.leaves()
}

// put puts the address where it does not belong.
func (b *besides) put(sandbox string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at[fixedAt] = map[string]bool{sandbox: true}
}

// write writes to the store.
func (h *machine) write(ops ...store.Op) {
	h.Helper()
	_, err := h.mem.Commit(context.Background(), store.Txn{Then: ops})
	h.must(err)
}

// TestFixedAddressThatCannotBeFollowed is tried all the same.
func TestFixedAddressThatCannotBeFollowed(t *testing.T) {
	all, lan := fixedOn(t, "h1", "h2")
	one := all[0].run("one", "lan", wants())
	one.has()
	two := all[1].run("two", "lan", wants())
	two.waits("in use by")
	lan.mu.Lock()
	lan.refused = errors.New("not allowed")
	lan.mu.Unlock()
	all[1].wire.Disconnect()
	one.leaves()
	two.has()
	two.leaves()
}

// TestFixedAddressOfWhoJoinsAgain: an engine may have an endpoint leave a sandbox and
// join another one.
func TestFixedAddressOfWhoJoinsAgain(t *testing.T) {
	all, lan := fixedOn(t, "h1")
	h := all[0]
	one := h.run("one", "lan", wants())
	one.has()
	sandbox := one.sandbox()
	_, err := h.call("NetworkDriver.Leave", one.about())
	h.must(err)
	lan.gone(sandbox)
	h.must(h.links.Move(one.joined.InterfaceName.SrcName, link.Current, ""))
	one.joined, err = h.call("NetworkDriver.Join", one.about("SandboxKey", "/var/run/docker/netns/again"))
	h.must(err)
	h.must(h.links.Move(one.joined.InterfaceName.SrcName, 7, "eth0"))
	one.has()
	one.leaves()
}

// TestFixedAddressOfAHostThatIsAway is asked for at its pace, however often others
// come and go.
func TestFixedAddressOfAHostThatIsAway(t *testing.T) {
	all, lan := fixedOn(t, "h1", "h2")
	one := all[0].run("one", "lan", wants("gvlan.failover", "30s"))
	one.has()
	all[1].run("two", "lan", wants("gvlan.failover", "30s")).waits("in use by")
	all[0].stop() // the container lives, and answers
	lan.asks(all[1], 1)
	from := all[1].clock.now()
	lan.asks(all[1], 3)
	if took := all[1].clock.now().Sub(from); took < 10*time.Second {
		t.Errorf("asked three times within %s, want five seconds between two", took)
	}
}

// TestFixedAddressAfterARestart of the agent is what the leases say.
func TestFixedAddressAfterARestart(t *testing.T) {
	all, lan := fixedOn(t, "h1")
	h := all[0]
	one, two := h.run("one", "lan", wants()), (*container)(nil)
	one.has()
	two = h.run("two", "lan", wants())
	two.waits("in use by")
	h.stop()
	lan.gone(one.sandbox())
	lan.mu.Lock()
	lan.at[fixedAt] = map[string]bool{} // as if the agent had died before it put it in
	lan.mu.Unlock()
	h.start()
	one.has()
	one.leaves()
	two.has()
	two.leaves()
}

// TestFixedAddressIsTakenOverWhenSilent: once the host of its holder is not
// connected, and the LAN silent about it though not about everything.
func TestFixedAddressIsTakenOverWhenSilent(t *testing.T) {
	all, lan := fixedOn(t, "h1", "h2")
	h1, h2 := all[0], all[1]
	one := h1.run("one", "lan", wants("gvlan.failover", "10s"))
	one.has()
	two := h2.run("two", "lan", wants("gvlan.failover", "10s"))
	two.waits("in use by")
	h1.stop() // the container lives, and answers
	lan.asks(h2, 3)
	if l, _ := h2.lease(fixedAt.String()); l.Endpoint != one.endpoint {
		t.Errorf("the lease is %+v while its holder answers, want one's", l)
	}
	lan.cut(h2, true) // who is cut off hears nobody
	two.waits("its host is away, and whether it still answers is not known: nobody else on that LAN answers this host")
	lan.cut(h2, false)
	lan.cut(h1, true)
	two.has()
	it, err := h1.mem.Get(context.Background(), store.EndpointKey("h1", one.endpoint))
	if rec, bad := store.Decode[store.Endpoint](it); err != nil || bad != nil || len(rec.Fixed) > 0 {
		t.Errorf("the record of the former holder is %+v (%v, %v), want it to have nothing", rec, err, bad)
	}
	h1.start()
	one.waits("in use by ")
	h1.eventually("it is taken out", func() bool { return !lan.in(one.sandbox()) })
	lan.cut(h1, false)
	two.leaves()
	one.has()
	one.leaves()
}

// TestFixedAddressOfWhoIsCutOff is let go before anybody takes it over, and taken
// up again when the store says that it is still its holder's.
func TestFixedAddressOfWhoIsCutOff(t *testing.T) {
	for _, taken := range []bool{false, true} {
		t.Run(fmt.Sprintf("taken over %v", taken), func(t *testing.T) {
			all, lan := fixedOn(t, "h1", "h2")
			h1, h2 := all[0], all[1]
			one := h1.run("one", "lan", wants("gvlan.failover", "10s"))
			one.has()
			h1.wire.Down()
			asked := lan.asks(h1, 1)
			if asked == 0 || !lan.in(one.sandbox()) {
				t.Error("it is taken out while the LAN answers: etcd alone is away")
			}
			lan.cut(h1, true)
			h1.eventually("it is taken out", func() bool { h1.looks(); return !lan.in(one.sandbox()) })
			if l, _ := h2.lease(fixedAt.String()); l.Endpoint != one.endpoint {
				t.Errorf("the lease is %+v, want one's", l)
			}
			if !taken {
				lan.cut(h1, false)
				h1.wire.Up()
				one.has()
				one.leaves()
				return
			}
			two := h2.run("two", "lan", wants("gvlan.failover", "10s"))
			_, err := h1.mem.Commit(context.Background(), store.Txn{Then: []store.Op{store.Delete(store.LiveKey("h1"))}})
			h1.must(err)
			two.has()
			lan.cut(h1, false) // the cable first, and nobody answers twice
			h1.wire.Up()
			one.waits("in use by ")
			two.leaves()
			one.has()
			one.leaves()
		})
	}
}

// asks waits until a host has asked the LAN for the address so often.
func (b *besides) asks(h *machine, times int) int {
	h.Helper()
	b.mu.Lock()
	from := b.asked[h.name]
	b.mu.Unlock()
	asked := 0
	h.eventually("the LAN is asked", func() bool {
		h.looks()
		b.mu.Lock()
		defer b.mu.Unlock()
		asked = b.asked[h.name] - from
		return asked >= times
	})
	return asked
}

// in reports whether a sandbox has the address.
func (b *besides) in(sandbox string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at[fixedAt][sandbox]
}

// TestFixedAddressThatIsReserved is not taken, and its container says so.
func TestFixedAddressThatIsReserved(t *testing.T) {
	all, _ := fixedOn(t, "h1")
	key := store.ReservationKey("default", fixedAt)
	put := func(op store.Op) {
		_, err := all[0].mem.Commit(context.Background(), store.Txn{Then: []store.Op{op}})
		all[0].must(err)
	}
	put(store.Put(key, store.Encode(store.Reservation{Name: "lan", Note: "rack 4"})))
	one := all[0].run("one", "lan", wants())
	one.waits("address 10.0.0.99 is reserved on network lan (rack 4): give another one, or end that (gvlan unreserve lan 10.0.0.99)")
	put(store.Delete(key))
	one.has()
	one.leaves()
}

// TestFixedAddressThatIsReservedForIt is for the container of that name, or a task of
// that service, and for nobody else.
func TestFixedAddressThatIsReservedForIt(t *testing.T) {
	all, _ := fixedOn(t, "h1", "h2")
	h1, h2 := all[0], all[1]
	h1.write(store.Put(store.ReservationKey("default", fixedAt), store.Encode(store.Reservation{Name: "lan", For: "web"})))
	thief := h1.run("thief", "lan", wants())
	thief.waits("address 10.0.0.99 is reserved for container web on network lan")
	task := h2.run("web.1.abcdef", "lan", wants(), func(s *enginetest.ContainerSpec) {
		s.Labels = map[string]string{store.LabelTask: "web.1.abcdef"}
	})
	task.has()
	task.leaves()
	web := h2.run("web", "lan", wants())
	web.has()
	web.leaves()
	thief.leaves()
}

// TestFixedAddressThatIsNone is refused with the option that asked for it.
func TestFixedAddressThatIsNone(t *testing.T) {
	all, _ := fixedOn(t, "h1")
	for addr, want := range map[string]string{
		"10.0.0.254": "driver-opt gvlan.ip=10.0.0.254 on network lan: address 10.0.0.254 is the gateway of network lan",
		"10.0.1.1":   "driver-opt gvlan.ip=10.0.1.1 on network lan: address 10.0.1.1 lies in no subnet of network lan",
		"web":        "driver-opt gvlan.ip=\"web\" is no list of addresses",
	} {
		_, err := all[0].tryRun("odd", "lan", wants("gvlan.ip", addr))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("gvlan.ip=%s: %v, want an error that says %q", addr, err, want)
		}
	}
}
