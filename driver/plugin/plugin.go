// Package plugin is Docker's two plugin protocols, network and IPAM, on one
// socket. It decodes calls, has a Driver and Addresses do them, encodes what they
// answer and logs each call in one line; it takes no decision.
//
//	plugin.go   what is called, the socket, and what every call has in common
//	network.go  the network protocol (libnetwork's remote.md)
//	ipam.go     the IPAM protocol (libnetwork's ipam.md)
//
// See DESIGN.md in this folder.
package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	dockeripam "github.com/docker/go-plugins-helpers/ipam"
	"github.com/docker/go-plugins-helpers/network"
	"github.com/docker/go-plugins-helpers/sdk"

	"gvlan/driver/option"
	"gvlan/driver/socket"
	"gvlan/driver/visible"
	"gvlan/ipam"
	"gvlan/ipam/pool"
)

// handlerTimeout bounds every plugin request: Docker holds a network's lock
// across a call and has no timeout of its own for socket plugins. The store
// gets four fifths of it, so that a request ends with a sentence rather than
// a broken connection.
const handlerTimeout = 5 * time.Second

// stopTimeout is when requests in flight have ended whatever they wait for.
const stopTimeout = handlerTimeout + time.Second

// manifest is the answer to Plugin.Activate: both drivers on one socket.
const manifest = `{"Implements":["NetworkDriver","IpamDriver"]}`

// Driver is what the network protocol's calls do; *driver.Driver is one.
type Driver interface {
	CreateNetwork(ctx context.Context, r NewNetwork) error
	DeleteNetwork(ctx context.Context, id string) error
	// AllocateNetwork and FreeNetwork are called on a swarm's leader only.
	AllocateNetwork(ctx context.Context, id string, o option.Options, pools []pool.Data) error
	FreeNetwork(ctx context.Context, id string) error
	// Allocated hears how the leader was answered about a network.
	Allocated(id string, refused error)
	// CreateEndpoint returns the MAC to use, or "" where Docker must not set one.
	CreateEndpoint(ctx context.Context, r NewEndpoint) (mac string, err error)
	EndpointInfo(id string) map[string]string
	DeleteEndpoint(ctx context.Context, id string) error
	Join(ctx context.Context, endpoint, sandbox string) (Attachment, error)
	Leave(ctx context.Context, endpoint string) error
	// Who names a network and an endpoint's container for a log line, "" where
	// this host does not know.
	Who(network, endpoint string) (name, container string)
	// Newcomers reports whether a container that never ran may be the one that
	// asks for an address on a network.
	Newcomers(network string) bool
	// Idle are the containers that do not run and may be the one that asks.
	Idle(network string) (names []string, looked bool, news <-chan struct{})
}

// Addresses is what the IPAM protocol's calls do; *ipam.Allocator is one.
type Addresses interface {
	RequestPool(ctx context.Context, r ipam.PoolRequest) (ipam.PoolReply, error)
	ReleasePool(ctx context.Context, id string) error
	RequestAddress(ctx context.Context, r ipam.AddressRequest) (netip.Prefix, error)
	ReleaseAddress(ctx context.Context, id, address string) error
	// NetworkOf is the engine's id of the network that a pool belongs to, "" when
	// it belongs to none yet.
	NetworkOf(pool string) string
}

// Observer hears of every call that was answered: how long that took, and why it
// was refused; nil: it was not.
type Observer func(method string, took time.Duration, refused error)

// NewNetwork is what Docker says when it makes a network: neither its name
// nor its labels are among it.
type NewNetwork struct {
	ID       string
	Options  option.Options
	IPv4     bool
	IPv6     bool
	Internal bool
	Pools    []pool.Data
}

// NewEndpoint is what Docker says when it makes an endpoint: which container
// it is for is not among it, but for its name on engines from 29.
type NewEndpoint struct {
	ID, Network string
	IPv4, IPv6  netip.Prefix // zero: none
	MAC         string       // "": none was asked for
	Name        string       // of the container; "" where the engine did not tell
	Options     option.EndpointOptions
}

