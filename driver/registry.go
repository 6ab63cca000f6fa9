package driver

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"gvlan/driver/journal"
)

// bucket is what the registry needs of the journal.
type bucket interface {
	Put(key string, value []byte) error
	Delete(key string) error
	Each(func(key string, value []byte) error) error
}

// registry is every network and endpoint this host's engine has, in memory
// and in the journal. A write is on disk before it is seen.
type registry struct {
	mu        sync.Mutex // guards the maps and the order of journal writes
	networks  map[string]journal.Network
	endpoints map[string]journal.Endpoint

	networkBucket, endpointBucket bucket
}

// openRegistry reads the journal.
func openRegistry(networks, endpoints bucket) (*registry, error) {
	r := &registry{
		networks:       map[string]journal.Network{},
		endpoints:      map[string]journal.Endpoint{},
		networkBucket:  networks,
		endpointBucket: endpoints,
	}
	if err := load(networks, r.networks); err != nil {
		return nil, err
	}
	if err := load(endpoints, r.endpoints); err != nil {
		return nil, err
	}
	return r, nil
}

func load[T any](b bucket, to map[string]T) error {
	return b.Each(func(key string, raw []byte) error {
		var record T
		if err := json.Unmarshal(raw, &record); err != nil {
			return fmt.Errorf("read journal record %s: %w", key, err)
		}
		to[key] = record
		return nil
	})
}

func (r *registry) Network(id string) (journal.Network, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.networks[id]
	return n, ok
}

func (r *registry) PutNetwork(n journal.Network) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return put(r.networkBucket, r.networks, n.ID, n)
}

// ChangeNetwork rewrites a network if it is (still) there.
func (r *registry) ChangeNetwork(id string, change func(*journal.Network)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.networks[id]
	if !ok {
		return nil
	}
	change(&n)
	return put(r.networkBucket, r.networks, id, n)
}

func (r *registry) DropNetwork(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return drop(r.networkBucket, r.networks, id)
}

func (r *registry) Networks() []journal.Network {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.networks), func(a, b journal.Network) int { return strings.Compare(a.ID, b.ID) })
}

func (r *registry) Endpoint(id string) (journal.Endpoint, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.endpoints[id]
	return e, ok
}

func (r *registry) PutEndpoint(e journal.Endpoint) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return put(r.endpointBucket, r.endpoints, e.ID, e)
}

// ChangeEndpoint rewrites an endpoint if it is (still) there and tells
// whether it was.
func (r *registry) ChangeEndpoint(id string, change func(*journal.Endpoint)) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.endpoints[id]
	if !ok {
		return false, nil
	}
	change(&e)
	return true, put(r.endpointBucket, r.endpoints, id, e)
}

func (r *registry) DropEndpoint(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return drop(r.endpointBucket, r.endpoints, id)
}

func (r *registry) Endpoints() []journal.Endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.endpoints), func(a, b journal.Endpoint) int { return strings.Compare(a.ID, b.ID) })
}

// EndpointsOf lists the endpoints of one network.
func (r *registry) EndpointsOf(network string) []journal.Endpoint {
	return slices.DeleteFunc(r.Endpoints(), func(e journal.Endpoint) bool { return e.Network != network })
}

func put[T any](b bucket, in map[string]T, id string, record T) error {
	raw, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("journal %s: %w", id, err)
	}
	if err := b.Put(id, raw); err != nil {
		return err
	}
	in[id] = record
	return nil
}

func drop[T any](b bucket, in map[string]T, id string) error {
	if _, ok := in[id]; !ok {
		return nil
	}
	if err := b.Delete(id); err != nil {
		return err
	}
	delete(in, id)
	return nil
}
