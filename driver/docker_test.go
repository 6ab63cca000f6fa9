package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gvlan/driver/endpoint"
	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/plugin"
	"gvlan/driver/visible"
)

// dockerd is an engine with libnetwork's half: it calls the plugin as Docker
// 28 does, in the order that tests/docker/testdata/wire shows.
type dockerd struct {
	*enginetest.Engine
	h      *machine
	looks  atomic.Int64 // how often the networks were listed
	serial atomic.Int64
	names  atomic.Bool // it says which container asks for an address, as engines from 29 do

	mu     sync.Mutex
	nets   map[string]*dockerNetwork         // by id
	before func(engine.NetworkRequest) error // ahead of every create, nil: nothing
	after  func()                            // once, as soon as a network of the plugin is made
	others []engine.Container                // of networks of other drivers
	blind  <-chan struct{}                   // no list of containers before it closes
}

// dockerNetwork is what Docker keeps of a network.
type dockerNetwork struct {
	id    string
	pools []dockerPool
}

type dockerPool struct {
	id      string // PoolID, "" of Docker's own IPAM
	space   string
	subnet  netip.Prefix
	gateway string // with its length, "" for none
	aux     map[string]string
}

func newDockerd(h *machine) *dockerd {
	return &dockerd{Engine: enginetest.New(), h: h, nets: map[string]*dockerNetwork{}}
}

// Networks counts the looks.
func (e *dockerd) Networks(ctx context.Context, driver string) ([]engine.Network, error) {
	e.looks.Add(1)
	return e.Engine.Networks(ctx, driver)
}

