package endpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/failpoint"
	"gvlan/driver/fixed"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/parent"
	"gvlan/driver/plugin"
	"gvlan/driver/visible"
	"gvlan/ipam"
	"gvlan/ipam/pool"
)

// Endpoints is what Docker's calls on endpoints do.
type Endpoints struct {
	*host.Host
	sandboxes *Sandboxes
	fixed     *fixed.Keeper
}

// NewEndpoints answers for a host.
func NewEndpoints(h *host.Host, s *Sandboxes, f *fixed.Keeper) *Endpoints {
	return &Endpoints{Host: h, sandboxes: s, fixed: f}
}

// What an endpoint can be refused for, beside option.ErrMAC.
var (
	// ErrUnknownNetwork: this host's journal has no such network.
	ErrUnknownNetwork = errors.New("network is not known to gvlan on this host")
	// ErrUnknownEndpoint: this host's journal has no such endpoint.
	ErrUnknownEndpoint = errors.New("endpoint is not known to gvlan on this host")
	// ErrDrained: an operator drained this node.
	ErrDrained = errors.New("node is drained")
)

// CreateEndpoint binds the endpoint's addresses: from here on they are its
// own. It returns the MAC to use, or "" where Docker must not set one.
func (ep *Endpoints) CreateEndpoint(ctx context.Context, r plugin.NewEndpoint) (mac string, err error) {
	n, ok := ep.Memory.Network(r.Network)
	if !ok || n.Stage == journal.StageGone {
		return "", fmt.Errorf("%w: %s (its journal may be lost: gvlan status tells)", ErrUnknownNetwork, visible.ID(r.Network))
	}
	if err := ep.refuseLost(n); err != nil {
		return "", err
	}
	if ep.Cfg.Drained != nil && ep.Cfg.Drained() {
		return "", fmt.Errorf("%w: node %s takes no new containers until gvlan node drain --undo %s", ErrDrained, ep.Cfg.Host(), ep.Cfg.Host())
	}
	e := journal.Endpoint{ID: r.ID, Network: r.Network, IPv4: r.IPv4, IPv6: r.IPv6, Since: ep.Milliseconds(), Born: ep.Now()}
	e.IfName, e.Unheeded, e.MACAsked = r.Options.IfName, r.Options.Unheeded, r.MAC != ""
	e.Container.Name = r.Name
	if e.MAC, mac, err = ep.endpointMAC(n, r); err != nil {
		return "", err
	}
	if err := ep.wants(ctx, n, r.Options, &e); err != nil {
		return "", err
	}
	if err := ep.bind(ctx, n, e); err != nil {
		return "", err
	}
	failpoint.Reach("endpoint: bound")
	if err := ep.Memory.KnownPut(e); err != nil {
		return "", errors.Join(err, ep.Addresses.Unbind(ctx, e.ID))
	}
	return mac, nil
}

// wants notes the addresses that an endpoint is to have besides, and refuses what
// none can have, whoever has it now. One that it was given anyway needs no wish.
func (ep *Endpoints) wants(ctx context.Context, n journal.Network, o option.EndpointOptions, e *journal.Endpoint) error {
	if len(o.Fixed) > 0 && n.Foreign {
		return fmt.Errorf("%w: driver-opt %s on network %s: its addresses come from another IPAM driver: leave it out, or make the network with --ipam-driver %s", option.ErrInvalid, option.KeyFixed, n.Title(), ep.Cfg.Name)
	}
	for _, addr := range o.Fixed {
		if slices.Contains(e.Addresses(), addr) {
			continue
		}
		p, err := ep.Addresses.CheckFixed(ctx, n.ID, addr)
		if err != nil {
			return fmt.Errorf("%w: driver-opt %s=%s on network %s: %w", option.ErrInvalid, option.KeyFixed, addr, n.Title(), err)
		}
		e.Wants = append(e.Wants, p)
	}
	e.Failover = o.Failover
	return nil
}

