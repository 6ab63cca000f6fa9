package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
)

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

// clusterNow is the cluster as etcd has it or, while etcd does not answer,
// as it had it last.
func (p *parts) clusterNow(ctx context.Context) (clusterView, error) {
	asking, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	v, err := readCluster(asking, p.session)
	if !errors.Is(err, store.ErrUnavailable) {
		return v, err
	}
	last, known, lastErr := p.names.clusterLast(p.gossip.directory.Known())
	if lastErr != nil || !known {
		return v, errors.Join(err, lastErr)
	}
	return last, nil
}

// clusterLast is the cluster as etcd told of it last; known is false before
// it ever did.
func (n *names) clusterLast(nodes gossip.Known) (v clusterView, known bool, err error) {
	v = clusterView{nodes: map[string]store.Node{}, live: map[string]bool{}, asOf: nodes.Heard}
	if v.networks, known, err = mirrored[store.Network](&n.definitions); err != nil || !known {
		return v, false, err
	}
	if v.endpoints, known, err = mirrored[store.Endpoint](&n.endpoints); err != nil || !known {
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
func (p *parts) endpointsNow(ctx context.Context) ([]store.Endpoint, error) {
	asking, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	all, err := listAll[store.Endpoint](asking, p.session, store.EndpointsSpan())
	if !errors.Is(err, store.ErrUnavailable) {
		return all, err
	}
	last, known, lastErr := mirrored[store.Endpoint](&p.names.endpoints)
	if lastErr != nil || !known {
		return nil, errors.Join(err, lastErr)
	}
	return last, nil
}
