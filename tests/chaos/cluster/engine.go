package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Engine plays a Docker engine: it answers the agent's questions on a socket,
// and asks its plugin in the order in which dockerd does.
type Engine struct {
	plugin *Plugin
	server *http.Server
	swarm  *Swarm // nil outside a swarm

	mu       sync.Mutex
	networks map[string]*network // by id
	making   map[string]bool     // names whose creation is under way
	streams  map[chan []byte]bool
}

// network is one of the engine's.
type network struct {
	ID, Name  string
	Request   networkRequest
	Pools     []madePool
	Created   time.Time
	Endpoints map[string]Attached // by endpoint
	turn      sync.Mutex          // dockerd makes a network's endpoints one after the other
}

// madePool is a subnet of a network with what the plugin answered.
type madePool struct {
	PoolID  string
	Subnet  string
	Gateway string // with its length
	Asked   poolRequest
}

// Attached is an endpoint that a container has.
type Attached struct {
	Endpoint string
	Address  netip.Prefix
	MAC      string
}

// networkRequest is the body of POST /networks/create.
type networkRequest struct {
	Name       string
	Driver     string
	EnableIPv4 *bool
	EnableIPv6 *bool
	Internal   bool
	Attachable bool
	IPAM       struct {
		Driver  string
		Options map[string]string
		Config  []poolRequest
	}
	Options map[string]string
	Labels  map[string]string
}

// poolRequest is one subnet of it.
type poolRequest struct {
	Subnet             string            `json:",omitempty"`
	IPRange            string            `json:",omitempty"`
	Gateway            string            `json:",omitempty"`
	AuxiliaryAddresses map[string]string `json:",omitempty"`
}

// newEngine plays an engine at a socket.
func newEngine(socket string, plugin *Plugin, swarm *Swarm) (*Engine, error) {
	e := &Engine{plugin: plugin, swarm: swarm, networks: map[string]*network{}, making: map[string]bool{}, streams: map[chan []byte]bool{}}
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", "1.51")
		w.Header().Set("Ostype", "linux")
		fmt.Fprint(w, "OK")
	})
	for route, handler := range map[string]http.HandlerFunc{
		"GET /{version}/info":             e.info,
		"GET /{version}/plugins":          func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, []string{}) },
		"GET /{version}/containers/json":  func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, []string{}) },
		"GET /{version}/networks":         e.list,
		"GET /{version}/networks/{id}":    e.inspect,
		"DELETE /{version}/networks/{id}": e.remove,
		"POST /{version}/networks/create": e.create,
		"GET /{version}/events":           e.events,
	} {
		mux.HandleFunc(route, handler)
	}
	if swarm != nil {
		swarm.register(mux)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { refuse(w, 404, "no such thing: "+r.URL.Path) })
	e.server = &http.Server{Handler: mux}
	go func() { _ = e.server.Serve(l) }()
	return e, nil
}

// Close ends the engine's socket.
func (e *Engine) Close() { _ = e.server.Close() }

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, words string) {
	answer(w, status, map[string]string{"message": words})
}

func (e *Engine) info(w http.ResponseWriter, _ *http.Request) {
	part := map[string]any{"LocalNodeState": "inactive"}
	if e.swarm != nil {
		part = map[string]any{"LocalNodeState": "active", "ControlAvailable": true, "NodeID": "node", "Cluster": map[string]string{"ID": "swarm"}}
	}
	answer(w, 200, map[string]any{
		"ID": "chaos", "Name": "chaos", "ServerVersion": "28.5.2", "Labels": []string{},
		"Swarm": part, "Plugins": map[string]any{"Network": []string{"gvlan"}},
	})
}

func (e *Engine) list(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := []map[string]any{}
	for _, n := range e.networks {
		all = append(all, n.json(false))
	}
	if e.swarm != nil && e.find(overlayID) == nil {
		all = append(all, e.swarm.json())
	}
	answer(w, 200, all)
}

