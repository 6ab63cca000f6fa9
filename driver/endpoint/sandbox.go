package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/arp"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/trouble"
	"gvlan/driver/visible"
)

// Sandboxes is names and addresses inside the containers' namespaces.
type Sandboxes struct {
	*host.Host
	Announcer *announcer
	Lost      trouble.Findings // containers whose interface was removed
	heeding   heeding
}

// NewSandboxes has none yet.
func NewSandboxes(h *host.Host) *Sandboxes {
	return &Sandboxes{Host: h, Announcer: newAnnouncer(), heeding: heeding{wake: make(chan struct{}, 1), failing: map[string]unheeded{}}}
}

// OpenSandbox makes names answer in the endpoint's sandbox, before its first
// process runs on engines that have the namespace at Join (from 28), and has
// its interface heed router advertisements as the network says.
func (sb *Sandboxes) OpenSandbox(n journal.Network, e journal.Endpoint) {
	if heeds(n, e) {
		sb.heeding.add(e.ID)
	}
	if sb.Cfg.Resolvers == nil || n.Options.NoDNS || e.Sandbox == "" {
		return
	}
	if err := sb.Cfg.Resolvers.Attach(sb.Cfg.OnHost(e.Sandbox), e.ID, n.UUID); err != nil {
		sb.Log.Debug("names are not answered inside a container", "endpoint", visible.ID(e.ID), "err", err)
	}
}

// dropSandbox ends that.
func (sb *Sandboxes) dropSandbox(e journal.Endpoint) {
	if sb.Cfg.Resolvers != nil {
		sb.Cfg.Resolvers.Detach(e.ID)
	}
}

// ReopenSandboxes gives every running container its names again after a
// restart of the agent.
func (sb *Sandboxes) ReopenSandboxes(context.Context) error {
	for _, e := range sb.Memory.Endpoints() {
		if n, ok := sb.Memory.Network(e.Network); ok {
			sb.OpenSandbox(n, e)
		}
	}
	return nil
}

// RenameSandboxes moves a network's sandboxes to the definition it was bound
// to.
func (sb *Sandboxes) RenameSandboxes(n journal.Network) {
	for _, e := range sb.Memory.EndpointsOf(n.ID) {
		sb.dropSandbox(e)
		sb.OpenSandbox(n, e)
	}
}

// Engines from API 1.48 (Docker 28.0) announce a container's IPv6 addresses
// themselves, three times, a second apart. Their ARP says 0.0.0.0 for every
// address that a plugin gave (libnetwork copies the first four of the sixteen
// bytes it holds; seen of 28.5.2), so the driver does the same for IPv4 on
// every engine, and for IPv6 on the older ones.
const (
	announceTimes = 3
	announceEvery = time.Second
	// announcePatience bounds the wait for Docker to bring the link up: a busy
	// host was seen to take more than half a minute.
	announcePatience = 3 * time.Minute
	selfAnnouncing   = 48 // minor version of API 1
)

// announcer tells the LAN where addresses are.
type announcer struct {
	mu      sync.Mutex
	v6      bool // the engine is known to leave IPv6 to the driver
	pending chan journal.Endpoint
}

// newAnnouncer knows nothing of the engine yet.
func newAnnouncer() *announcer {
	return &announcer{pending: make(chan journal.Endpoint, 256)}
}

// Learn takes the engine's API version over.
func (a *announcer) Learn(api string) {
	_, minor, _ := strings.Cut(api, ".")
	n, err := strconv.Atoi(minor)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.v6 = err == nil && n < selfAnnouncing
}

// Left returns which addresses the engine leaves to the driver to announce.
func (a *announcer) Left(all []netip.Addr) []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(all, func(addr netip.Addr) bool { return addr.Is6() && !a.v6 })
}

// joined queues an endpoint; a full queue drops it, since an announcement is
// a courtesy to caches.
func (a *announcer) joined(e journal.Endpoint) {
	select {
	case a.pending <- e:
	default:
	}
}

// AnnounceJoined announces queued endpoints until ctx ends.
func (sb *Sandboxes) AnnounceJoined(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-sb.Announcer.pending:
			running.Go(func() { sb.announce(ctx, e) })
		}
	}
}

