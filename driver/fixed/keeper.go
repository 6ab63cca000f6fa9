package fixed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"gvlan/cluster/store"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/visible"
	"gvlan/ipam/fixed"
	"gvlan/ipam/pool"
)

// Keeper keeps the fixed addresses of this host's endpoints.
type Keeper struct {
	*host.Host
	// Line knows who waits, on any host; whoever follows the records of all
	// endpoints feeds it.
	Line    *fixed.Line
	claims  fixed.Claims
	besides host.Besides
	publish func(ctx context.Context, endpoint string)
	wake    chan struct{}

	mu   sync.Mutex
	kept map[string]*endpoint // by id
	left map[string]bool      // by id: endpoints that are over, of which the memory may not know yet
}

// endpoint is one whose wishes are looked after.
type endpoint struct {
	wishes []*wish
	cancel context.CancelFunc
	done   chan struct{} // closed when nothing looks after them any more
}

// New looks after nothing yet. Publish writes the record of an endpoint whose
// addresses changed.
func New(h *host.Host, publish func(ctx context.Context, endpoint string)) *Keeper {
	k := &Keeper{
		Host: h, claims: h.Addresses.Fixed(), publish: publish, wake: make(chan struct{}, 1),
		kept: map[string]*endpoint{}, left: map[string]bool{},
	}
	if k.besides = h.Cfg.Besides; k.besides == nil {
		k.besides = kernel{}
	}
	k.Line = fixed.NewLine(k.pokeAt)
	return k
}

// KeepFixed looks after the wishes of endpoints until ctx ends.
func (k *Keeper) KeepFixed(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		for _, e := range k.Memory.Endpoints() {
			k.begin(ctx, e, &running)
		}
		k.tidy()
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		}
	}
}

// Joined has the wishes of an endpoint looked after, also of one that had left its
// container.
func (k *Keeper) Joined(id string) {
	k.mu.Lock()
	delete(k.left, id)
	k.mu.Unlock()
	k.Adopted()
}

// Adopted has the wishes of all endpoints looked after that there are by now.
func (k *Keeper) Adopted() { host.Tell(k.wake) }

// begin looks after an endpoint that is joined and wants something.
func (k *Keeper) begin(ctx context.Context, e journal.Endpoint, running *sync.WaitGroup) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, known := k.Memory.Network(e.Network)
	if len(e.Wants) == 0 || e.Sandbox == "" || k.kept[e.ID] != nil || k.left[e.ID] || !known {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	all := &endpoint{cancel: cancel, done: make(chan struct{})}
	for _, p := range e.Wants {
		all.wishes = append(all.wishes, k.newWish(n, e, p))
	}
	k.kept[e.ID] = all
	running.Go(func() {
		defer close(all.done)
		defer cancel()
		var each sync.WaitGroup
		for _, w := range all.wishes {
			each.Go(func() { w.keep(ctx) })
		}
		each.Wait()
	})
}

// End ends what is looked after of an endpoint: when it returns nothing takes an
// address for it, or gives it one. Whoever unbinds an endpoint does this first.
func (k *Keeper) End(id string) {
	k.mu.Lock()
	k.left[id] = true
	had := k.kept[id]
	delete(k.kept, id)
	k.mu.Unlock()
	if had != nil {
		had.cancel()
		<-had.done
	}
	host.Tell(k.wake)
}

// tidy forgets that endpoints are over that the memory does not know any more.
func (k *Keeper) tidy() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.left {
		if _, known := k.Memory.Endpoint(id); !known {
			delete(k.left, id)
		}
	}
}

// pokeAt has the wishes for some addresses looked at.
func (k *Keeper) pokeAt(places map[pool.Place]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.kept {
		for _, w := range e.wishes {
			if places[w.At] {
				host.Tell(w.poke)
			}
		}
	}
}

// wishOf is the wish of an endpoint for an address; nil for none that is looked
// after.
func (k *Keeper) wishOf(id string, addr netip.Addr) *wish {
	k.mu.Lock()
	defer k.mu.Unlock()
	if kept := k.kept[id]; kept != nil {
		for _, w := range kept.wishes {
			if w.At.Addr == addr {
				return w
			}
		}
	}
	return nil
}

// TakeOut takes an address out of an endpoint's sandbox: somebody else has it by
// right. The endpoint waits in line for it again.
func (k *Keeper) TakeOut(id string, addr netip.Addr) error {
	e, ok := k.Memory.Endpoint(id)
	if !ok || e.Sandbox == "" {
		return nil
	}
	n, _ := k.Memory.Network(e.Network)
	defer k.pokeAt(map[pool.Place]bool{pool.At(n.Segment, addr): true})
	if w := k.wishOf(id, addr); w != nil {
		w.inside.Lock()
		defer w.inside.Unlock()
	}
	if err := k.take(e, addr); err != nil {
		return fmt.Errorf("take %s out of %s: %w", addr, visible.ID(id), err)
	}
	return nil
}

