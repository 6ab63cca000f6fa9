package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
)

// records reads what is shown of the cluster: as etcd has it or, while it does
// not answer, as the watch brought it last.
type records struct {
	kv        store.KV
	directory *cluster.Directory

	definitions, endpoints mirror
}

// now is the cluster as etcd has it or, while etcd does not answer,
// as it had it last.
func (r *records) now(ctx context.Context) (clusterView, error) {
	asking, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	v, err := readCluster(asking, r.kv)
	if !errors.Is(err, store.ErrUnavailable) {
		return v, err
	}
	last, known, lastErr := r.last(r.directory.Known())
	if lastErr != nil || !known {
		return v, errors.Join(err, lastErr)
	}
	return last, nil
}

// last is the cluster as etcd told of it last; known is false before
// it ever did.
func (r *records) last(nodes gossip.Known) (v clusterView, known bool, err error) {
	v = clusterView{nodes: map[string]store.Node{}, live: map[string]bool{}, asOf: nodes.Heard}
	if v.networks, known, err = mirrored[store.Network](&r.definitions); err != nil || !known {
		return v, false, err
	}
	if v.endpoints, known, err = mirrored[store.Endpoint](&r.endpoints); err != nil || !known {
		return v, false, err
	}
	for name, node := range nodes.Nodes {
		if node.Registered {
			v.nodes[name] = node.Description
		}
		v.live[name] = node.Live != nil
	}
	return v, !nodes.Heard.IsZero(), nil
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
	last, known, lastErr := mirrored[store.Endpoint](&r.endpoints)
	if lastErr != nil || !known {
		return nil, errors.Join(err, lastErr)
	}
	return last, nil
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

// mirror keeps a span of the store as the watch brings it: what is shown
// while etcd does not answer.
type mirror struct {
	mu     sync.Mutex
	items  map[string]store.Item // by key
	listed bool
}

// apply takes over what store.Follow reports.
func (m *mirror) apply(c store.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Reset || m.items == nil {
		m.items = map[string]store.Item{}
	}
	m.listed = m.listed || c.Reset
	for _, it := range c.Items {
		m.items[it.Key] = it
	}
	for _, ev := range c.Events {
		if ev.Deleted {
			delete(m.items, ev.Item.Key)
			continue
		}
		m.items[ev.Item.Key] = ev.Item
	}
}

// mirrored is listAll of a mirror; known is false before its first list.
func mirrored[T any](m *mirror) (all []T, known bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(m.items)) {
		record, err := store.Decode[T](m.items[key])
		if err != nil {
			return nil, false, err
		}
		all = append(all, record)
	}
	return all, m.listed, nil
}
