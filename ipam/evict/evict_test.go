package evict_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/events"
	"gvlan/cluster/events/eventstest"
	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/evict"
)

// now is the time of every eviction here.
func now() time.Time { return time.Unix(5000, 0) }

func quick(mem *storetest.Mem) evict.Options {
	return evict.Options{Grant: mem.Grant, Events: &eventstest.Heard{}, Wait: time.Nanosecond, Now: now}
}

func put(t *testing.T, kv store.KV, ops ...store.Op) {
	t.Helper()
	if _, err := kv.Commit(context.Background(), store.Txn{Then: ops}); err != nil {
		t.Fatal(err)
	}
}

func leaseKey(addr string) string {
	return store.LeaseKey("default", netip.MustParseAddr(addr))
}

// dump returns what the store holds, by key.
func dump(t *testing.T, kv store.KV) map[string]string {
	t.Helper()
	items, _, err := kv.List(context.Background(), store.Prefix("/"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, it := range items {
		all[it.Key] = string(it.Value)
	}
	return all
}

// deadNode fills a store with all a node can leave behind, and with what is
// not its own.
func deadNode(t *testing.T, kv store.KV) {
	leased := func(node string, c *store.Claims) store.Lease {
		return store.Lease{State: store.Leased, Kind: store.Dynamic, Node: node, Epoch: 4, Nonce: "n", Network: "net", Endpoint: "e", Since: 1, Claims: c}
	}
	put(t, kv,
		store.Put(store.EpochKey("dead"), store.Encode(store.Epoch{Epoch: 4, Install: "i", Boot: "b"})),
		store.Put(store.NodeKey("dead"), store.Encode(store.Node{Node: "dead"})),
		store.Put(store.RefsKey("dead"), store.Encode(store.Refs{})),
		store.Put(store.EndpointKey("dead", "e"), store.Encode(store.Endpoint{Endpoint: "e"})),
		store.Put(store.EndpointKey("other", "e"), store.Encode(store.Endpoint{Endpoint: "e"})),
		store.Put(leaseKey("192.0.2.1"), store.Encode(leased("dead", nil))),
		store.Put(leaseKey("192.0.2.2"), store.Encode(leased("other", nil))),
		store.Put(leaseKey("192.0.2.3"), store.Encode(leased("dead", &store.Claims{Worker: true}))),
		store.Put(leaseKey("192.0.2.4"), store.Encode(leased("dead", &store.Claims{Manager: true, Worker: true}))),
		store.Put(leaseKey("192.0.2.5"), store.Encode(leased("dead", &store.Claims{Manager: true}))),
		store.Put(leaseKey("192.0.2.6"), store.Encode(store.Lease{State: store.Reserved, By: []string{"pool:1@dead"}})),
		store.Put(leaseKey("192.0.2.7"), store.Encode(store.Lease{State: store.Reserved, By: []string{"pool:1@dead", "uuid", "pool:2@other"}})),
		store.Put(leaseKey("192.0.2.8"), store.Encode(store.Lease{State: store.Quarantined, Node: "dead", Since: 2})),
		store.Put(store.DefaultPoolKey(netip.MustParsePrefix("172.20.0.0/16")), store.Encode(store.DefaultPool{Node: "dead", Nonce: "1"})),
		store.Put(store.DefaultPoolKey(netip.MustParsePrefix("172.21.0.0/16")), store.Encode(store.DefaultPool{Node: "dead", By: []string{"uuid"}})),
	)
}

func TestEvictTakesWhatIsTheNodes(t *testing.T) {
	mem := storetest.NewMem()
	deadNode(t, mem)
	want := dump(t, mem)

	told, opts := &eventstest.Heard{}, quick(mem)
	opts.Events = told
	took, err := evict.Node(t.Context(), mem, "dead", opts)
	if all := told.Of(); len(all) != 1 || all[0].Kind != events.Evicted || all[0].Node != "dead" {
		t.Errorf("told %+v, want that it was evicted", all)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(evict.Taken{Leases: 2, Claims: 1, Reservations: 2, Pools: 1, Endpoints: 1}, took); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	rests := store.Lease{State: store.Quarantined, Kind: store.Dynamic, Node: "dead", Epoch: 4, Nonce: "n", Network: "net", Endpoint: "e", Since: 5000}
	quarantine := store.Quarantine{Node: "dead", Host: "dead", Since: 5000}
	for key, record := range map[string]any{
		store.QuarantineKey("dead"): quarantine,
		store.RestKey("dead"):       quarantine,
		store.EpochKey("dead"):      store.Epoch{Epoch: 5, Install: "i", Boot: "b", Evicted: true},
		leaseKey("192.0.2.1"):       rests,
		leaseKey("192.0.2.3"):       rests,
		leaseKey("192.0.2.4"):       store.Lease{State: store.Leased, Kind: store.Dynamic, Nonce: "n", Network: "net", Since: 1, Claims: &store.Claims{Manager: true}},
		leaseKey("192.0.2.7"):       store.Lease{State: store.Reserved, By: []string{"uuid", "pool:2@other"}},
	} {
		want[key] = string(store.Encode(record))
	}
	for _, key := range []string{
		store.NodeKey("dead"), store.RefsKey("dead"), store.EndpointKey("dead", "e"), leaseKey("192.0.2.6"),
		store.DefaultPoolKey(netip.MustParsePrefix("172.20.0.0/16")),
	} {
		delete(want, key)
	}
	if diff := cmp.Diff(want, dump(t, mem)); diff != "" {
		t.Errorf("store afterwards (-want +got):\n%s", diff)
	}
}

func TestEvictManyInBatches(t *testing.T) {
	mem := storetest.NewMem()
	put(t, mem, store.Put(store.EpochKey("dead"), store.Encode(store.Epoch{Epoch: 1})))
	const leases = 150
	addr := netip.MustParseAddr("192.0.2.0")
	for range leases {
		put(t, mem, store.Put(store.LeaseKey("default", addr), store.Encode(store.Lease{State: store.Leased, Node: "dead"})))
		addr = addr.Next()
	}
	took, err := evict.Node(t.Context(), mem, "dead", quick(mem))
	if err != nil || took.Leases != leases {
		t.Errorf("took %d leases (%v), want %d", took.Leases, err, leases)
	}
}

func TestEvictRefuses(t *testing.T) {
	tests := []struct {
		name  string
		node  string
		force bool
		want  error
	}{
		{"a node nobody knows", "nobody", false, store.ErrNotFound},
		{"a connected node", "live", false, evict.ErrConnected},
		{"a connected node, unless forced", "live", true, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mem := storetest.NewMem()
			put(t, mem,
				store.Put(store.EpochKey("live"), store.Encode(store.Epoch{Epoch: 1})),
				store.Put(store.LiveKey("live"), store.Encode(store.Live{})))
			opts := quick(mem)
			opts.Force = test.force
			before := dump(t, mem)
			_, err := evict.Node(t.Context(), mem, test.node, opts)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if diff := cmp.Diff(before, dump(t, mem)); err != nil && diff != "" {
				t.Errorf("a refused eviction changed the store (-before +after):\n%s", diff)
			}
		})
	}
}

// TestEvictAsksTheLAN: containers that answer keep their addresses, unless
// forced, and are named; what nobody could ask for is counted.
func TestEvictAsksTheLAN(t *testing.T) {
	web := store.Endpoint{Endpoint: "e1", Node: "dead", IPv4: "192.0.2.7/24", Container: store.Container{Name: "web"}}
	bare := store.Endpoint{Endpoint: "e2", Node: "dead", IPv6: "2001:db8::7/64"}
	const refused = "evict node alpha: addresses of its containers still answer on the LAN: "
	tests := []struct {
		name      string
		answering []store.Endpoint
		failed    error
		force     bool
		evicted   bool // by an eviction that ended early
		asked     bool
		want      string
	}{
		{name: "silence", asked: true},
		{name: "one answers", answering: []store.Endpoint{web}, asked: true, want: refused + "web (192.0.2.7): stop these containers first, or evict it with --force"},
		{name: "two answer", answering: []store.Endpoint{web, bare}, asked: true, want: refused + "web (192.0.2.7), e2 (2001:db8::7): stop these containers first, or evict it with --force"},
		{name: "nobody can ask", failed: errors.New("no socket"), asked: true, want: "evict node alpha: ask the LAN for its addresses: no socket"},
		{name: "one answers, forced", answering: []store.Endpoint{web}, force: true},
		{name: "one answers, half evicted", answering: []store.Endpoint{web}, evicted: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mem := storetest.NewMem()
			put(t, mem,
				store.Put(store.EpochKey("dead"), store.Encode(store.Epoch{Epoch: 1, Evicted: test.evicted})),
				store.Put(store.EndpointKey("dead", "e1"), store.Encode(web)),
				store.Put(store.EndpointKey("dead", "e2"), store.Encode(bare)),
				store.Put(store.EndpointKey("other", "e3"), store.Encode(web)))
			before := dump(t, mem)
			var asked []store.Endpoint
			opts := quick(mem)
			opts.Called, opts.Force = "alpha", test.force
			opts.Ask = func(_ context.Context, e []store.Endpoint) (answering, unasked []store.Endpoint, err error) {
				asked = e
				return test.answering, []store.Endpoint{bare}, test.failed
			}
			took, err := evict.Node(t.Context(), mem, "dead", opts)
			said := ""
			if err != nil {
				said = err.Error()
			}
			if diff := cmp.Diff(test.want, said); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, dump(t, mem)); (diff != "") != (test.want == "") {
				t.Errorf("the store changed (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff([]store.Endpoint{web, bare}, asked); (diff == "") != test.asked {
				t.Errorf("asked for (-want +got), want it so %v:\n%s", test.asked, diff)
			}
			if unasked := took.Unasked == 1; unasked != (test.asked && test.failed == nil) {
				t.Errorf("counts %d endpoints as not asked for", took.Unasked)
			}
		})
	}
}

// returning is a store in which the node's agent starts again as soon as an
// eviction has fenced it.
type returning struct {
	*storetest.Mem
	node string
	back bool
}

func (r *returning) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	res, err := r.Mem.Commit(ctx, txn)
	if err == nil && !r.back {
		r.back = true
		_, err = r.Mem.Commit(ctx, store.Txn{Then: []store.Op{
			store.Put(store.EpochKey(r.node), store.Encode(store.Epoch{Epoch: 6})),
		}})
	}
	return res, err
}