// give puts an address into a sandbox, beside the one the endpoint was given.
func (k *Keeper) give(e journal.Endpoint, more netip.Prefix) (given bool, err error) {
	return k.besides.Give(k.Cfg.OnHost(e.Sandbox), besides(e, more.Addr()), more)
}

// besides is the address whose interface is to have another one: of the same
// family, if there is one.
func besides(e journal.Endpoint, more netip.Addr) netip.Addr {
	all := e.Addresses()
	for _, addr := range all {
		if addr.Is4() == more.Is4() {
			return addr
		}
	}
	if len(all) == 0 {
		return netip.Addr{}
	}
	return all[0]
}

// take takes an address out of a sandbox.
func (k *Keeper) take(e journal.Endpoint, addr netip.Addr) error {
	return k.besides.Take(k.Cfg.OnHost(e.Sandbox), addr)
}

// announce tells the LAN that an address is in a sandbox.
func (k *Keeper) announce(e journal.Endpoint, addr netip.Addr) error {
	return k.besides.Announce(k.Cfg.OnHost(e.Sandbox), addr)
}

// kernel is host.Besides in network namespaces.
type kernel struct{}

// Give implements host.Besides.
func (kernel) Give(sandbox string, beside netip.Addr, more netip.Prefix) (given bool, err error) {
	err = netns.Do(sandbox, func() error {
		given, err = link.GiveAddress(beside, more)
		return err
	})
	return given, err
}

// Take implements host.Besides.
func (kernel) Take(sandbox string, addr netip.Addr) error {
	if mounted, err := netns.IsMounted(sandbox); err == nil && !mounted {
		return nil
	}
	return netns.Do(sandbox, func() error { return link.TakeAddress(addr) })
}

// Announce implements host.Besides.
func (kernel) Announce(sandbox string, addr netip.Addr) error {
	return netns.Do(sandbox, func() error { return link.AnnounceHere(addr) })
}

// Waiting is an address that an endpoint of this host wants and does not have.
type Waiting struct {
	Network, Container, Endpoint string
	Address                      netip.Addr
	Why                          string // the end of a sentence: who has it
	Odd                          bool   // it is not another container of the kind, whose end is waited for
}

// Waiting lists them.
func (k *Keeper) Waiting() (all []Waiting) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, kept := range k.kept {
		e, _ := k.Memory.Endpoint(id)
		n, _ := k.Memory.Network(e.Network)
		for _, w := range kept.wishes {
			if why, odd := w.waitsFor(); why != "" {
				all = append(all, Waiting{Network: n.Title(), Container: e.Container.Name, Endpoint: id, Address: w.At.Addr, Why: why, Odd: odd})
			}
		}
	}
	slices.SortFunc(all, func(a, b Waiting) int {
		return cmp.Or(strings.Compare(a.Network, b.Network), a.Address.Compare(b.Address), strings.Compare(a.Endpoint, b.Endpoint))
	})
	return all
}

// Held are the fixed addresses that an endpoint of a host has, as its record has
// them.
func Held(m *journal.Memory, e journal.Endpoint) (all []string) {
	if len(e.Wants) == 0 {
		return nil
	}
	for _, l := range m.LeasesOf(e.ID, journal.Bound) {
		on := slices.IndexFunc(e.Wants, func(p netip.Prefix) bool { return p.Addr() == l.Address })
		if l.Kind == store.Service && on >= 0 {
			all = append(all, e.Wants[on].String())
		}
	}
	return all
}

// Wanted are the addresses that an endpoint wants, as its record has them.
func Wanted(e journal.Endpoint) (all []string) {
	for _, p := range e.Wants {
		all = append(all, p.String())
	}
	return all
}

// connected reports whether a node's agent is.
func (k *Keeper) connected(node string) bool {
	_, live := k.Tables.Live.Row(store.LiveKey(node))
	return live || node == k.Self.Node()
}

// hears reports whether anybody else on the LAN of a network answers this host:
// a gateway, or another host of the cluster but one. Where nobody does silence
// proves nothing, and this host may be the one that is cut off.
func (k *Keeper) hears(ctx context.Context, network, but string) (bool, error) {
	n, known := k.Memory.Network(network)
	if !known {
		return false, nil
	}
	var ask []netip.Addr
	for _, p := range n.Pools {
		if p.Gateway.IsValid() {
			ask = append(ask, p.Gateway)
		}
	}
	rows, _ := k.Tables.Nodes.Rows()
	for _, row := range rows {
		if row.Record.Node == but || row.Record.Node == k.Self.Node() || !k.connected(row.Record.Node) {
			continue
		}
		for addr := range row.Record.HostAddresses() {
			ask = append(ask, addr)
		}
	}
	if len(ask) == 0 {
		return false, nil
	}
	answering, err := k.claims.Ask(ctx, network, ask[:min(len(ask), mostAsked)])
	return len(answering) > 0, err
}

// mostAsked bounds whom one question is for: any answer will do.
const mostAsked = 64

var errNoLAN = errors.New("nobody else on that LAN answers this host")

// at is where a wish's address is.
func at(n journal.Network, p netip.Prefix) pool.Place { return pool.At(n.Segment, p.Addr()) }