// Attachment is what Docker needs to put a container on the network: a link
// in the host's namespace that Docker moves, renames and addresses.
type Attachment struct {
	Link               string
	Name, Prefix       string         // of the link inside the container; "": Docker's choice, and eth
	Gateway4, Gateway6 netip.Addr     // zero: none
	Connected          []netip.Prefix // routes by device
	Routes             []option.Route // beside those
}

// Plugin answers Docker's network and IPAM plugin protocols
// (docs.docker.com/engine/extend/plugins_network, libnetwork's remote.md and
// ipam.md).
type Plugin struct {
	driver    Driver
	observe   Observer
	addresses Addresses
	asked     askedFor // names that engines from 29 tell with an address request
	mux       *http.ServeMux
	observed  []string // methods
	log       *slog.Logger
	// swarm makes the plugin report scope "global", which a managed plugin
	// needs for swarm networks and a socket plugin must not report.
	swarm bool
}

// Config is what a Plugin needs.
type Config struct {
	Driver    Driver
	Addresses Addresses
	// Swarm has the driver report global scope, which only a managed plugin may.
	Swarm   bool
	Observe Observer // nil: nobody
	Log     *slog.Logger
}

// New serves a driver and its addresses.
func New(c Config) *Plugin {
	p := &Plugin{driver: c.Driver, addresses: c.Addresses, observe: c.Observe, mux: http.NewServeMux(), log: c.Log, swarm: c.Swarm}
	if p.observe == nil {
		p.observe = func(string, time.Duration, error) {}
	}
	p.mux.HandleFunc("/Plugin.Activate", func(w http.ResponseWriter, _ *http.Request) {
		sdk.EncodeResponse(w, json.RawMessage(manifest), false)
	})
	p.routeNetwork()
	p.routeIPAM()
	return p
}

// Methods are those that the Observer may hear of.
func (p *Plugin) Methods() []string { return p.observed }

// Listen opens the plugin's socket in Docker's discovery folder. A socket
// left by an agent that died is replaced.
func Listen(folder, name string) (net.Listener, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("make the plugin socket's folder: %w", err)
	}
	path := filepath.Join(folder, name+".sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace the plugin socket: %w", err)
	}
	l, err := socket.Listen(context.Background(), path)
	if err != nil {
		return nil, fmt.Errorf("open the plugin socket: %w", err)
	}
	return l, nil
}

// Serve answers on l until ctx ends, then lets requests in flight finish. When it
// returns no connection is left: Docker keeps its own for later calls, and an
// agent that begins anew in this process is to get those.
func (p *Plugin) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: p.mux, ReadHeaderTimeout: handlerTimeout}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve the plugin socket: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if server.Shutdown(grace) != nil { // of who connected and asked nothing
		_ = server.Close()
	}
	<-served
	return nil
}

// answerer is how a protocol writes its outcome: the two disagree on the
// name of the error field.
type answerer struct {
	failed func(sentence string) any
}

var (
	networkAnswers = answerer{failed: func(s string) any { return networkError{Err: s} }}
	ipamAnswers    = answerer{failed: func(s string) any { return ipamError{Error: s} }}
)

type networkError struct{ Err string }

type ipamError struct{ Error string }

// handle registers one method. An empty or broken body is Docker's retry of
// a request whose body was already consumed: it gets 400 and has no effect.
func handle[Req, Res any](p *Plugin, method string, a answerer, do func(context.Context, Req) (Res, error)) {
	p.observed = append(p.observed, method)
	p.mux.HandleFunc("/"+method, func(w http.ResponseWriter, r *http.Request) {
		var req Req
		if err := sdk.DecodeRequest(w, r, &req); err != nil {
			p.log.Warn("request without a body refused", "method", method, "err", err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), handlerTimeout)
		defer cancel()
		about := p.subject(req) // before: what ends a container forgets its name
		began := time.Now()
		res, err := do(ctx, req)
		took := time.Since(began)
		p.observe(method, took, err)
		p.record(method, append(about, outcome(res)...), took, err)
		if err != nil {
			sdk.EncodeResponse(w, a.failed(visible.Text(err.Error())), false)
			return
		}
		sdk.EncodeResponse(w, res, false)
	})
}

// fixed registers a method that has no request body.
func fixed[Res any](p *Plugin, method string, answer func() Res) {
	p.mux.HandleFunc("/"+method, func(w http.ResponseWriter, _ *http.Request) {
		sdk.EncodeResponse(w, answer(), false)
	})
}