// announce waits until Docker brought the link up inside the sandbox, which
// older engines do after Join returned, and announces each address.
func (sb *Sandboxes) announce(ctx context.Context, e journal.Endpoint) {
	ctx, cancel := context.WithTimeout(ctx, announcePatience)
	defer cancel()
	var failed error
	addresses := sb.Announcer.Left(e.Addresses())
	if len(addresses) == 0 {
		return
	}
	sent := 0
	for sent < announceTimes {
		if now, known := sb.Memory.Endpoint(e.ID); !known || now.Sandbox != e.Sandbox {
			return
		}
		wait := announceEvery / 10
		failed = netns.Do(sb.Cfg.OnHost(e.Sandbox), func() error { return announceHere(addresses) })
		if failed == nil {
			sent++
			wait = announceEvery
		}
		if !store.Sleep(ctx, wait) {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) && failed != nil {
				sb.Log.Warn("a new address is not announced on the LAN: neighbors may use whom they knew until their caches expire", "endpoint", visible.ID(e.ID), "err", failed)
			}
			return
		}
	}
}

// announceHere announces addresses in the calling thread's namespace.
func announceHere(addresses []netip.Addr) error {
	for _, addr := range addresses {
		if err := link.AnnounceHere(addr); err != nil {
			return err
		}
	}
	return nil
}

// Silence takes down the link of an endpoint whose address somebody else has
// by right, inside its sandbox. The container runs on without it; a restart
// of the container asks for an address anew.
func (sb *Sandboxes) Silence(endpoint string, addr netip.Addr) error {
	e, ok := sb.Memory.Endpoint(endpoint)
	if !ok || e.Sandbox == "" {
		return nil
	}
	err := netns.Do(sb.Cfg.OnHost(e.Sandbox), func() error { return link.Silence(addr) })
	if err != nil {
		return fmt.Errorf("take down the link of %s: %w", addr, err)
	}
	return nil
}

// Called is what messages call an endpoint: its container where that is known.
func (sb *Sandboxes) Called(endpoint string) string {
	if e, ok := sb.Memory.Endpoint(endpoint); ok && e.Container.Name != "" {
		return "container " + e.Container.Name
	}
	return "endpoint " + visible.ID(endpoint)
}

// Who names a network and an endpoint's container, "" where this host does not
// know.
func (sb *Sandboxes) Who(network, endpoint string) (name, container string) {
	n, _ := sb.Memory.Network(network)
	e, _ := sb.Memory.Endpoint(endpoint)
	return n.Name, e.Container.Name
}

// errNoAnswers: what a routed network's containers have is silent on the LAN.
var errNoAnswers = errors.New("an l3 network's addresses answer nobody's ARP, whoever has them")

// Ask returns those of the addresses that answer on the LAN of a network, as
// asked at its parent on this host, which is made if need be. A network without
// a way out has none that could answer, and another driver's is not asked for.
func (sb *Sandboxes) Ask(ctx context.Context, network string, addrs []netip.Addr) ([]netip.Addr, error) {
	n, known := sb.Memory.Network(network)
	if !known || n.Isolated() {
		return nil, nil
	}
	if n.Options.Layer3() {
		return nil, fmt.Errorf("ask on the LAN of network %s: %w", n.Title(), errNoAnswers)
	}
	on, err := sb.Parents.Ensure(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("ask on the LAN of network %s: %w", n.Title(), err)
	}
	return sb.Cfg.AskLAN(ctx, on.Name, addrs)
}

// Answers asks on the LAN of a network who has these addresses, before one of them
// is given, and waits so long for answers. A network without a way out, an l3
// network and another driver's have no LAN that could answer.
func (sb *Sandboxes) Answers(ctx context.Context, network string, addrs []netip.Addr, patience time.Duration) (map[netip.Addr][]net.HardwareAddr, error) {
	n, known := sb.Memory.Network(network)
	if !known || n.Isolated() || n.Options.Layer3() || sb.Cfg.AnswersLAN == nil {
		return nil, nil
	}
	parent, err := sb.Parents.Standing(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("ask on the LAN of network %s: %w", n.Title(), err)
	}
	return sb.Cfg.AnswersLAN(ctx, parent, addrs, patience)
}

// OnLAN are the networks of this host that addresses are asked for on, by where
// they hang from now.
func (sb *Sandboxes) OnLAN(ctx context.Context) (all []arp.Network, err error) {
	pools := sb.Addresses.OnLAN()
	if len(pools) == 0 || sb.Cfg.AnswersLAN == nil {
		return nil, nil
	}
	have, err := sb.Parents.Inventory(ctx)
	if err != nil {
		return nil, err
	}
	for id, subnets := range pools {
		n, known := sb.Memory.Network(id)
		if !known || n.Isolated() || n.Options.Layer3() {
			continue
		}
		if parent, err := sb.Parents.StandingIn(have, n); err == nil { // else its parents are told of elsewhere
			all = append(all, arp.Network{ID: id, Parent: parent, Subnets: subnets})
		}
	}
	slices.SortFunc(all, func(a, b arp.Network) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}