// bind makes the endpoint the holder of its addresses, in the store.
func (ep *Endpoints) bind(ctx context.Context, n journal.Network, e journal.Endpoint) error {
	if n.Foreign {
		return nil
	}
	return ep.Addresses.Bind(ctx, ipam.Binding{
		Network: n.ID, Endpoint: e.ID, Addresses: e.Addresses(), Record: ep.Record(n, e),
	})
}

// Record is what the store says of an endpoint.
func (ep *Endpoints) Record(n journal.Network, e journal.Endpoint) store.Endpoint {
	return store.Endpoint{
		Endpoint: e.ID, Node: ep.Self.Node(), Network: n.UUID, Name: n.Name, Segment: n.Segment,
		IPv4: PrefixText(e.IPv4), IPv6: PrefixText(e.IPv6), MAC: e.MAC,
		Link: e.Link, Parent: e.Parent, Sandbox: e.Sandbox, Since: e.Since / 1000, Container: e.Container,
		Wants: fixed.Wanted(e), Fixed: fixed.Held(ep.Memory, e), Failover: int64(e.Failover / time.Second),
	}
}

// PrefixText writes a prefix; the zero one is "".
func PrefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// EndpointInfo is what `docker network inspect` could be told; Docker asks
// it often.
func (ep *Endpoints) EndpointInfo(id string) map[string]string {
	e, ok := ep.Memory.Endpoint(id)
	if !ok {
		return map[string]string{}
	}
	info := map[string]string{}
	for key, value := range map[string]string{"gvlan.parent": e.Parent, "gvlan.link": e.Link} {
		if value != "" {
			info[key] = value
		}
	}
	return info
}

// DeleteEndpoint forgets an endpoint; the release of its addresses follows
// from Docker. Unknown endpoints are success: Docker drops its own whatever
// is answered. The addresses of one may be known nevertheless: the store told
// of them, and a power cut took the rest.
func (ep *Endpoints) DeleteEndpoint(ctx context.Context, id string) error {
	e, ok := ep.Memory.Endpoint(id)
	if !ok {
		return ep.Addresses.Unbind(ctx, id)
	}
	return ep.forgetEndpoint(ctx, e)
}

// forgetEndpoint takes down the link, lets go of the addresses and clears the
// journal, in that order: whatever dies in between is found by reconcile.
func (ep *Endpoints) forgetEndpoint(ctx context.Context, e journal.Endpoint) error {
	ep.fixed.End(e.ID)
	ep.sandboxes.dropSandbox(e)
	if e.Link != "" {
		if err := ep.Cfg.Links.Remove(ctx, e.Link); err != nil {
			ep.Log.Error("a container's link cannot be removed: swept later", "link", e.Link, "endpoint", visible.ID(e.ID), "err", err)
		}
	}
	if e.Container.Name != "" {
		ep.Addresses.Ended(e.Network, e.Container.Name)
	}
	if err := ep.Addresses.Unbind(ctx, e.ID); err != nil {
		return err
	}
	if err := ep.keepMAC(e); err != nil {
		return err
	}
	if err := ep.Memory.KnownDrop(journal.Endpoint{ID: e.ID}); err != nil {
		return err
	}
	ep.Poke()
	return nil
}

// Join makes the endpoint's link on the parent that is right now.
func (ep *Endpoints) Join(ctx context.Context, endpoint, sandbox string) (plugin.Attachment, error) {
	e, ok := ep.Memory.Endpoint(endpoint)
	if !ok {
		return plugin.Attachment{}, fmt.Errorf("%w: %s", ErrUnknownEndpoint, visible.ID(endpoint))
	}
	n, ok := ep.Memory.Network(e.Network)
	if !ok {
		return plugin.Attachment{}, fmt.Errorf("%w: %s", ErrUnknownNetwork, visible.ID(e.Network))
	}
	on, err := ep.Parents.For(ctx, n, e)
	if err != nil {
		return plugin.Attachment{}, err
	}
	if err := ep.Parents.Judge(n, on.Name, e.ID); err != nil {
		return plugin.Attachment{}, err
	}
	if err := ep.judgeMAC(ctx, n, e, on.Name); err != nil {
		return plugin.Attachment{}, err
	}
	e.Parent, e.Chosen, e.Sandbox, e.Link = on.Name, on.Chosen, sandbox, link.EndpointName(e.ID)
	if err := ep.Parents.JudgeElsewhere(ctx, n, e); err != nil {
		return plugin.Attachment{}, err
	}
	at := attachment(n, e)
	at.Routes, e.Unheeded = ep.free(routes(n, e), e)
	if err := ep.makeLink(ctx, n, e); err != nil {
		return plugin.Attachment{}, err
	}
	if err := ep.joined(n, e); err != nil {
		return plugin.Attachment{}, errors.Join(err, ep.Cfg.Links.Remove(ctx, e.Link))
	}
	return at, nil
}

