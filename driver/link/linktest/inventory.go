package linktest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"gvlan/driver/link"
)

// Read is link.Kernel's, for the host's own namespace.
func (k *Kernel) Read(ctx context.Context, name string) (link.Link, error) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if err := k.begin(ctx, "Read", name); err != nil {
		return link.Link{}, err
	}
	e, ok := k.host.at(name)
	if !ok {
		return link.Link{}, fmt.Errorf("find link %s: %w", name, link.ErrNotFound)
	}
	return k.describe(e), nil
}

// Owned is link.Kernel's, for the host's own namespace.
func (k *Kernel) Owned(ctx context.Context) ([]link.Link, error) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if err := k.begin(ctx, "Owned", ""); err != nil {
		return nil, err
	}
	return k.owned(), nil
}

func (k *Kernel) owned() []link.Link {
	var links []link.Link
	for _, e := range k.host.sorted() {
		if e.driver == k.driver && e.away == link.Current {
			links = append(links, k.describe(e))
		}
	}
	return links
}

func (k *Kernel) describe(e *entry) link.Link {
	l := link.Link{
		Spec:      k.spec(e),
		Index:     e.Index,
		Up:        e.Up,
		Owned:     e.driver == k.driver,
		Addresses: slices.Clone(e.Addresses),
	}
	if parent, ok := k.host.entries[e.Parent]; ok {
		l.ParentIndex = parent.Index
	}
	return l
}

func (k *Kernel) spec(e *entry) link.Spec {
	s := link.Spec{
		Name: e.Name, Kind: link.Kind(e.Kind), Mode: e.mode, Flag: e.flag,
		Parent: e.Parent, VLAN: e.VLAN, MAC: e.mac, MTU: e.MTU,
	}
	if e.driver == k.driver {
		s.Owner, s.Shim = e.owner, e.shim
	}
	return s
}

// Interfaces is link.Kernel's.
func (k *Kernel) Interfaces(ctx context.Context) ([]link.Interface, error) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if err := k.begin(ctx, "Interfaces", ""); err != nil {
		return nil, err
	}
	var all []link.Interface
	for _, e := range k.host.sorted() {
		if e.away == link.Current && !e.shim {
			all = append(all, e.Interface)
		}
	}
	slices.SortFunc(all, func(a, b link.Interface) int { return a.Index - b.Index })
	return all, nil
}

// InUse is link.Kernel's.
func (k *Kernel) InUse(ctx context.Context, parent string, elsewhere ...int) ([]link.Usage, error) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if err := k.begin(ctx, "InUse", parent); err != nil {
		return nil, err
	}
	if _, ok := k.host.at(parent); !ok {
		return nil, fmt.Errorf("find link %s: %w", parent, link.ErrNotFound)
	}
	use := k.usages(parent, link.Current)
	for _, fd := range elsewhere {
		use = append(use, k.usages(parent, fd)...)
	}
	return use, nil
}

func (k *Kernel) usages(parent string, fd int) []link.Usage {
	var use []link.Usage
	for _, e := range k.host.children(parent) {
		if e.away == fd && !(e.shim && e.driver == k.driver) && (e.Kind == string(link.Macvlan) || e.Kind == string(link.Ipvlan)) {
			use = append(use, k.usage(e, fd))
		}
	}
	return use
}

func (k *Kernel) usage(e *entry, fd int) link.Usage {
	u := link.Usage{Spec: k.spec(e), Owned: e.driver == k.driver, Namespace: fd}
	if fd != link.Current {
		u.Name = e.as
	}
	return u
}

// Remove is link.Kernel's.
func (k *Kernel) Remove(ctx context.Context, name string) error {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if err := k.begin(ctx, "Remove", name); err != nil {
		return err
	}
	e, ok := k.host.at(name)
	if !ok {
		return nil
	}
	if e.driver != k.driver {
		return fmt.Errorf("remove link %s: %w", name, link.ErrForeign)
	}
	for _, child := range k.host.children(name) {
		if child.away == link.Current && !(child.shim && child.driver == k.driver) {
			return fmt.Errorf("remove link %s: %s hangs from it: %w", name, child.Name, link.ErrInUse)
		}
	}
	k.host.drop(name)
	return nil
}

// RemoveStale is link.Kernel's, for the host's own namespace.
func (k *Kernel) RemoveStale(ctx context.Context, parent string, mac net.HardwareAddr, addr netip.Addr, live func(name, owner string) bool) ([]string, error) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if err := k.begin(ctx, "RemoveStale", parent); err != nil {
		return nil, err
	}
	var removed []string
	for _, l := range k.owned() {
		if forContainer(l.Spec) && !l.Shim && (parent == "" || l.Parent == parent) && holds(l, mac, addr) && !live(l.Name, l.Owner) {
			k.host.drop(l.Name)
			removed = append(removed, l.Name)
		}
	}
	return removed, nil
}

func holds(l link.Link, mac net.HardwareAddr, addr netip.Addr) bool {
	if l.Kind == link.Macvlan && len(mac) > 0 && bytes.Equal(l.MAC, mac) {
		return true
	}
	return addr.IsValid() && slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == addr })
}

// backlog is how many events a watcher may be behind before it has to look
// at everything anew.
const backlog = 64

// Watch is link.Kernel's.
func (k *Kernel) Watch(ctx context.Context, changed func(link.Event)) error {
	h := k.host
	events := make(chan link.Event, backlog)
	h.mu.Lock()
	h.next++
	id := h.next
	h.watchers[id] = events
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, id)
	}()
	changed(link.Event{Resync: true})
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event := <-events:
			changed(event)
		}
	}
}

func (h *host) tell(e *entry, gone bool) {
	event := link.Event{Name: e.Name, Index: e.Index, Up: e.Up, Gone: gone}
	for _, events := range h.watchers {
		select {
		case events <- event:
			continue
		default:
		}
		// Full: the oldest makes room for the news that something is lost.
		select {
		case <-events:
		default:
		}
		events <- link.Event{Resync: true}
	}
}