// Containers waits while the engine is held.
func (e *dockerd) Containers(ctx context.Context) ([]engine.Container, error) {
	e.mu.Lock()
	blind, others := e.blind, e.others
	e.mu.Unlock()
	if blind != nil {
		select {
		case <-blind:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	all, err := e.Engine.Containers(ctx)
	return append(all, others...), err
}

// hold makes the agent, which lists the containers first, see nothing of this
// engine until the channel closes.
func (e *dockerd) hold(until <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.blind = until
}

func (e *dockerd) setBefore(f func(engine.NetworkRequest) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.before = f
}

func (e *dockerd) hooked(r engine.NetworkRequest) error {
	e.mu.Lock()
	f := e.before
	e.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(r)
}

// CreateNetwork is `docker network create`.
func (e *dockerd) CreateNetwork(ctx context.Context, r engine.NetworkRequest) (string, error) {
	listed, err := e.Engine.Networks(ctx, "")
	if err != nil {
		return "", err
	}
	if err := e.hooked(r); err != nil {
		return "", err
	}
	if slices.ContainsFunc(listed, func(n engine.Network) bool { return n.Name == r.Name }) {
		return "", fmt.Errorf("create network %s: %w", r.Name, engine.ErrNameTaken)
	}
	if r.Driver != "gvlan" {
		return e.Engine.CreateNetwork(ctx, r)
	}
	id, err := e.tellCreated(r)
	if err != nil {
		return "", err
	}
	e.list(id, r)
	e.mu.Lock()
	made := e.after
	e.after = nil
	e.mu.Unlock()
	if made != nil {
		made()
	}
	return id, nil
}

// tellCreated is Docker's half of making a network.
func (e *dockerd) tellCreated(r engine.NetworkRequest) (string, error) {
	n := &dockerNetwork{id: e.newID()}
	if err := e.open(n, r); err != nil {
		e.release(n)
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.nets[n.id] = n
	return n.id, nil
}

// list makes the engine list a network, and tell of it.
func (e *dockerd) list(id string, r engine.NetworkRequest) {
	e.AddNetwork(engine.Network{
		ID: id, Name: r.Name, Driver: r.Driver, Scope: engine.ScopeLocal, IPv4: r.IPv4, IPv6: r.IPv6,
		Internal: r.Internal, Attachable: r.Attachable, Labels: r.Labels, Options: r.Options, IPAM: r.IPAM,
	})
	e.h.d.engineEvent(engine.Event{Kind: engine.KindNetwork, Action: engine.ActionCreate, ID: id})
}

func (e *dockerd) newID() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", e.h.name, e.serial.Add(1)))
	return hex.EncodeToString(sum[:])
}

// open asks the plugin for a network's pools and tells it the network.
func (e *dockerd) open(n *dockerNetwork, r engine.NetworkRequest) error {
	options := map[string]any{plugin.KeyIPv4: r.IPv4, plugin.KeyIPv6: r.IPv6, plugin.KeyGeneric: orEmpty(r.Options)}
	if r.Internal {
		options[plugin.KeyInternal] = true
	}
	skip, err := e.h.call("NetworkDriver.GwAllocCheck", map[string]any{"Options": options})
	if err != nil {
		return err
	}
	var data [2][]map[string]any
	for family, wanted := range []bool{r.IPv4, r.IPv6} {
		for _, p := range poolsOf(r, family == 1) {
			if !wanted {
				continue
			}
			opened, err := e.openPool(n, r, p, family == 1, []bool{skip.SkipIPv4, skip.SkipIPv6}[family])
			if err != nil {
				return err
			}
			data[family] = append(data[family], opened)
		}
	}
	_, err = e.h.call("NetworkDriver.CreateNetwork", map[string]any{"NetworkID": n.id, "Options": options, "IPv4Data": data[0], "IPv6Data": data[1]})
	return err
}

// poolsOf are the subnets of one family, one of the plugin's choice if the
// user gave none.
func poolsOf(r engine.NetworkRequest, v6 bool) []engine.Pool {
	pools := slices.DeleteFunc(slices.Clone(r.IPAM.Pools), func(p engine.Pool) bool { return p.Subnet.Addr().Is6() != v6 })
	if len(pools) == 0 {
		return []engine.Pool{{}}
	}
	return pools
}

func (e *dockerd) openPool(n *dockerNetwork, r engine.NetworkRequest, p engine.Pool, v6, skip bool) (map[string]any, error) {
	if r.IPAM.Driver != "gvlan" {
		own := dockerPool{space: "LocalDefault", subnet: p.Subnet, gateway: netip.PrefixFrom(p.Subnet.Addr().Next(), p.Subnet.Bits()).String()}
		n.pools = append(n.pools, own)
		return map[string]any{"AddressSpace": own.space, "Pool": own.subnet.String(), "Gateway": own.gateway}, nil
	}
	spaces, err := e.h.call("IpamDriver.GetDefaultAddressSpaces", nil)
	if err != nil {
		return nil, err
	}
	got, err := e.h.call("IpamDriver.RequestPool", map[string]any{
		"AddressSpace": spaces.LocalDefaultAddressSpace, "Pool": endpoint.PrefixText(p.Subnet), "SubPool": endpoint.PrefixText(p.Range),
		"Options": orEmpty(r.IPAM.Options), "V6": v6,
	})
	if err != nil {
		return nil, err
	}
	n.pools = append(n.pools, dockerPool{id: got.PoolID, space: spaces.LocalDefaultAddressSpace, subnet: netip.MustParsePrefix(got.Pool), aux: map[string]string{}})
	return e.reserve(&n.pools[len(n.pools)-1], p, skip)
}

// reserve asks for a pool's gateway and aux addresses.
func (e *dockerd) reserve(opened *dockerPool, p engine.Pool, skip bool) (map[string]any, error) {
	if p.Gateway.IsValid() || !skip {
		got, err := e.h.call("IpamDriver.RequestAddress", map[string]any{
			"PoolID": opened.id, "Address": string(p.Gateway.AppendTo(nil)), "Options": map[string]string{"RequestAddressType": "com.docker.network.gateway"},
		})
		if err != nil {
			return nil, err
		}
		opened.gateway = got.Address
	}
	for name, addr := range p.Aux {
		got, err := e.h.call("IpamDriver.RequestAddress", map[string]any{"PoolID": opened.id, "Address": addr.String()})
		if err != nil {
			return nil, err
		}
		opened.aux[name] = got.Address
	}
	return map[string]any{"AddressSpace": opened.space, "Pool": opened.subnet.String(), "Gateway": opened.gateway, "AuxAddresses": opened.aux}, nil
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// release is what Docker says of a network's pools when it removes it or its
// create failed; it ignores every answer.
func (e *dockerd) release(n *dockerNetwork) {
	for _, p := range n.pools {
		if p.id == "" {
			continue
		}
		for _, address := range append([]string{p.gateway}, values(p.aux)...) {
			if bare, err := netip.ParsePrefix(address); err == nil {
				e.h.call("IpamDriver.ReleaseAddress", map[string]any{"PoolID": p.id, "Address": bare.Addr().String()})
			}
		}
		e.h.call("IpamDriver.ReleasePool", map[string]any{"PoolID": p.id})
	}
}

func values(m map[string]string) []string {
	var all []string
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

// tellDeleted is Docker's half of removing a network.
func (e *dockerd) tellDeleted(id string) {
	e.mu.Lock()
	n := e.nets[id]
	delete(e.nets, id)
	e.mu.Unlock()
	if n != nil {
		e.release(n)
		e.h.call("NetworkDriver.DeleteNetwork", map[string]any{"NetworkID": id})
	}
}

// RemoveNetwork is `docker network rm`.
func (e *dockerd) RemoveNetwork(ctx context.Context, id string) error {
	n, err := e.Network(ctx, id)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return nil
	case err != nil:
		return err
	case len(n.Endpoints) > 0:
		return fmt.Errorf("remove network %s: %w", id, engine.ErrInUse)
	}
	e.tellDeleted(n.ID)
	return e.Engine.RemoveNetwork(ctx, n.ID)
}

// pools are the pools that Docker opened for a network.
func (e *dockerd) pools(id string) []dockerPool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.nets[id].pools
}

// create makes a network as a user does, and fails the test if that fails.
func (h *machine) create(r engine.NetworkRequest) string {
	h.Helper()
	id, err := h.engine.CreateNetwork(h.Context(), r)
	h.must(err)
	return id
}

// lan is the network most tests use.
func lan(name, subnet string, bend ...func(*engine.NetworkRequest)) engine.NetworkRequest {
	r := engine.NetworkRequest{
		Name: name, Driver: "gvlan", IPv4: true, Options: map[string]string{"parent": "eth1"},
		IPAM: engine.IPAM{Driver: "gvlan", Pools: []engine.Pool{{Subnet: netip.MustParsePrefix(subnet)}}},
	}
	for _, b := range bend {
		b(&r)
	}
	return r
}

// with sets an option.
func with(key, value string) func(*engine.NetworkRequest) {
	return func(r *engine.NetworkRequest) { r.Options[key] = value }
}

// without drops one.
func without(key string) func(*engine.NetworkRequest) {
	return func(r *engine.NetworkRequest) { delete(r.Options, key) }
}

// rm is `docker network rm`, and waits until the agent heard the event.
func (h *machine) rm(name string) {
	h.Helper()
	h.clock.advance(time.Millisecond)
	n, err := h.engine.Network(h.Context(), name)
	h.must(err)
	h.must(h.engine.RemoveNetwork(h.Context(), n.ID))
	h.eventually("the removal's event", func() bool {
		_, deleted := h.d.Seen.Times()
		return !deleted.Before(h.clock.now())
	})
}

// prune is `docker network prune -f`.
func (h *machine) prune() {
	h.Helper()
	listed, err := h.engine.Engine.Networks(h.Context(), "gvlan")
	h.must(err)
	for _, n := range listed {
		full, err := h.engine.Network(h.Context(), n.ID)
		h.must(err)
		if len(full.Endpoints) == 0 {
			h.engine.tellDeleted(n.ID)
		}
	}
	h.engine.PruneNetworks()
}

// replica is the host's network of that name, once it stands for its
// definition.
func (h *machine) replica(name string) journal.Network {
	h.Helper()
	var found journal.Network
	h.eventually(h.name+" has network "+name, func() bool {
		def, defined := h.definition(name)
		n, err := h.engine.Network(context.Background(), name)
		if err != nil || !defined {
			return false
		}
		var ok bool
		found, ok = h.d.Memory.Network(n.ID)
		return ok && found.UUID == def.UUID && (found.Stage == journal.StageReplica || found.Stage == journal.StageCommitted)
	})
	return found
}

// lacks waits until the host has no network of that name, nor remembers one.
func (h *machine) lacks(name string) {
	h.Helper()
	h.eventually(h.name+" has no network "+name, func() bool {
		_, err := h.engine.Network(context.Background(), name)
		return errors.Is(err, engine.ErrNotFound) && !slices.ContainsFunc(h.d.Memory.Networks(), func(n journal.Network) bool { return n.Name == name })
	})
}

// container is a container on one network.
type container struct {
	h         *machine
	id        string
	spec      enginetest.ContainerSpec
	network   *dockerNetwork
	endpoint  string
	addresses []heldAddress
	mac       string // the plugin's
	joined    answer
}

type heldAddress struct {
	pool    string
	address netip.Prefix
}

// run is `docker run -d` of a container on one network.
func (h *machine) run(name, network string, bend ...func(*enginetest.ContainerSpec)) *container {
	h.Helper()
	ct, err := h.tryRun(name, network, bend...)
	h.must(err)
	return ct
}

// ip asks for an address.
func ip(address string) func(*enginetest.ContainerSpec) {
	return func(s *enginetest.ContainerSpec) {
		if a := netip.MustParseAddr(address); a.Is4() {
			s.Settings.IPv4 = a
		} else {
			s.Settings.IPv6 = a
		}
	}
}

func mac(address string) func(*enginetest.ContainerSpec) {
	return func(s *enginetest.ContainerSpec) { s.Settings.MAC, _ = net.ParseMAC(address) }
}

func (h *machine) tryRun(name, network string, bend ...func(*enginetest.ContainerSpec)) (*container, error) {
	spec := enginetest.ContainerSpec{Name: name, Network: network}
	for _, b := range bend {
		b(&spec)
	}
	ct := &container{h: h, spec: spec, id: h.engine.CreateContainer(spec)}
	return ct, ct.start()
}

// start is `docker start`: it asks for addresses, makes the endpoint and
// joins it, and rolls back as Docker does.
func (ct *container) start() error {
	ctx := context.Background()
	full, err := ct.h.engine.Container(ctx, ct.id)
	if err != nil {
		return err
	}
	to := full.Attachments[0]
	key := to.NetworkID
	if key == "" {
		key = to.Network
	}
	n, err := ct.h.engine.Network(ctx, key)
	if err != nil {
		return err
	}
	ct.h.engine.mu.Lock()
	ct.network, ct.addresses = ct.h.engine.nets[n.ID], nil
	ct.h.engine.mu.Unlock()
	if err := ct.ask(n, to.Settings); err != nil {
		return err
	}
	if err := ct.h.engine.StartContainer(ctx, ct.id); err != nil {
		return err
	}
	if full, err = ct.h.engine.Container(ctx, ct.id); err != nil {
		return err
	}
	ct.endpoint = full.Attachments[0].EndpointID
	return ct.attach(to.Settings)
}

// ask requests an address of each family.
func (ct *container) ask(n engine.Network, want engine.EndpointSettings) error {
	for _, asked := range []netip.Addr{want.IPv4, want.IPv6} {
		v6 := len(ct.addresses) == 1 || !n.IPv4
		if v6 && !n.IPv6 {
			break
		}
		i := slices.IndexFunc(ct.network.pools, func(p dockerPool) bool {
			return p.subnet.Addr().Is6() == v6 && (!asked.IsValid() || p.subnet.Contains(asked))
		})
		pool := ct.network.pools[i]
		request := map[string]any{"PoolID": pool.id, "Address": string(asked.AppendTo(nil))}
		if ct.h.engine.names.Load() {
			request["Options"] = map[string]string{plugin.KeyEndpointName: ct.spec.Name}
		}
		got, err := ct.h.call("IpamDriver.RequestAddress", request)
		if err != nil {
			return err
		}
		ct.addresses = append(ct.addresses, heldAddress{pool: pool.id, address: netip.MustParsePrefix(got.Address)})
	}
	return nil
}

// attach makes and joins the endpoint.
func (ct *container) attach(want engine.EndpointSettings) error {
	given := map[string]string{"Address": "", "AddressIPv6": "", "MacAddress": want.MAC.String()}
	for _, a := range ct.addresses {
		if a.address.Addr().Is4() {
			given["Address"] = a.address.String()
		} else {
			given["AddressIPv6"] = a.address.String()
		}
	}
	options := map[string]any{option.KeyPortMap: []any{}, "com.docker.network.endpoint.exposedports": []any{}}
	for opt, value := range want.DriverOpts {
		options[opt] = value
	}
	made, err := ct.h.call("NetworkDriver.CreateEndpoint", map[string]any{
		"NetworkID": ct.network.id, "EndpointID": ct.endpoint, "Interface": given, "Options": options,
	})
	if err != nil {
		ct.releaseAll()
		ct.h.engine.StopContainer(ct.id)
		return err
	}
	ct.mac = made.Interface.MacAddress
	sandbox := "/var/run/docker/netns/" + visible.ID(ct.endpoint)
	if ct.joined, err = ct.h.call("NetworkDriver.Join", ct.about("SandboxKey", sandbox)); err != nil {
		ct.h.call("NetworkDriver.DeleteEndpoint", ct.about())
		ct.releaseAll()
		ct.h.engine.StopContainer(ct.id)
		return err
	}
	return ct.h.links.Move(ct.joined.InterfaceName.SrcName, 7, "eth0")
}

// about is a request about the container's endpoint.
func (ct *container) about(more ...string) map[string]any {
	request := map[string]any{"NetworkID": ct.network.id, "EndpointID": ct.endpoint}
	for i := 0; i < len(more); i += 2 {
		request[more[i]] = more[i+1]
	}
	return request
}

func (ct *container) releaseAll() {
	for _, a := range ct.addresses {
		ct.h.call("IpamDriver.ReleaseAddress", map[string]any{"PoolID": a.pool, "Address": a.address.Addr().String()})
	}
}

// stop is `docker stop`.
func (ct *container) stop() {
	ct.h.Helper()
	_, err := ct.h.call("NetworkDriver.Leave", ct.about())
	ct.h.must(err)
	ct.h.must(ct.h.links.Move(ct.joined.InterfaceName.SrcName, link.Current, ""))
	_, err = ct.h.call("NetworkDriver.DeleteEndpoint", ct.about())
	ct.h.must(err)
	ct.releaseAll()
	ct.h.engine.StopContainer(ct.id)
}

// remove is `docker rm` of a stopped container.
func (ct *container) remove() { ct.h.engine.RemoveContainer(ct.id) }

// address is the container's first address.
func (ct *container) address() string { return ct.addresses[0].address.Addr().String() }