func (e *Engine) inspect(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := e.find(r.PathValue("id")); n != nil {
		answer(w, 200, n.json(true))
		return
	}
	if id := r.PathValue("id"); e.swarm != nil && (id == overlayID || id == overlayName) {
		answer(w, 200, e.swarm.json())
		return
	}
	refuse(w, 404, "network "+r.PathValue("id")+" not found")
}

// find finds a network by id or name. The caller holds mu.
func (e *Engine) find(what string) *network {
	if n, ok := e.networks[what]; ok {
		return n
	}
	for _, n := range e.networks {
		if n.Name == what {
			return n
		}
	}
	return nil
}

func (n *network) json(full bool) map[string]any {
	config := []poolRequest{}
	for _, p := range n.Pools {
		config = append(config, p.Asked)
	}
	scope := "local"
	if n.ID == overlayID {
		scope = "swarm"
	}
	out := map[string]any{
		"Id": n.ID, "Name": n.Name, "Driver": n.Request.Driver, "Scope": scope, "Created": n.Created.Format(time.RFC3339Nano),
		"EnableIPv4": true, "EnableIPv6": false, "Internal": n.Request.Internal, "Attachable": n.Request.Attachable,
		"Labels": n.Request.Labels, "Options": n.Request.Options,
		"IPAM": map[string]any{"Driver": n.Request.IPAM.Driver, "Options": n.Request.IPAM.Options, "Config": config},
	}
	if full {
		containers := map[string]any{}
		for id, a := range n.Endpoints {
			containers["ep-"+id] = map[string]string{"Name": id[:12], "EndpointID": id, "MacAddress": a.MAC, "IPv4Address": a.Address.String()}
		}
		out["Containers"] = containers
	}
	return out
}

func (e *Engine) create(w http.ResponseWriter, r *http.Request) {
	var request networkRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		refuse(w, 400, err.Error())
		return
	}
	id, err := e.make(context.WithoutCancel(r.Context()), request)
	switch {
	case errors.Is(err, errTaken):
		refuse(w, 409, err.Error())
	case err != nil:
		refuse(w, 500, err.Error())
	default:
		answer(w, 201, map[string]string{"Id": id})
	}
}

var errTaken = errors.New("network with that name exists already")

// make is `docker network create`: the calls dockerd makes, and its rollback.
func (e *Engine) make(ctx context.Context, request networkRequest) (string, error) {
	e.mu.Lock()
	if e.find(request.Name) != nil || e.making[request.Name] {
		e.mu.Unlock()
		return "", errTaken
	}
	e.making[request.Name] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.making, request.Name)
		e.mu.Unlock()
	}()
	id := newID()
	return id, e.makeAs(ctx, id, request)
}

// makeAs makes a network with an id that somebody else minted.
func (e *Engine) makeAs(ctx context.Context, id string, request networkRequest) error {
	n := &network{ID: id, Name: request.Name, Request: request, Created: time.Now(), Endpoints: map[string]Attached{}}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := e.ask(ctx, n); err != nil {
		for _, p := range n.Pools {
			if p.Gateway != "" {
				_ = e.plugin.ReleaseAddress(ctx, p.PoolID, hostOf(p.Gateway))
			}
			_ = e.plugin.ReleasePool(ctx, p.PoolID)
		}
		return err
	}
	e.mu.Lock()
	e.networks[n.ID] = n
	e.mu.Unlock()
	e.tell("network", "create", n.ID, map[string]string{"name": n.Name, "type": request.Driver})
	return nil
}