func TestEvictStopsWhenTheNodeReturns(t *testing.T) {
	tests := []struct {
		name string
		fill func(t *testing.T, kv store.KV)
	}{
		{"with all it had", deadNode},
		{"with nothing", func(t *testing.T, kv store.KV) {
			put(t, kv,
				store.Put(store.EpochKey("dead"), store.Encode(store.Epoch{Epoch: 4})),
				store.Put(store.NodeKey("dead"), store.Encode(store.Node{Node: "dead"})))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mem := storetest.NewMem()
			test.fill(t, mem)
			want := dump(t, mem)
			want[store.EpochKey("dead")] = string(store.Encode(store.Epoch{Epoch: 6}))
			took, err := evict.Node(t.Context(), &returning{Mem: mem, node: "dead"}, "dead", quick(mem))
			if !errors.Is(err, evict.ErrReturned) {
				t.Errorf("got %v, want %v", err, evict.ErrReturned)
			}
			if took != (evict.Taken{}) {
				t.Errorf("took %+v of a node that came back", took)
			}
			if diff := cmp.Diff(want, dump(t, mem)); diff != "" {
				t.Errorf("store afterwards (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEvictJudgesAnewWhatChangedMeanwhile(t *testing.T) {
	mem := storetest.NewMem()
	leased := store.Lease{State: store.Leased, Node: "dead", Nonce: "n", Claims: &store.Claims{Worker: true}}
	claimed := leased
	claimed.Claims = &store.Claims{Worker: true, Manager: true, Unknown: `{"later":1}`}
	put(t, mem,
		store.Put(store.EpochKey("dead"), store.Encode(store.Epoch{Epoch: 4})),
		store.Put(leaseKey("192.0.2.1"), store.Encode(leased)))
	// The swarm claims the address between the list and the commit: the
	// third, after the fence and the begin of the quarantine.
	kv := &storetest.Racing{Mem: mem, Spare: 2, Op: store.Put(leaseKey("192.0.2.1"), store.Encode(claimed))}
	took, err := evict.Node(t.Context(), kv, "dead", quick(mem))
	if err != nil || took != (evict.Taken{Claims: 1}) {
		t.Errorf("took %+v, %v", took, err)
	}
	want := string(store.Encode(store.Lease{State: store.Leased, Nonce: "n", Claims: &store.Claims{Manager: true, Unknown: `{"later":1}`}}))
	if diff := cmp.Diff(want, dump(t, mem)[leaseKey("192.0.2.1")]); diff != "" {
		t.Errorf("lease (-want +got):\n%s", diff)
	}
}

func TestEvictIsFinishedByAnother(t *testing.T) {
	for _, lost := range []string{"request", "reply"} {
		t.Run(lost, func(t *testing.T) {
			mem := storetest.NewMem()
			deadNode(t, mem)
			want := storetest.NewMem()
			deadNode(t, want)
			if _, err := evict.Node(t.Context(), want, "dead", quick(want)); err != nil {
				t.Fatal(err)
			}
			if lost == "request" {
				mem.DropRequests(1)
			} else {
				mem.DropReplies(1)
			}
			for i := 0; ; i++ {
				_, err := evict.Node(t.Context(), mem, "dead", quick(mem))
				if err == nil {
					break
				}
				if !errors.Is(err, store.ErrUnavailable) || i > 10 {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(dump(t, want), dump(t, mem)); diff != "" {
				t.Errorf("store afterwards (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEvictFencesARunningNode(t *testing.T) {
	mem := storetest.NewMem()
	s := session.New(mem, session.Identity{Node: "zombie", Install: "i", Boot: "b"}, &storetest.Past{}, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	<-s.Opened()
	take := func(addr string) error {
		_, err := s.Commit(t.Context(), store.Txn{Then: []store.Op{
			store.Put(leaseKey(addr), store.Encode(store.Lease{State: store.Leased, Node: "zombie"}))}})
		return err
	}
	if err := take("192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	opts := quick(mem)
	opts.Force = true
	took, err := evict.Node(t.Context(), mem, "zombie", opts)
	if err != nil || took.Leases != 1 {
		t.Errorf("took %+v: %v", took, err)
	}
	if err := take("192.0.2.2"); !errors.Is(err, store.ErrFenced) {
		t.Errorf("the evicted node writes on: %v", err)
	}
	if err := <-ended; !errors.Is(err, store.ErrFenced) {
		t.Errorf("its session ended with %v, want %v", err, store.ErrFenced)
	}
}
