package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
)

// relay passes reads on to an etcd, and meddles with its streams.
type relay struct {
	pb.UnimplementedKVServer
	kv pb.KVClient
	// meddle is asked before each part of a stream is passed on: which stream it
	// is, from 1, and which part of that, from 0.
	meddle func(stream, part int, resp *pb.RangeStreamResponse, near pb.KV_RangeStreamServer) error

	mu      sync.Mutex
	streams int
	froms   []string // where each began
	pages   int
}

// Range implements pb.KVServer.
func (r *relay) Range(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	r.mu.Lock()
	r.pages++
	r.mu.Unlock()
	return r.kv.Range(ctx, req)
}

// RangeStream implements pb.KVServer.
func (r *relay) RangeStream(req *pb.RangeRequest, near pb.KV_RangeStreamServer) error {
	r.mu.Lock()
	r.streams++
	stream := r.streams
	r.froms = append(r.froms, string(req.Key))
	r.mu.Unlock()
	far, err := r.kv.RangeStream(near.Context(), req)
	if err != nil {
		return err
	}
	for part := 0; ; part++ {
		resp, err := far.Recv()
		if err != nil {
			return nil //nolint:nilerr // the last part is the end
		}
		if err := r.meddle(stream, part, resp, near); err != nil {
			return err
		}
		if err := near.Send(resp); err != nil {
			return err
		}
	}
}

// relayed serves a relay in front of an etcd until the test ends, and gives a
// client of it.
func relayed(t *testing.T, server *embedded.Server, prefix string, r *relay, attempt time.Duration) *etcd.Client {
	t.Helper()
	far, err := grpc.NewClient(server.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	r.kv = pb.NewKVClient(far)
	path := filepath.Join(t.TempDir(), "relay.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	near := grpc.NewServer()
	pb.RegisterKVServer(near, r)
	done := make(chan error, 1)
	go func() { done <- near.Serve(l) }()
	t.Cleanup(func() {
		near.Stop()
		if err := errors.Join(<-done, far.Close()); err != nil {
			t.Error(err)
		}
	})
	return etcdtest.Connect(t, etcd.Config{Endpoints: []string{"unix://" + path}, Prefix: prefix, Attempt: attempt})
}

// A scan is whole and once, whatever becomes of its streams.
func TestAScanWhoseStreamBreaks(t *testing.T) {
	t.Parallel()
	server := etcdtest.Serve(t, embedded.Config{})
	const prefix, n = "/scan", 30_000
	direct := etcdtest.Connect(t, etcd.Config{Endpoints: []string{server.Endpoint()}, Prefix: prefix})
	for at := 0; at < n; {
		var ops []store.Op
		for ; at < n && len(ops) < 120; at++ {
			ops = append(ops, store.Put(fmt.Sprintf("/m/%06d", at), []byte("x")))
		}
		if _, err := direct.Commit(t.Context(), store.Txn{Then: ops}); err != nil {
			t.Fatal(err)
		}
	}
	want, rev, err := direct.List(t.Context(), store.Prefix("/m/"))
	if err != nil || len(want) != n {
		t.Fatalf("%d items, %v", len(want), err)
	}
	gone := status.Error(codes.Unavailable, "going")
	for _, c := range []struct {
		name    string
		attempt time.Duration
		meddle  func(stream, part int, resp *pb.RangeStreamResponse, near pb.KV_RangeStreamServer) error
		streams int   // that are begun
		pages   int   // that are asked for
		want    error // nil: it is whole
	}{
		{name: "one stream", streams: 1, pages: 1},
		{name: "etcd has none", streams: 1, pages: 4, meddle: func(int, int, *pb.RangeStreamResponse, pb.KV_RangeStreamServer) error {
			return status.Error(codes.Unimplemented, "unknown method RangeStream")
		}},
		{name: "the member goes away after each second part", streams: 3, pages: 1, meddle: func(stream, part int, _ *pb.RangeStreamResponse, _ pb.KV_RangeStreamServer) error {
			if stream < 3 && part == 2 {
				return gone
			}
			return nil
		}},
		{name: "it ends without its last part", streams: 2, pages: 1, meddle: func(stream, _ int, resp *pb.RangeStreamResponse, _ pb.KV_RangeStreamServer) error {
			if stream == 1 && resp.RangeResponse.Header != nil {
				resp.RangeResponse.Header = nil
			}
			return nil
		}},
		{name: "it falls silent", attempt: time.Second, streams: 2, pages: 1, meddle: func(stream, part int, _ *pb.RangeStreamResponse, near pb.KV_RangeStreamServer) error {
			if stream == 1 && part == 1 {
				<-near.Context().Done()
			}
			return nil
		}},
		{name: "nobody answers any more", streams: 2, pages: 1, want: store.ErrUnavailable, meddle: func(int, int, *pb.RangeStreamResponse, pb.KV_RangeStreamServer) error {
			return gone
		}},
		{name: "another store goes on", streams: 1, pages: 1, want: store.ErrCompacted, meddle: func(_, _ int, resp *pb.RangeStreamResponse, _ pb.KV_RangeStreamServer) error {
			if end := resp.RangeResponse.Header; end != nil {
				end.ClusterId++
			}
			return nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &relay{meddle: c.meddle}
			if c.meddle == nil {
				r.meddle = func(int, int, *pb.RangeStreamResponse, pb.KV_RangeStreamServer) error { return nil }
			}
			kv := relayed(t, server, prefix, r, c.attempt)
			var got []store.Item
			at, err := kv.Scan(t.Context(), store.Prefix("/m/"), store.Whole, func(items []store.Item) error {
				got = append(got, items...)
				return nil
			})
			if !errors.Is(err, c.want) {
				t.Fatalf("Scan: %v, want %v", err, c.want)
			}
			if c.want == nil {
				if diff := cmp.Diff(want, got); diff != "" || at != rev {
					t.Fatalf("at revision %d, want %d (-List +Scan):\n%s", at, rev, diff)
				}
			}
			if r.streams != c.streams || r.pages != c.pages || !slices.IsSorted(r.froms) {
				t.Errorf("%d streams from %q and %d pages, want %d and %d", r.streams, r.froms, r.pages, c.streams, c.pages)
			}
		})
	}
}
