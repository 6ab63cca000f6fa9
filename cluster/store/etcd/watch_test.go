package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
	"gvlan/cluster/store/storetest"
)

// deafening passes requests on to an etcd, and with them watches, of which it
// loses what the etcd says after the first answers of each, the connection
// living on.
type deafening struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	kv    pb.KVClient
	watch pb.WatchClient

	deaf  atomic.Bool  // streams that begin now lose all but that a watch stands
	mute  atomic.Bool  // and that too
	hung  atomic.Int64 // watches that hang
	asked atomic.Int64 // questions for progress that hang
}

// deafen makes a deafening in front of an etcd, and serves it.
func deafen(t *testing.T, server *embedded.Server) (d *deafening, endpoint string, stop func()) {
	t.Helper()
	far, err := grpc.NewClient(server.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := far.Close(); err != nil {
			t.Error(err)
		}
	})
	d = &deafening{kv: pb.NewKVClient(far), watch: pb.NewWatchClient(far)}
	path := filepath.Join(t.TempDir(), "deaf.sock")
	return d, "unix://" + path, d.serve(t, path)
}

// serve answers at a socket until stop is called or the test ends.
func (d *deafening) serve(t *testing.T, path string) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	near := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second})) // as etcd's
	pb.RegisterKVServer(near, d)
	pb.RegisterWatchServer(near, d)
	done := make(chan error, 1)
	go func() { done <- near.Serve(l) }()
	stop = sync.OnceFunc(func() {
		near.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// Range implements pb.KVServer.
func (d *deafening) Range(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	return d.kv.Range(ctx, req)
}

// Txn implements pb.KVServer.
func (d *deafening) Txn(ctx context.Context, req *pb.TxnRequest) (*pb.TxnResponse, error) {
	return d.kv.Txn(ctx, req)
}

// Watch implements pb.WatchServer.
func (d *deafening) Watch(near pb.Watch_WatchServer) error {
	far, err := d.watch.Watch(near.Context())
	if err != nil {
		return err
	}
	deaf := d.deaf.Load()
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() {
		for {
			req, err := near.Recv()
			if err != nil {
				return
			}
			if deaf && req.GetProgressRequest() != nil {
				d.asked.Add(1)
			}
			if far.Send(req) != nil {
				return
			}
		}
	})
	for {
		resp, err := far.Recv()
		if err != nil {
			return err
		}
		if deaf && (!resp.Created || d.mute.Load()) {
			continue
		}
		if deaf {
			d.hung.Add(1)
		}
		if err := near.Send(resp); err != nil {
			return err
		}
	}
}

// follow returns the names of each listing of a mirror that runs until the test
// ends.
func follow(t *testing.T, client *etcd.Client, span store.Span) <-chan []string {
	t.Helper()
	listings := make(chan []string, 64)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	t.Cleanup(func() { cancel(); wait.Wait() })
	wait.Go(func() {
		err := store.Follow(ctx, client, span, func(c store.Change) {
			if !c.Reset {
				return
			}
			var all []string
			for _, it := range c.Items {
				all = append(all, store.NameOf(it.Key))
			}
			listings <- all
		})
		if err != nil {
			t.Errorf("follow %s: %v", span.From, err)
		}
	})
	return listings
}

// A watch that hangs on a connection that lives is told by its silence when it
// is asked how far it is; its mirror lists anew and misses nothing.
func TestAWatchThatHangsEnds(t *testing.T) {
	t.Parallel()
	server := etcdtest.Serve(t, embedded.Config{})
	d, endpoint, _ := deafen(t, server)
	d.deaf.Store(true)
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{endpoint}})
	client.AskEvery(50 * time.Millisecond)

	names := follow(t, client, store.NetworksSpan())
	if first := <-names; len(first) != 0 || d.hung.Load() == 0 { // on a slow machine it was given up once already
		t.Fatalf("the mirror begins with %v, and %d watches hang", first, d.hung.Load())
	}
	if err := storetest.Put(t.Context(), client, store.NetworkKey("lan1")); err != nil {
		t.Fatal(err)
	}
	d.deaf.Store(false)
	again(t, names, "lan1")
	if asked := d.asked.Load(); asked < 2 {
		t.Errorf("the watch was given up after %d questions", asked)
	}
}

// again waits for a listing of one name; before it there may be others of none.
func again(t *testing.T, listings <-chan []string, name string) {
	t.Helper()
	for late := time.After(time.Minute); ; {
		select {
		case names := <-listings:
			if len(names) == 0 {
				continue
			}
			if !slices.Equal(names, []string{name}) {
				t.Errorf("the mirror lists %v anew, want %s", names, name)
			}
			return
		case <-late:
			t.Fatalf("the mirror of %s goes on with a watch that hangs", name)
		}
	}
}

// TestWatchesThatHangTogether: their mirrors list anew though another watch stays
// on what they hang on.
func TestWatchesThatHangTogether(t *testing.T) {
	t.Parallel()
	d, endpoint, _ := deafen(t, etcdtest.Serve(t, embedded.Config{}))
	d.deaf.Store(true)
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{endpoint}})
	client.AskEvery(50 * time.Millisecond)
	stays, stood := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	defer func() { close(stays); wait.Wait() }()
	wait.Go(func() {
		for range client.Watch(t.Context(), store.LiveSpan(), 0) {
			close(stood)
			<-stays // and so neither asks nor ends
			return
		}
	})
	<-stood
	networks, nodes := follow(t, client, store.NetworksSpan()), follow(t, client, store.NodesSpan())
	<-networks
	<-nodes
	for _, key := range []string{store.NetworkKey("lan1"), store.NodeKey("h1")} {
		if err := storetest.Put(t.Context(), client, key); err != nil {
			t.Fatal(err)
		}
	}
	d.mute.Store(true)
	d.deaf.Store(false)
	again(t, networks, "lan1")
	again(t, nodes, "h1")
}

