package cluster

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"gvlan/tests/chaos/history"
)

// Swarm plays the managers of a swarm: its one network, whose addresses the
// leader claims for tasks, and the tasks. Every host is a manager and a worker.
type Swarm struct {
	Subnet string

	mu      sync.Mutex
	leader  *Host
	pool    string // PoolID of the leader
	gateway string
	tasks   map[netip.Addr]string // task ids
}

// overlayID and overlayName are the network's.
const (
	overlayID   = "chaosoverlaynetwork000000"
	overlayName = "over"
	globalSpace = "gvlan-global"
)

// Lead makes a host the leader, which claims anew what the tasks have.
func (s *Swarm) Lead(ctx context.Context, h *Host) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, subnet, err := h.plugin.OpenPool(ctx, globalSpace, s.Subnet)
	if err != nil {
		return err
	}
	serial := map[string]string{"com.docker.network.ipam.serial": "true"}
	options := map[string]string{"RequestAddressType": "com.docker.network.gateway", "com.docker.network.ipam.serial": "true"}
	gateway, err := h.plugin.RequestAddress(ctx, id, hostOf(s.gateway), options)
	if err != nil {
		return err
	}
	err = h.plugin.call(ctx, "NetworkDriver.AllocateNetwork", map[string]any{
		"NetworkID": overlayID, "Options": map[string]string{"parent": "lan0"}, "IPv6Data": []any{},
		"IPv4Data": []map[string]any{{"Pool": subnet, "Gateway": gateway, "AuxAddresses": map[string]any{}}},
	}, nil)
	if err != nil {
		return err
	}
	for addr := range s.tasks {
		if _, err := h.plugin.RequestAddress(ctx, id, addr.String(), serial); err != nil {
			return err
		}
	}
	s.leader, s.pool, s.gateway = h, id, gateway
	return nil
}

// Leader is the host that leads.
func (s *Swarm) Leader() *Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leader
}

// Claim has the leader claim an address for a new task.
func (s *Swarm) Claim(ctx context.Context) (netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader == nil {
		return netip.Addr{}, errors.New("nobody leads")
	}
	got, err := s.leader.plugin.RequestAddress(ctx, s.pool, "", map[string]string{"com.docker.network.ipam.serial": "true"})
	if err != nil {
		return netip.Addr{}, err
	}
	at, err := netip.ParsePrefix(got)
	if err != nil {
		return netip.Addr{}, err
	}
	s.tasks[at.Addr()] = newID()[:25]
	return at.Addr(), nil
}

// End ends a task; the leader releases its address.
func (s *Swarm) End(ctx context.Context, addr netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tasks, addr)
	if s.leader == nil {
		return nil
	}
	return s.leader.plugin.ReleaseAddress(ctx, s.pool, addr.String())
}

// Work has a host run a task with the address that the manager claimed. The
// first task of a host makes the network there.
func (s *Swarm) Work(ctx context.Context, book *history.Book, h *Host, addr netip.Addr) *history.Life {
	return s.WorkWith(ctx, book, h, addr, func() {})
}

// WorkWith is Work with something happening between the request and the binding.
func (s *Swarm) WorkWith(ctx context.Context, book *history.Book, h *Host, addr netip.Addr, between func()) *history.Life {
	if err := s.instance(ctx, h); err != nil {
		return nil
	}
	return h.RunWith(ctx, book, overlayName, addr, func(netip.Addr) { between() })
}

// instance makes a worker's instance of the network.
func (s *Swarm) instance(ctx context.Context, h *Host) error {
	h.swarming.Lock()
	defer h.swarming.Unlock()
	if h.Engine.Has(overlayName) {
		return nil
	}
	request := networkRequest{Name: overlayName, Driver: swarmDriver, Options: map[string]string{"parent": "lan0"}}
	request.IPAM.Driver, request.IPAM.Config = swarmDriver, []poolRequest{{Subnet: s.Subnet, Gateway: hostOf(s.gateway)}}
	return h.Engine.makeAs(ctx, overlayID, request)
}

const swarmDriver = "gvlan-swarm:latest"

// register adds what managers answer.
func (s *Swarm) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /{version}/swarm", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, map[string]string{"ID": "swarm"}) })
	mux.HandleFunc("GET /{version}/services", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, []string{}) })
	mux.HandleFunc("GET /{version}/tasks", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		all := []map[string]any{}
		for addr, id := range s.tasks {
			all = append(all, map[string]any{"ID": id, "Status": map[string]any{"State": "running"}, "DesiredState": "running",
				"NetworksAttachments": []map[string]any{{"Network": map[string]string{"ID": overlayID}, "Addresses": []string{addr.String() + "/27"}}}})
		}
		answer(w, 200, all)
	})
}

// json is the network as managers list it.
func (s *Swarm) json() map[string]any {
	return map[string]any{
		"Id": overlayID, "Name": overlayName, "Driver": swarmDriver, "Scope": "swarm", "Created": "2026-01-01T00:00:00Z",
		"EnableIPv4": true, "EnableIPv6": false, "Options": map[string]string{"parent": "lan0"}, "Labels": map[string]string{},
		"IPAM":       map[string]any{"Driver": swarmDriver, "Config": []poolRequest{{Subnet: s.Subnet, Gateway: strings.TrimSpace(hostOf(s.gateway))}}},
		"Containers": map[string]any{},
	}
}
