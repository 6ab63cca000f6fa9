package driver

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"gvlan/cluster/store"
)

// Stage is where a network of this host's engine stands towards the
// cluster.
type Stage string

const (
	// StageSeen: Docker made it here; its name is not committed yet.
	StageSeen Stage = "seen"
	// StageCommitted: made here, and the definition is this one's.
	StageCommitted Stage = "committed"
	// StageReplica: made by this agent from a definition, or found equal to
	// one.
	StageReplica Stage = "replica"
	// StageGone: Docker deleted it; what that means for the definition is
	// not settled yet.
	StageGone Stage = "gone"
	// StageConflict: another definition has its name; it works on this host
	// only.
	StageConflict Stage = "conflict"
	// StageOrphaned: its definition was removed while containers here still
	// refer to it.
	StageOrphaned Stage = "orphaned"
	// StageLocal: asked for as local; it never becomes a definition.
	StageLocal Stage = "local"
	// StageSwarm: the swarm replicates it.
	StageSwarm Stage = "swarm"
)

// hostNetwork is one network of this host's engine, as the journal keeps it.
type hostNetwork struct {
	ID       string       `json:"id"` // the engine's
	Stage    Stage        `json:"stage"`
	UUID     string       `json:"uuid"` // of its definition; minted when Docker made the network
	Name     string       `json:"name,omitempty"`
	Options  Options      `json:"options"`
	IPv4     bool         `json:"ipv4"`
	IPv6     bool         `json:"ipv6"`
	Internal bool         `json:"internal,omitempty"`
	Foreign  bool         `json:"foreign,omitempty"` // addresses come from another IPAM driver
	Segment  string       `json:"segment"`
	Pools    []store.Pool `json:"pools,omitempty"`
	Links    []string     `json:"links,omitempty"` // VLAN and dummy links it uses on this host, outermost tag first
	// Given are VLAN links, by the names this agent would give them, that
	// others had made when the network first used them: it never makes those.
	Given []string `json:"given,omitempty"`
	// Overrides are what the definition's `network set` changed, as last seen.
	Overrides store.Overrides `json:"overrides,omitzero"`
	// MACs are those that stopped containers, by id, asked for when they last ran
	// on it: no engine tells them of any network but a container's first.
	MACs     map[string]string `json:"macs,omitempty"`
	Why      string            `json:"why,omitempty"`      // of a conflict or an orphan, for people
	NameLost bool              `json:"nameLost,omitempty"` // to another definition, before any container ran on it
	Removing bool              `json:"removing,omitempty"` // this agent itself is deleting it
	Since    int64             `json:"since"`              // unix milliseconds
}

// isolated tells whether the network has no way out of its hosts' LAN port:
// no parent is used.
func (n hostNetwork) isolated() bool {
	return n.Internal || (n.Options.Parent == "" && n.Options.ParentFile == "")
}

// title is what messages call the network.
func (n hostNetwork) title() string {
	if n.Name != "" {
		return n.Name
	}
	return shortID(n.ID)
}

// hostEndpoint is one endpoint of this host, as the journal keeps it.
type hostEndpoint struct {
	ID        string          `json:"id"`
	Network   string          `json:"network"` // the engine's network id
	IPv4      netip.Prefix    `json:"ipv4,omitzero"`
	IPv6      netip.Prefix    `json:"ipv6,omitzero"`
	MAC       string          `json:"mac,omitempty"`
	Link      string          `json:"link,omitempty"`    // "" until joined
	Parent    string          `json:"parent,omitempty"`  // the link it hangs from
	Chosen    string          `json:"chosen,omitempty"`  // the candidates Parent was chosen from
	Sandbox   string          `json:"sandbox,omitempty"` // SandboxKey; "" while not joined
	MACAsked  bool            `json:"macAsked,omitempty"`
	IfName    string          `json:"ifname,omitempty"` // that the user gave; "": none
	Unheeded  []string        `json:"unheeded,omitempty"`
	Since     int64           `json:"since"` // unix milliseconds
	Container store.Container `json:"container"`
	// StopSignal ends the container, in Docker's words; "" is TERM. Stopping is
	// that it was sent.
	StopSignal string `json:"stop_signal,omitempty"`
	Stopping   bool   `json:"stopping,omitempty"`
}

// addresses are the endpoint's addresses without their subnets.
func (e hostEndpoint) addresses() []netip.Addr {
	var all []netip.Addr
	for _, p := range []netip.Prefix{e.IPv4, e.IPv6} {
		if p.IsValid() {
			all = append(all, p.Addr())
		}
	}
	return all
}

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
	networks  map[string]hostNetwork
	endpoints map[string]hostEndpoint

	networkBucket, endpointBucket bucket
}

// openRegistry reads the journal.
func openRegistry(networks, endpoints bucket) (*registry, error) {
	r := &registry{
		networks:       map[string]hostNetwork{},
		endpoints:      map[string]hostEndpoint{},
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

func (r *registry) network(id string) (hostNetwork, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.networks[id]
	return n, ok
}

func (r *registry) putNetwork(n hostNetwork) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return put(r.networkBucket, r.networks, n.ID, n)
}

// changeNetwork rewrites a network if it is (still) there.
func (r *registry) changeNetwork(id string, change func(*hostNetwork)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.networks[id]
	if !ok {
		return nil
	}
	change(&n)
	return put(r.networkBucket, r.networks, id, n)
}

func (r *registry) dropNetwork(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return drop(r.networkBucket, r.networks, id)
}

func (r *registry) allNetworks() []hostNetwork {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.networks), func(a, b hostNetwork) int { return strings.Compare(a.ID, b.ID) })
}

func (r *registry) endpoint(id string) (hostEndpoint, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.endpoints[id]
	return e, ok
}

func (r *registry) putEndpoint(e hostEndpoint) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return put(r.endpointBucket, r.endpoints, e.ID, e)
}

// changeEndpoint rewrites an endpoint if it is (still) there and tells
// whether it was.
func (r *registry) changeEndpoint(id string, change func(*hostEndpoint)) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.endpoints[id]
	if !ok {
		return false, nil
	}
	change(&e)
	return true, put(r.endpointBucket, r.endpoints, id, e)
}

func (r *registry) dropEndpoint(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return drop(r.endpointBucket, r.endpoints, id)
}

func (r *registry) allEndpoints() []hostEndpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.endpoints), func(a, b hostEndpoint) int { return strings.Compare(a.ID, b.ID) })
}

// endpointsOf lists the endpoints of one network.
func (r *registry) endpointsOf(network string) []hostEndpoint {
	return slices.DeleteFunc(r.allEndpoints(), func(e hostEndpoint) bool { return e.Network != network })
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

// shortID is how Docker shows an id.
func shortID(id string) string { return id[:min(12, len(id))] }
