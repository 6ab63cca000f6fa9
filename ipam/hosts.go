package ipam

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
)

// hosts are the addresses that the cluster's hosts have themselves. On the LAN
// they are taken whatever a pool says, so no network gives them: neither one
// of the cluster nor a local one, before its definition is committed as after.
type hosts struct {
	mu    sync.Mutex
	of    map[netip.Addr]string // host name by address
	set   *addrset.Set          // of the same addresses; replaced, never changed
	known bool                  // of has what the store said at some time
}

// KeepOut sets the addresses of hosts' own interfaces, each with its host's
// name. Where not all nodes' are among them yet, the next request reads the
// others'.
func (a *Allocator) KeepOut(of map[netip.Addr]string, all bool) {
	a.hosts.mu.Lock()
	defer a.hosts.mu.Unlock()
	a.hosts.known = all
	a.hosts.enter(of)
}

func (h *hosts) enter(of map[netip.Addr]string) {
	h.of, h.set = of, &addrset.Set{}
	for addr := range of {
		h.set.Add(addrset.Single(addr))
	}
}

// hostAddresses returns the addresses no container gets, after reading what
// nodes say of themselves where nobody told yet: the first request of an agent
// may come before its first look.
func (a *Allocator) hostAddresses(ctx context.Context) (*addrset.Set, error) {
	a.hosts.mu.Lock()
	set, known := a.hosts.set, a.hosts.known
	a.hosts.mu.Unlock()
	if known {
		return set, nil
	}
	items, _, err := a.list(ctx, store.NodesSpan())
	if err != nil {
		return nil, a.unanswered(err)
	}
	read := map[netip.Addr]string{}
	for _, it := range items {
		if node, err := store.Decode[store.Node](it); err == nil {
			maps.Copy(read, node.HostAddresses())
		}
	}
	a.hosts.mu.Lock()
	defer a.hosts.mu.Unlock()
	if !a.hosts.known {
		maps.Copy(read, a.hosts.of)
		a.hosts.enter(read)
		a.hosts.known = true // whoever follows the nodes tells the rest
	}
	return a.hosts.set, nil
}

// checkHosts refuses an explicit address that a host has itself. A store that
// does not answer says so when it is asked for the address itself.
func (a *Allocator) checkHosts(ctx context.Context, addr netip.Addr) error {
	_, _ = a.hostAddresses(ctx)
	a.hosts.mu.Lock()
	defer a.hosts.mu.Unlock()
	if host, has := a.hosts.of[addr]; has {
		return fmt.Errorf("address %s is host %s's own: give another one", addr, host)
	}
	return nil
}