// makeLink makes the container's link. A stale one of a dead endpoint with
// the same MAC would keep it from coming up, so that goes first.
func (ep *Endpoints) makeLink(ctx context.Context, n journal.Network, e journal.Endpoint) error {
	spec := parent.LinkSpec(n, e)
	if n.Options.Kind == link.Macvlan {
		mac, err := net.ParseMAC(e.MAC)
		if err != nil {
			return fmt.Errorf("%w: %q of endpoint %s", option.ErrMAC, e.MAC, visible.ID(e.ID))
		}
		spec.MAC = mac
	}
	for _, addr := range e.Addresses() {
		if _, err := ep.Cfg.Links.RemoveStale(ctx, e.Parent, spec.MAC, addr, ep.lives(e.ID)); err != nil {
			return fmt.Errorf("clear the way for a container on network %s: %w", n.Title(), err)
		}
	}
	if _, err := ep.Cfg.Links.Ensure(ctx, spec); err != nil {
		return fmt.Errorf("attach a container to network %s on node %s: %w", n.Title(), ep.Cfg.Host(), err)
	}
	return nil
}

// lives reports of an owner of a link whether it is an endpoint of this host
// other than self.
func (ep *Endpoints) lives(self string) func(name, owner string) bool {
	return func(_, owner string) bool {
		_, known := ep.Memory.Endpoint(owner)
		return known && owner != self
	}
}

// Adopted has the fixed addresses of endpoints looked after that were taken back.
func (ep *Endpoints) Adopted() { ep.fixed.Adopted() }

// joined journals the endpoint's place and opens its sandbox for names.
func (ep *Endpoints) joined(n journal.Network, e journal.Endpoint) error {
	if _, err := ep.Memory.KnownEndpoint(e.ID, func(have *journal.Endpoint) { *have = e }); err != nil {
		return err
	}
	ep.sandboxes.OpenSandbox(n, e)
	ep.sandboxes.Announcer.joined(e)
	ep.fixed.Joined(e.ID)
	ep.Poke()
	return nil
}

// attachment is what Docker is told of a joined endpoint.
func attachment(n journal.Network, e journal.Endpoint) plugin.Attachment {
	at := plugin.Attachment{Link: e.Link, Name: e.IfName, Prefix: n.Options.IfPrefix, Gateway4: n.GatewayFor(e.IPv4), Gateway6: n.GatewayFor(e.IPv6)}
	if n.Options.Layer3() {
		at.Connected = layer3Routes(n, e)
	}
	return at
}

// routes are those of a network's options that an endpoint can have: a router
// of another of its subnets is not on the endpoint's link, and Docker refuses
// a container such a route.
func routes(n journal.Network, e journal.Endpoint) []option.Route {
	var all []option.Route
	for _, r := range n.Options.Routes {
		for _, addr := range []netip.Prefix{e.IPv4, e.IPv6} {
			if addr.IsValid() && addr.Addr().Is4() == r.To.Addr().Is4() && (!r.Via.IsValid() || addr.Masked().Contains(r.Via)) {
				all = append(all, r)
			}
		}
	}
	return all
}

// free returns the routes that no other network of ours leads to in the same
// container, and what is told of the others beside what has no effect already:
// Docker would refuse the container a second route to one subnet.
func (ep *Endpoints) free(all []option.Route, e journal.Endpoint) (left []option.Route, unheeded []string) {
	unheeded = slices.Clone(e.Unheeded)
	for _, r := range all {
		if other, taken := ep.leads(r.To, e); taken {
			unheeded = append(unheeded, option.RouteUnheeded(r, other.Title()))
			continue
		}
		left = append(left, r)
	}
	return left, unheeded
}