// ask asks the plugin for a network's pools, gateways and for the network.
func (e *Engine) ask(ctx context.Context, n *network) error {
	var data []map[string]any
	for _, c := range n.Request.IPAM.Config {
		id, subnet, err := e.plugin.RequestPool(ctx, c.Subnet, c.IPRange, n.Request.IPAM.Options)
		if err != nil {
			return err
		}
		n.Pools = append(n.Pools, madePool{PoolID: id, Subnet: subnet, Asked: c})
		p := &n.Pools[len(n.Pools)-1]
		if p.Gateway, err = e.plugin.RequestAddress(ctx, id, c.Gateway, map[string]string{"RequestAddressType": "com.docker.network.gateway"}); err != nil {
			return err
		}
		aux := map[string]any{}
		for name, addr := range c.AuxiliaryAddresses {
			got, err := e.plugin.RequestAddress(ctx, id, addr, nil)
			if err != nil {
				return err
			}
			aux[name] = got
		}
		data = append(data, map[string]any{"AddressSpace": localSpace, "Pool": subnet, "Gateway": p.Gateway, "AuxAddresses": aux})
	}
	generic := map[string]any{}
	for k, v := range n.Request.Options {
		generic[k] = v
	}
	return e.plugin.call(ctx, "NetworkDriver.CreateNetwork", map[string]any{
		"NetworkID": n.ID, "IPv4Data": data, "IPv6Data": []any{},
		"Options": map[string]any{"com.docker.network.generic": generic, "com.docker.network.enable_ipv4": true, "com.docker.network.enable_ipv6": false},
	}, nil)
}

func (e *Engine) remove(w http.ResponseWriter, r *http.Request) {
	switch err := e.Remove(context.WithoutCancel(r.Context()), r.PathValue("id")); {
	case errors.Is(err, errAbsent):
		refuse(w, 404, err.Error())
	case err != nil:
		refuse(w, 403, err.Error())
	default:
		w.WriteHeader(204)
	}
}

var errAbsent = errors.New("no such network")

// Remove is `docker network rm`.
func (e *Engine) Remove(ctx context.Context, what string) error {
	e.mu.Lock()
	n := e.find(what)
	if n == nil {
		e.mu.Unlock()
		return errAbsent
	}
	e.mu.Unlock()
	n.turn.Lock()
	defer n.turn.Unlock()
	e.mu.Lock()
	if len(n.Endpoints) > 0 {
		e.mu.Unlock()
		return errors.New("network has active endpoints")
	}
	delete(e.networks, n.ID)
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, p := range n.Pools {
		for _, addr := range p.Asked.AuxiliaryAddresses {
			_ = e.plugin.ReleaseAddress(ctx, p.PoolID, addr)
		}
		if p.Gateway != "" {
			_ = e.plugin.ReleaseAddress(ctx, p.PoolID, hostOf(p.Gateway))
		}
		_ = e.plugin.ReleasePool(ctx, p.PoolID)
	}
	_ = e.plugin.call(ctx, "NetworkDriver.DeleteNetwork", map[string]any{"NetworkID": n.ID}, nil)
	e.tell("network", "destroy", n.ID, map[string]string{"name": n.Name, "type": n.Request.Driver})
	return nil
}

func (e *Engine) events(w http.ResponseWriter, r *http.Request) {
	stream := make(chan []byte, 1024)
	e.mu.Lock()
	e.streams[stream] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.streams, stream)
		e.mu.Unlock()
	}()
	w.WriteHeader(200)
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case event := <-stream:
			if _, err := w.Write(event); err != nil || flush.Flush() != nil {
				return
			}
		}
	}
}

func (e *Engine) tell(kind, action, id string, attributes map[string]string) {
	event, _ := json.Marshal(map[string]any{
		"Type": kind, "Action": action, "scope": "local", "timeNano": time.Now().UnixNano(),
		"Actor": map[string]any{"ID": id, "Attributes": attributes},
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	for stream := range e.streams {
		select {
		case stream <- append(slices.Clone(event), '\n'):
		default:
		}
	}
}

// forget drops every endpoint, as a host that lost its power does.
func (e *Engine) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.networks {
		clear(n.Endpoints)
	}
}

// Has reports whether the engine has a network of that name.
func (e *Engine) Has(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.find(name) != nil
}

// newID is an id as Docker mints them.
func newID() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// hostOf is the address of "address/bits".
func hostOf(prefix string) string {
	addr, _, _ := strings.Cut(prefix, "/")
	return addr
}