// missing registers a method that Docker is content to find unimplemented.
func missing(p *Plugin, method string) {
	p.mux.HandleFunc("/"+method, func(w http.ResponseWriter, r *http.Request) {
		http.NotFound(w, r)
	})
}

// record writes the request's one line: what it was about, how long it took, and
// why it was refused, if it was.
func (p *Plugin) record(method string, about []any, took time.Duration, err error) {
	attrs := append([]any{"method", method}, about...)
	attrs = append(attrs, "took", took.Round(time.Microsecond))
	if err != nil {
		p.log.Error("refused", append(attrs, "err", err)...)
		return
	}
	p.log.Info("answered", attrs...)
}

// subject lists what a request is about: network, endpoint, container, pool,
// address.
func (p *Plugin) subject(req any) []any {
	switch r := req.(type) {
	case network.CreateNetworkRequest:
		return p.about(r.NetworkID, "")
	case network.DeleteNetworkRequest:
		return p.about(r.NetworkID, "")
	case network.AllocateNetworkRequest:
		return p.about(r.NetworkID, "")
	case network.FreeNetworkRequest:
		return p.about(r.NetworkID, "")
	case network.CreateEndpointRequest:
		attrs := p.about(r.NetworkID, r.EndpointID)
		if r.Interface != nil {
			attrs = append(attrs, given("container", p.asked.of(r.Interface.Address, r.Interface.AddressIPv6))...)
			attrs = append(attrs, given("address", r.Interface.Address)...)
			attrs = append(attrs, given("address6", r.Interface.AddressIPv6)...)
		}
		return attrs
	case network.InfoRequest:
		return p.about(r.NetworkID, r.EndpointID)
	case network.DeleteEndpointRequest:
		return p.about(r.NetworkID, r.EndpointID)
	case network.JoinRequest:
		return append(p.about(r.NetworkID, r.EndpointID), "sandbox", r.SandboxKey)
	case network.LeaveRequest:
		return p.about(r.NetworkID, r.EndpointID)
	}
	return p.ipamSubject(req)
}

func (p *Plugin) ipamSubject(req any) []any {
	switch r := req.(type) {
	case dockeripam.RequestPoolRequest:
		return append(given("subnet", r.Pool), given("range", r.SubPool)...)
	case dockeripam.ReleasePoolRequest:
		return p.inPool(r.PoolID)
	case dockeripam.RequestAddressRequest:
		attrs := append(p.inPool(r.PoolID), given("asked", r.Address)...)
		return append(attrs, given("container", r.Options[KeyEndpointName])...)
	case dockeripam.ReleaseAddressRequest:
		return append(p.inPool(r.PoolID), "address", r.Address)
	}
	return nil
}

// outcome lists what an answer gave.
func outcome(res any) []any {
	switch r := res.(type) {
	case dockeripam.RequestPoolResponse:
		return given("pool", r.PoolID)
	case dockeripam.RequestAddressResponse:
		return given("address", r.Address)
	case network.CreateEndpointResponse:
		if r.Interface != nil {
			return given("mac", r.Interface.MacAddress)
		}
	case network.JoinResponse:
		return append(given("link", r.InterfaceName.SrcName), given("gateway", r.Gateway)...)
	}
	return nil
}

// about is a network, and an endpoint of it unless that is "": by name where this
// host knows it.
func (p *Plugin) about(networkID, endpointID string) []any {
	name, container := p.driver.Who(networkID, endpointID)
	attrs := []any{"network", cmp.Or(name, visible.ID(networkID))}
	attrs = append(attrs, given("container", container)...)
	return append(attrs, given("endpoint", visible.ID(endpointID))...)
}

// inPool is a pool, and the network it belongs to where there is one.
func (p *Plugin) inPool(id string) []any {
	if networkID := p.addresses.NetworkOf(id); networkID != "" {
		return append(p.about(networkID, ""), "pool", id)
	}
	return []any{"pool", id}
}

// given is an attribute, or nothing when the value is empty.
func given(key, value string) []any {
	if value == "" {
		return nil
	}
	return []any{key, value}
}