// leads finds another network of the endpoint's container with a route to a
// subnet, or with the subnet itself.
func (ep *Endpoints) leads(to netip.Prefix, e journal.Endpoint) (journal.Network, bool) {
	for _, other := range ep.Memory.Endpoints() {
		if other.ID == e.ID || other.Sandbox == "" || other.Sandbox != e.Sandbox {
			continue
		}
		n, known := ep.Memory.Network(other.Network)
		has := func(r option.Route) bool { return r.To == to }
		if known && (to == other.IPv4.Masked() || to == other.IPv6.Masked() || slices.ContainsFunc(routes(n, other), has)) {
			return n, true
		}
	}
	return journal.Network{}, false
}

// layer3Routes are the routes by device of an L3 endpoint: the default ones
// or, where nothing leads out, those to the network's other subnets.
func layer3Routes(n journal.Network, e journal.Endpoint) []netip.Prefix {
	var routes []netip.Prefix
	for _, addr := range e.Addresses() {
		if !n.Isolated() {
			everywhere, _ := addr.Prefix(0)
			routes = append(routes, everywhere)
			continue
		}
		for _, pool := range n.Pools {
			if pool.Subnet.Addr().Is4() == addr.Is4() && !pool.Subnet.Contains(addr) {
				routes = append(routes, pool.Subnet)
			}
		}
	}
	return routes
}

// Leave notes that the container left; Docker moves the link back to the
// host's namespace after it and then deletes the endpoint.
func (ep *Endpoints) Leave(_ context.Context, endpoint string) error {
	e, ok := ep.Memory.Endpoint(endpoint)
	if !ok {
		return nil
	}
	ep.fixed.End(e.ID)
	ep.sandboxes.dropSandbox(e)
	_, err := ep.Memory.KnownEndpoint(endpoint, func(e *journal.Endpoint) { e.Sandbox = "" })
	return err
}

// endpointMAC returns the endpoint's MAC and what Docker is answered: only a
// MAC it did not send, and never one for ipvlan, whose links share their
// parent's.
func (ep *Endpoints) endpointMAC(n journal.Network, r plugin.NewEndpoint) (has, answer string, err error) {
	if n.Options.Kind == link.Ipvlan {
		if r.MAC != "" {
			return "", "", fmt.Errorf("%w: %s on network %s: ipvlan links share their parent's MAC address, leave --mac-address out", option.ErrMAC, r.MAC, n.Title())
		}
		return "", "", nil
	}
	given := ""
	if r.MAC != "" {
		hw, err := option.ParseMAC(r.MAC)
		if err != nil {
			return "", "", err
		}
		given = hw.String()
	}
	reserved, err := ep.reservedMAC(n, r, given)
	switch {
	case err != nil:
		return "", "", err
	case given != "":
		return given, "", nil
	case reserved != "":
		return reserved, reserved, nil
	}
	addr := r.IPv4
	if !addr.IsValid() {
		addr = r.IPv6
	}
	hw := ipam.PrefixedMAC(n.Options.MACPrefixBytes(), ep.Self.Cluster(), n.Segment, addr.Addr()).String()
	return hw, hw, nil
}

// reservedMAC is the MAC that is reserved with the endpoint's address, "" for none.
// One that its user gave beside it contradicts what an operator said, and so does
// one that goes with another address.
func (ep *Endpoints) reservedMAC(n journal.Network, r plugin.NewEndpoint, given string) (mac string, err error) {
	for _, addr := range (journal.Endpoint{IPv4: r.IPv4, IPv6: r.IPv6}).Addresses() {
		kept, found := ep.Addresses.Reserved(pool.At(n.Segment, addr))
		if found && mac == "" {
			mac = kept.MAC
		}
		if found && kept.MAC != "" && given != "" && kept.MAC != given {
			return "", fmt.Errorf("%w: --mac-address %s: address %s is %s with MAC address %s: leave --mac-address out, or give that one", option.ErrMAC, given, addr, kept, kept.MAC)
		}
	}
	if kept, found := ep.Addresses.ReservedMAC(n.Segment, given); found && given != "" && mac != given {
		return "", fmt.Errorf("%w: --mac-address %s goes with address %s, which is %s: give another one, or none", option.ErrMAC, given, kept.At.Addr, kept)
	}
	return mac, nil
}

