package answer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
)

// Records reads what is shown of the cluster: as etcd has it or, while it does
// not answer, as the watch brought it last.
type Records struct {
	kv        store.KV
	directory *cluster.Directory

	Networks  *store.Table[store.Network]  // followed for every reader of the agent
	Endpoints *store.Table[store.Endpoint] // likewise
}

// NewRecords makes the records of a cluster whose nodes the directory follows.
func NewRecords(kv store.KV, directory *cluster.Directory, log *slog.Logger) *Records {
	unread := func(err error) {
		log.Error("a record of the store cannot be read: what it said before stands, but for its names in the DNS", "err", err)
	}
	r := &Records{
		kv: kv, directory: directory,
		Networks:  store.NewTable[store.Network](store.NetworksSpan(), unread),
		Endpoints: store.NewTable[store.Endpoint](store.EndpointsSpan(), unread),
	}
	r.Networks.Tell(directory.Follows)
	r.Endpoints.Tell(directory.Follows)
	return r
}

// Run follows networks and endpoints until ctx ends.
func (r *Records) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.Networks.Run(ctx, r.kv) })
	group.Go(func() error { return r.Endpoints.Run(ctx, r.kv) })
	return group.Wait()
}

// now is the cluster as etcd has it or, while etcd does not answer, as it had it
// last.
func (r *Records) now(ctx context.Context) (clusterView, error) {
	asking, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	v, err := readCluster(asking, r.kv, r.endpoints)
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
func (r *Records) last(nodes gossip.Known) (v clusterView, known bool) {
	networks, networksKnown := mirrored(r.Networks)
	endpoints, endpointsKnown := mirrored(r.Endpoints)
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
func (r *Records) endpointsNow(ctx context.Context) ([]store.Endpoint, error) {
	asking, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	all, err := r.endpoints(asking)
	if !errors.Is(err, store.ErrUnavailable) {
		return all, err
	}
	if last, known := mirrored(r.Endpoints); known {
		return last, nil
	}
	return nil, err
}

// etcdAnswer bounds how long a look at the nodes waits for etcd.
const etcdAnswer = 2 * time.Second

func (r *Records) endpointsByNode(ctx context.Context) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	has := map[string]int{}
	_, err := r.kv.Scan(ctx, store.EndpointsSpan(), store.KeysOnly, func(items []store.Item) error {
		for _, it := range items {
			has[store.EndpointNode(it.Key)]++
		}
		return nil
	})
	return has, err
}

// fewBehind is how many records are read one by one that this host has not heard
// of yet.
const fewBehind = 100

// endpoints is every endpoint as etcd has it. Which those are is asked of etcd,
// what they say is known here but for the latest: there may be very many.
func (r *Records) endpoints(ctx context.Context) (all []store.Endpoint, err error) {
	var behind []string // their keys
	_, err = r.kv.Scan(ctx, store.EndpointsSpan(), store.KeysOnly, func(items []store.Item) error {
		for _, it := range items {
			if row, found := r.Endpoints.Row(it.Key); found && row.Modified == it.Modified {
				all = append(all, row.Record)
			} else {
				behind = append(behind, it.Key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(behind) > fewBehind {
		return store.All[store.Endpoint](ctx, r.kv, store.EndpointsSpan())
	}
	for _, key := range behind {
		it, err := r.kv.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		e, err := store.Decode[store.Endpoint](it)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b store.Endpoint) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Endpoint, b.Endpoint))
	})
	return all, nil
}

// clusterView is what the views are made of, each span at its own revision:
// they are for people.
type clusterView struct {
	networks  []store.Network
	nodes     map[string]store.Node
	live      map[string]bool
	endpoints []store.Endpoint
	asOf      time.Time // zero: now

	called func(node string) string   // what people call a node; nil before sorted
	on     map[place][]store.Endpoint // by where they are; likewise
}

// place is a network on a node.
type place struct{ network, node string }

func readCluster(ctx context.Context, kv store.KV, endpoints func(context.Context) ([]store.Endpoint, error)) (v clusterView, err error) {
	if v.networks, err = store.All[store.Network](ctx, kv, store.NetworksSpan()); err != nil {
		return v, err
	}
	nodes, err := store.All[store.Node](ctx, kv, store.NodesSpan())
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
	v.endpoints, err = endpoints(ctx)
	return v, err
}

// mirrored is store.All of a table; known is false before its first list.
func mirrored[T any](table *store.Table[T]) (all []T, known bool) {
	known = table.Listed()
	rows, _ := table.Rows() // may lack what this host wrote just now
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		all = append(all, rows[key].Record)
	}
	return all, known
}
