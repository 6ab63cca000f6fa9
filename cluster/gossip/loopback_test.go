package gossip_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
)

// writer is the name under which a node's membership reaches the store.
const writer = "membership"

// town is a store and the nodes around it, which gossip over real sockets of
// 127.0.0.0/8.
type town struct {
	t    *testing.T
	mem  *storetest.Mem
	spy  *storetest.Spy
	port uint16
	next byte
}

func newTown(t *testing.T) *town {
	mem := storetest.NewMem()
	tn := &town{t: t, mem: mem, spy: storetest.NewSpy(mem), port: freePort(t)}
	tn.put(store.MetaKey(), store.Encode(store.Meta{Schema: store.Schema, UUID: "3f0c1f6e-town"}))
	if err := gossip.EnsureKeys(t.Context(), mem, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return tn
}

// freePort returns a port that is free on 127.0.0.1, and so most likely on
// the rest of 127.0.0.0/8.
func freePort(t *testing.T) uint16 {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func (tn *town) put(key string, value []byte) {
	tn.t.Helper()
	tn.commit(store.Put(key, value))
}

func (tn *town) commit(ops ...store.Op) {
	tn.t.Helper()
	if _, err := tn.mem.Commit(context.Background(), store.Txn{Then: ops}); err != nil {
		tn.t.Fatal(err)
	}
}

// resident is one running node.
type resident struct {
	*gossip.Membership
	name string
	addr netip.Addr
	dir  *cluster.Directory
	wire *storetest.Wire
	stop func() // ends Run and waits for it
	log  *lockedBuffer
}

// node registers a node in the store and runs its membership.
func (tn *town) node(name string, change ...func(*gossip.Config)) *resident {
	tn.t.Helper()
	tn.next++
	addr := netip.AddrFrom4([4]byte{127, 0, 7, tn.next})
	gossip := netip.AddrPortFrom(addr, tn.port).String()
	tn.commit(
		store.Put(store.NodeKey(name), store.Encode(store.Node{Node: name, Gossip: gossip})),
		store.Put(store.LiveKey(name), store.Encode(store.Live{Host: name, Gossip: gossip})),
	)
	return tn.run(name, addr, change...)
}

// run runs a membership without registering it.
func (tn *town) run(name string, addr netip.Addr, change ...func(*gossip.Config)) *resident {
	tn.t.Helper()
	r := &resident{name: name, addr: addr, log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.wire = storetest.NewWire(tn.spy.As(writer))
	r.dir = cluster.NewDirectory(log)
	config := gossip.Config{Node: name, Registry: r.dir, Address: addr, Port: tn.port, Log: log}
	for _, c := range change {
		c(&config)
	}
	var err error
	if r.Membership, err = gossip.New(config); err != nil {
		tn.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.dir.Run(ctx, r.wire); err != nil {
			tn.t.Errorf("%s: directory: %v", name, err)
		}
	})
	wg.Go(func() {
		if err := r.Membership.Run(ctx); err != nil {
			tn.t.Errorf("%s: membership: %v", name, err)
		}
	})
	r.stop = func() { cancel(); wg.Wait() }
	tn.t.Cleanup(func() {
		r.stop()
		if tn.t.Failed() {
			tn.t.Logf("log of %s:\n%s", name, r.log)
		}
	})
	return r
}

// until waits for events of a node until its members satisfy want.
func (r *resident) until(t *testing.T, what string, want func([]gossip.Member) bool) {
	t.Helper()
	for !want(r.Members()) {
		select {
		case <-r.Events():
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s never saw %s, but %+v", r.name, what, r.Members())
		}
	}
}

// sees waits until a node sees another in a state.
func (r *resident) sees(t *testing.T, node string, want gossip.Standing) {
	t.Helper()
	r.until(t, fmt.Sprintf("%s %s", node, want), func(members []gossip.Member) bool {
		for _, m := range members {
			if m.Node == node {
				return m.Standing == want
			}
		}
		return false
	})
}

// logs waits until a node's log has a text.
func (r *resident) logs(t *testing.T, text string) {
	t.Helper()
	for range 60_000 {
		if strings.Contains(r.log.String(), text) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%s never logged %s", r.name, text)
}

// lockedBuffer is a log that many goroutines write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestThreeNodesMeet(t *testing.T) {
	tn := newTown(t)
	a, b, c := tn.node("a"), tn.node("b"), tn.node("c")
	for _, r := range []*resident{a, b, c} {
		for _, other := range []string{"a", "b", "c"} {
			r.sees(t, other, gossip.Alive)
		}
	}
	if err := c.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.sees(t, "c", gossip.Left)
	b.sees(t, "c", gossip.Left)
	c.stop()
	if m, ok := a.Member("c"); !ok || m.Standing != gossip.Left {
		t.Errorf("a has c as %+v, %v", m, ok)
	}
	if m, ok := a.Member("nobody"); ok {
		t.Errorf("a knows %+v", m)
	}
	a.logs(t, fmt.Sprintf(`msg="member joined" node=b address=%s members=`, netip.AddrPortFrom(b.addr, tn.port)))
	a.logs(t, fmt.Sprintf(`msg="member left" node=c address=%s members=2`, netip.AddrPortFrom(c.addr, tn.port)))
	if writes := tn.spy.Writes(writer); len(writes) != 0 {
		t.Errorf("memberships wrote %v", writes)
	}
}