// judgeMAC refuses a MAC that the kernel would not bring up on a parent, for
// which Docker has no better words than "address already in use": the parent's
// own, and one that a link there has, whatever network and segment that is of.
func (ep *Endpoints) judgeMAC(ctx context.Context, n journal.Network, e journal.Endpoint, parent string) error {
	if n.Options.Kind != link.Macvlan || n.Options.Mode == link.Passthru {
		return nil
	}
	for _, other := range ep.Memory.Endpoints() {
		if other.ID == e.ID || other.MAC != e.MAC || other.Parent != parent || other.Link == "" {
			continue
		}
		holder := "endpoint " + visible.ID(other.ID)
		if other.Container.Name != "" {
			holder = "container " + other.Container.Name
		}
		return fmt.Errorf("%w: %s is in use by %s on %s of node %s: give another --mac-address, or none", ipam.ErrMACTaken, e.MAC, holder, parent, ep.Cfg.Host())
	}
	on, err := ep.Cfg.Links.Read(ctx, parent)
	if errors.Is(err, link.ErrNotFound) {
		return nil // making the link says it better
	}
	if err != nil {
		return fmt.Errorf("read the MAC address of %s on node %s: %w", parent, ep.Cfg.Host(), err)
	}
	if on.MAC.String() == e.MAC {
		return fmt.Errorf("%w: %s is that of %s itself on node %s: give another --mac-address, or none", ipam.ErrMACTaken, e.MAC, parent, ep.Cfg.Host())
	}
	return nil
}

// keepMAC remembers the MAC that a container asked for, while it is stopped.
func (ep *Endpoints) keepMAC(e journal.Endpoint) error {
	n, ok := ep.Memory.Network(e.Network)
	if !ok || !e.MACAsked || e.Container.ID == "" || n.MACs[e.Container.ID] == e.MAC {
		return nil
	}
	return ep.Memory.ChangeNetwork(n.ID, func(n *journal.Network) {
		macs := map[string]string{e.Container.ID: e.MAC}
		for id, mac := range n.MACs {
			if id != e.Container.ID {
				macs[id] = mac
			}
		}
		n.MACs = macs
	})
}