// TestAWatchThatNeverStands is given up too.
func TestAWatchThatNeverStands(t *testing.T) {
	t.Parallel()
	d, endpoint, _ := deafen(t, etcdtest.Serve(t, embedded.Config{}))
	d.deaf.Store(true)
	d.mute.Store(true)
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{endpoint}})
	client.AskEvery(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for batch, err := range client.Watch(ctx, store.NetworksSpan(), 0) {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("the watch brings %+v and ends with %v, want ErrUnavailable", batch, err)
		}
	}
	if ctx.Err() != nil {
		t.Error("the watch is waited for without an end")
	}
}

// The error of a watch that hangs is one that waiting may cure.
func TestAWatchThatHangsIsUnavailable(t *testing.T) {
	t.Parallel()
	d, endpoint, _ := deafen(t, etcdtest.Serve(t, embedded.Config{}))
	d.deaf.Store(true)
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{endpoint}})
	client.AskEvery(50 * time.Millisecond)
	for batch, err := range client.Watch(t.Context(), store.NetworksSpan(), 0) {
		if err == nil && len(batch.Events) == 0 {
			continue // it stands
		}
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("the watch brings %+v and ends with %v, want ErrUnavailable", batch, err)
		}
	}
}

// A quiet watch that answers goes on, also when etcd could not be reached for
// longer than an answer may take.
func TestAQuietWatchGoesOn(t *testing.T) {
	t.Parallel()
	server := etcdtest.Serve(t, embedded.Config{})
	d, endpoint, stop := deafen(t, server)
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{endpoint}})
	client.AskEvery(time.Second) // three of which a busy machine does not take to answer
	answers, ended := make(chan store.Batch), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		var err error
		for batch, failed := range client.Watch(ctx, store.NetworksSpan(), 0) {
			if err = failed; err == nil {
				answers <- batch
			}
		}
		ended <- err
	}()
	answer := func() store.Batch {
		select {
		case batch := <-answers:
			return batch
		case err := <-ended:
			t.Fatalf("the watch ended: %v", err)
		}
		return store.Batch{}
	}
	for range 5 {
		answer()
	}
	stop()
	time.Sleep(5 * time.Second)
	// etcd 3.7.3 answers no watch that was taken up again until something happens.
	if err := storetest.Put(t.Context(), etcdtest.Connect(t, etcd.Config{Endpoints: []string{server.Endpoint()}}), "/elsewhere"); err != nil {
		t.Fatal(err)
	}
	d.serve(t, strings.TrimPrefix(endpoint, "unix://"))
	for range 5 {
		answer()
	}
	if err := storetest.Put(t.Context(), client, store.NetworkKey("lan1")); err != nil {
		t.Fatal(err)
	}
	for len(answer().Events) == 0 {
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// arrivals notes when each revision reached each mirror.
type arrivals struct {
	mu     sync.Mutex
	at     map[store.Revision][]time.Time
	lists  int
	change chan struct{} // holds one
}

func (a *arrivals) apply(c store.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.Reset {
		a.lists++
	}
	for _, ev := range c.Events {
		a.at[ev.At] = append(a.at[ev.At], time.Now())
	}
	select {
	case a.change <- struct{}{}:
	default:
	}
}

// await waits until something is so.
func (a *arrivals) await(so func() bool) {
	for {
		a.mu.Lock()
		done := so()
		a.mu.Unlock()
		if done {
			return
		}
		<-a.change
	}
}

// TestWatchIsFirst measures why nobody needs to be told of a write but by the
// watch: how soon it is at every mirror, and at which share of them before the
// writer has its answer.
func TestWatchIsFirst(t *testing.T) {
	const mirrors, writes = 20, 200
	server := etcdtest.Serve(t, embedded.Config{})
	connect := func() store.KV {
		return etcdtest.Connect(t, etcd.Config{Endpoints: []string{server.Endpoint()}})
	}
	a := &arrivals{at: map[store.Revision][]time.Time{}, change: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	defer func() { cancel(); wait.Wait() }()
	for range mirrors {
		kv := connect()
		wait.Go(func() {
			if err := store.Follow(ctx, kv, store.EndpointsSpan(), a.apply); err != nil {
				t.Errorf("follow: %v", err)
			}
		})
	}
	a.await(func() bool { return a.lists == mirrors })

	writer := connect()
	var all []float64
	first := 0
	for i := range writes {
		began := time.Now()
		res, err := writer.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.EndpointKey("a", fmt.Sprint(i)), []byte("{}"))}})
		if err != nil {
			t.Fatal(err)
		}
		answered := time.Now()
		a.await(func() bool { return len(a.at[res.Revision]) >= mirrors })
		for _, at := range a.at[res.Revision] {
			all = append(all, float64(at.Sub(began).Microseconds())/1000)
			if at.Before(answered) {
				first++
			}
		}
	}
	slices.Sort(all)
	fmt.Printf("BENCH watch_p50_ms %.2f\nBENCH watch_p99_ms %.2f\n", all[len(all)/2], all[len(all)*99/100])
	fmt.Printf("BENCH watch_before_answer_share %.3f\n", float64(first)/float64(len(all)))
}
