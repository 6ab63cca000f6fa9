package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
)

// records reads what is shown of the cluster: as etcd has it or, while it does
// not answer, as the watch brought it last.
type records struct {
	kv        store.KV
	directory *cluster.Directory

	networks  *store.Table[store.Network]
	endpoints *store.Table[store.Endpoint]
}

func newRecords(kv store.KV, directory *cluster.Directory, log *slog.Logger) *records {
	unread := func(err error) {
		log.Error("a record of the store cannot be read: what it said before stands, but for its names in the DNS", "err", err)
	}
	r := &records{
		kv: kv, directory: directory,
		networks:  store.NewTable[store.Network](store.NetworksSpan(), unread),
		endpoints: store.NewTable[store.Endpoint](store.EndpointsSpan(), unread),
	}
	r.networks.Tell(directory.Follows)
	r.endpoints.Tell(directory.Follows)
	return r
}

// run follows networks and endpoints until ctx ends.
func (r *records) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.networks.Run(ctx, r.kv) })
	group.Go(func() error { return r.endpoints.Run(ctx, r.kv) })
	return group.Wait()
}

// now is the cluster as etcd has it or, while etcd does not answer, as it had it
// last.
func (r *records) now(ctx context.Context) (clusterView, error) {
	asking, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	v, err := readCluster(asking, r.kv)
	if !errors.Is(err, store.ErrUnavailable) {
		return v, err
	}
	if last, known := r.last(r.directory.Known()); known {
		return last, nil
	}
	return v, err
}

// last is the cluster as etcd described it last; known is false before it ever
// did.
func (r *records) last(nodes gossip.Known) (v clusterView, known bool) {
	networks, networksKnown := mirrored(r.networks)
	endpoints, endpointsKnown := mirrored(r.endpoints)
	v = clusterView{networks: networks, endpoints: endpoints, nodes: map[string]store.Node{}, live: map[string]bool{}, asOf: nodes.Heard}
	for name, node := range nodes.Nodes {
		if node.Registered {
			v.nodes[name] = node.Description
		}
		v.live[name] = node.Live != nil
	}
	return v, networksKnown && endpointsKnown && !nodes.Heard.IsZero()
}

// endpointsNow is every endpoint as etcd has it or, while etcd does not
// answer, as it had it last.
func (r *records) endpointsNow(ctx context.Context) ([]store.Endpoint, error) {
	asking, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	all, err := listAll[store.Endpoint](asking, r.kv, store.EndpointsSpan())
	if !errors.Is(err, store.ErrUnavailable) {
		return all, err
	}
	if last, known := mirrored(r.endpoints); known {
		return last, nil
	}
	return nil, err
}

// etcdAnswer bounds how long a look at the nodes waits for etcd.
const etcdAnswer = 2 * time.Second

func (r *records) endpointsByNode(ctx context.Context) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	endpoints, err := listAll[store.Endpoint](ctx, r.kv, store.EndpointsSpan())
	has := map[string]int{}
	for _, e := range endpoints {
		has[e.Node]++
	}
	return has, err
}

// clusterView is what the views are made of, each span at its own revision:
// they are for people.
type clusterView struct {
	networks  []store.Network
	nodes     map[string]store.Node
	live      map[string]bool
	endpoints []store.Endpoint
	asOf      time.Time // zero: now
}

func readCluster(ctx context.Context, kv store.KV) (v clusterView, err error) {
	if v.networks, err = listAll[store.Network](ctx, kv, store.NetworksSpan()); err != nil {
		return v, err
	}
	nodes, err := listAll[store.Node](ctx, kv, store.NodesSpan())
	if err != nil {
		return v, err
	}
	v.nodes = map[string]store.Node{}
	for _, n := range nodes {
		v.nodes[n.Node] = n
	}
	live, _, err := kv.List(ctx, store.LiveSpan())
	if err != nil {
		return v, fmt.Errorf("list the connected nodes: %w", err)
	}
	v.live = map[string]bool{}
	for _, it := range live {
		v.live[store.NameOf(it.Key)] = true
	}
	v.endpoints, err = listAll[store.Endpoint](ctx, kv, store.EndpointsSpan())
	return v, err
}

func listAll[T any](ctx context.Context, kv store.KV, span store.Span) ([]T, error) {
	items, _, err := kv.List(ctx, span)
	if err != nil {
		return nil, err
	}
	var all []T
	for _, it := range items {
		record, err := store.Decode[T](it)
		if err != nil {
			return nil, err
		}
		all = append(all, record)
	}
	return all, nil
}

// mirrored is listAll of a table; known is false before its first list.
func mirrored[T any](table *store.Table[T]) (all []T, known bool) {
	known = table.Listed()
	rows, _ := table.Rows() // may lack what this host wrote just now
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		all = append(all, rows[key].Record)
	}
	return all, known
}