// ForgetMACs drops those of containers that are no more.
func (ep *Endpoints) ForgetMACs(containers []engine.Container) error {
	for _, n := range ep.Memory.Networks() {
		gone := func(id, _ string) bool {
			return !slices.ContainsFunc(containers, func(c engine.Container) bool { return c.ID == id })
		}
		kept := maps.Clone(n.MACs)
		maps.DeleteFunc(kept, gone)
		if len(kept) == len(n.MACs) {
			continue
		}
		err := ep.Memory.ChangeNetwork(n.ID, func(n *journal.Network) {
			n.MACs = maps.Clone(n.MACs)
			maps.DeleteFunc(n.MACs, gone)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// AskedMAC is the MAC that a stopped container asked for on a network, as the
// engine tells it, or as it was when the container last ran; nil for none.
func AskedMAC(container string, a engine.Attachment, n journal.Network) net.HardwareAddr {
	if len(a.Settings.MAC) > 0 {
		return a.Settings.MAC
	}
	mac, err := net.ParseMAC(n.MACs[container])
	if err != nil {
		return nil
	}
	return mac
}

// ErrNameLost: the network's name belongs to another definition, and no
// container ran on the network before that was known.
var ErrNameLost = errors.New("network is not the cluster's")

// refuseLost refuses a container on a network that lost its name.
func (ep *Endpoints) refuseLost(n journal.Network) error {
	if !n.NameLost {
		return nil
	}
	return fmt.Errorf("%w: network %s on node %s: %s: remove its containers and the network here, and the cluster's comes in its place; or make it with the settings that `gvlan network inspect %s` shows, or under another name",
		ErrNameLost, n.Title(), ep.Cfg.Host(), n.Why, n.Title())
}

// CloseEndpoint forgets an endpoint and gives its addresses back.
func (ep *Endpoints) CloseEndpoint(ctx context.Context, e journal.Endpoint) error {
	if err := ep.forgetEndpoint(ctx, e); err != nil {
		return err
	}
	return ep.Addresses.Free(ctx, e.ID)
}

// Answering asks the LANs for the addresses that endpoints found dead have in
// the store, and returns by endpoint those that answer. A host that was copied
// finds all of the elder's endpoints dead, while the elder runs on without the
// store. Where nobody can be asked, nobody answers.
func (ep *Endpoints) Answering(ctx context.Context, dead []string) (map[string][]netip.Addr, error) {
	if len(dead) == 0 {
		return nil, nil
	}
	bound := ep.Addresses.Bound()
	for _, c := range ep.Addresses.Conflicts() { // that those answer is known
		bound[c.Endpoint] = slices.DeleteFunc(bound[c.Endpoint], func(at pool.Place) bool { return at == pool.At(c.Segment, c.Address) })
	}
	networks := ep.Memory.Networks()
	ask := map[string][]netip.Addr{} // by network
	for _, id := range dead {
		for _, at := range bound[id] {
			on := slices.IndexFunc(networks, func(n journal.Network) bool { return answersFor(n, at) })
			if on >= 0 {
				ask[networks[on].ID] = append(ask[networks[on].ID], at.Addr)
			}
		}
	}
	heard := ep.heardOn(ctx, ask)
	answering := map[string][]netip.Addr{}
	for _, id := range dead {
		for _, at := range bound[id] {
			if heard[at] {
				answering[id] = append(answering[id], at.Addr)
			}
		}
	}
	return answering, ctx.Err()
}

// answersFor reports whether whoever has an address can be heard on the LAN of a
// network.
func answersFor(n journal.Network, at pool.Place) bool {
	return n.Segment == at.Segment && n.Stage != journal.StageGone && !n.Removing && !n.Isolated() && !n.Options.Layer3() &&
		slices.ContainsFunc(n.Pools, func(p store.Pool) bool { return p.Subnet.Contains(at.Addr) })
}

// heardOn asks for addresses on the LANs of their networks, all at once, and
// returns the places that answer.
func (ep *Endpoints) heardOn(ctx context.Context, ask map[string][]netip.Addr) map[pool.Place]bool {
	var mu sync.Mutex
	heard := map[pool.Place]bool{}
	var asking sync.WaitGroup
	for network, addrs := range ask {
		asking.Go(func() {
			n, _ := ep.Memory.Network(network)
			found, err := ep.sandboxes.Ask(ctx, network, addrs)
			if err != nil && ctx.Err() == nil {
				ep.Log.Warn("dead endpoints are freed without asking the LAN first", "network", n.Title(), "err", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, addr := range found {
				heard[pool.At(n.Segment, addr)] = true
			}
		})
	}
	asking.Wait()
	return heard
}

// DeadAfter is how old an endpoint must be before an address request may
// find it dead by itself.
const DeadAfter = time.Minute

// CloseDead closes an endpoint whose address is asked for again, if it is
// provably dead: old enough, and no process in its sandbox any more. It asks
// the kernel only: it runs within a handler.
func (ep *Endpoints) CloseDead(ctx context.Context, endpoint string) (bool, error) {
	e, ok := ep.Memory.Endpoint(endpoint)
	if !ok {
		return false, nil
	}
	if ep.age(e) < DeadAfter || ep.SandboxLives(e) {
		return false, nil
	}
	return true, ep.CloseEndpoint(ctx, e)
}

// age is how old an endpoint is. One that is being made has no sandbox yet: a
// clock that is set forward must not make it look dead.
func (ep *Endpoints) age(e journal.Endpoint) time.Duration {
	if !e.Born.IsZero() {
		return ep.Now().Sub(e.Born)
	}
	return time.Duration(ep.Milliseconds()-e.Since) * time.Millisecond
}
