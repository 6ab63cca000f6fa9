// Package routetest has a route.Kernel in memory for tests of who keeps routes, and
// the conformance table that keeps it honest: it runs against it and against the
// real one alike.
package routetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"gvlan/driver/route"
)

// Kernel is route.Kernel in memory. Its methods may be called concurrently.
type Kernel struct {
	mu        sync.Mutex
	asked     int // for addresses
	links     func() []string
	addresses []route.Address
	routes    map[route.Route]bool // ours
	at        map[netip.Prefix]int // how many of them lead to a destination
	lost      map[netip.Prefix]bool
	holes     map[netip.Prefix]bool
	known     map[neighbourOf]route.Neighbour // ours
	others    []route.Route
	strict    map[string]bool
	watchers  map[int]func()
	next      int
}

type neighbourOf struct {
	link    string
	address netip.Addr
}

// New has the links that a function tells; what leaves by one that went is gone.
func New(links func() []string) *Kernel {
	return &Kernel{
		links: links, routes: map[route.Route]bool{}, at: map[netip.Prefix]int{}, lost: map[netip.Prefix]bool{}, holes: map[netip.Prefix]bool{},
		known: map[neighbourOf]route.Neighbour{}, strict: map[string]bool{}, watchers: map[int]func(){},
	}
}

// Links tells that links came or went.
func (k *Kernel) Links() { k.change(func() {}) }

// has reports whether a link is there. The caller holds the lock.
func (k *Kernel) has(link string) bool { return slices.Contains(k.links(), link) }

// prune drops what leaves by links that went. The caller holds the lock.
func (k *Kernel) prune() {
	links := k.links()
	for r := range k.routes {
		if !r.Unreachable && !slices.Contains(links, r.Link) {
			k.drop(r)
		}
	}
	maps.DeleteFunc(k.known, func(n neighbourOf, _ route.Neighbour) bool { return !slices.Contains(links, n.link) })
}

// add and drop keep count of what leads where. The caller holds the lock.
func (k *Kernel) add(r route.Route) {
	if k.routes[r] {
		return
	}
	k.routes[r] = true
	if r.Unreachable {
		return
	}
	k.at[r.Dst]++
	if r.Dst.IsSingleIP() {
		if k.lost[r.Dst] {
			k.holes[r.Dst] = true
			delete(k.lost, r.Dst)
		}
		return
	}
	for lost := range k.lost {
		if r.Dst.Overlaps(lost) && r.Dst.Bits() <= lost.Bits() {
			k.holes[lost] = true
			delete(k.lost, lost)
		}
	}
}

func (k *Kernel) drop(r route.Route) {
	if !k.routes[r] {
		return
	}
	delete(k.routes, r)
	if r.Unreachable {
		return
	}
	if k.at[r.Dst]--; k.at[r.Dst] == 0 {
		delete(k.at, r.Dst)
	}
	for bits := r.Dst.Bits(); bits >= 0; bits-- {
		wider, _ := r.Dst.Addr().Prefix(bits)
		if k.at[wider] > 0 {
			return
		}
	}
	k.lost[r.Dst] = true
}

// Holes are the destinations of ours that for some time nothing of ours led to, while
// something did before and after.
func (k *Kernel) Holes() []netip.Prefix {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(maps.Keys(k.holes), netip.Prefix.Compare)
}

// SetAddresses makes these the namespace's own.
func (k *Kernel) SetAddresses(all ...route.Address) {
	k.change(func() { k.addresses = all })
}

// Other adds a route that is not ours, until it is forgotten.
func (k *Kernel) Other(r route.Route) (forget func()) {
	k.change(func() { k.others = append(k.others, r) })
	return func() {
		k.change(func() { k.others = slices.DeleteFunc(k.others, func(o route.Route) bool { return o == r }) })
	}
}

// SetStrict makes a link drop what its answers would not leave by.
func (k *Kernel) SetStrict(link string, strict bool) {
	k.change(func() { k.strict[link] = strict })
}

// Strict is route.Kernel's.
func (k *Kernel) Strict(link string) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.strict[link], nil
}

// Lose drops every route and neighbour of ours, as somebody may.
func (k *Kernel) Lose() {
	k.change(func() {
		for r := range k.routes {
			k.drop(r)
		}
		clear(k.known)
	})
}

func (k *Kernel) change(f func()) {
	k.mu.Lock()
	f()
	var tell []func()
	for _, w := range k.watchers {
		tell = append(tell, w)
	}
	k.mu.Unlock()
	for _, w := range tell {
		w()
	}
}

// Asked is how often it was asked for the namespace's addresses: by every look at it.
func (k *Kernel) Asked() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}

// Addresses is route.Kernel's.
func (k *Kernel) Addresses(context.Context) ([]route.Address, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	return slices.Clone(k.addresses), nil
}

// Ours is route.Kernel's.
func (k *Kernel) Ours(context.Context) (route.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ours(func(string) bool { return true }), nil
}

// ours is what leaves by a link in reach. The caller holds the lock.
func (k *Kernel) ours(reach func(link string) bool) (s route.State) {
	k.prune()
	for r := range k.routes {
		if reach(r.Link) {
			s.Routes = append(s.Routes, r)
		}
	}
	for _, n := range k.known {
		if reach(n.Link) {
			s.Neighbours = append(s.Neighbours, n)
		}
	}
	s.Sort()
	return s
}

// errNoLink is the kernel's ENODEV.
var errNoLink = errors.New("no such device")

// Set is route.Kernel's.
func (k *Kernel) Set(_ context.Context, reach func(link string) bool, want route.State) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.apply(route.Between(k.ours(reach), want))
}

// Change is route.Kernel's.
func (k *Kernel) Change(_ context.Context, had, want route.State) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.prune()
	return k.apply(route.Between(had, want))
}

// apply makes changes. The caller holds the lock.
func (k *Kernel) apply(todo route.Changes) error {
	var failed []error
	for _, n := range todo.Know {
		if !k.has(n.Link) {
			failed = append(failed, &route.Refused{To: netip.PrefixFrom(n.Address, n.Address.BitLen()), Err: fmt.Errorf("make neighbour %s: %w", n, errNoLink)})
			continue
		}
		k.known[neighbourOf{n.Link, n.Address}] = n
	}
	put := func(r route.Route) {
		if err := k.refuses(r); err != nil {
			failed = append(failed, &route.Refused{To: r.Dst, Err: fmt.Errorf("make route %s: %w", r, err)})
			return
		}
		k.add(r)
	}
	for _, r := range todo.Make {
		put(r)
	}
	for _, m := range todo.Move {
		put(m.To)
		k.drop(m.From)
	}
	for _, r := range todo.Drop {
		k.drop(r)
	}
	for _, n := range todo.DropNeighbours {
		delete(k.known, neighbourOf{n.Link, n.Address})
	}
	return errors.Join(failed...)
}

func (k *Kernel) refuses(r route.Route) error {
	if !r.Unreachable && !k.has(r.Link) {
		return errNoLink
	}
	for _, other := range k.others {
		if other.Dst == r.Dst && other.Table == r.Table {
			return fmt.Errorf("%w: %s", route.ErrInTheWay, other)
		}
	}
	return nil
}

// Watched is by how many Watches it is now.
func (k *Kernel) Watched() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.watchers)
}

// Watch is route.Kernel's; it tells of every change a test makes.
func (k *Kernel) Watch(ctx context.Context, changed func()) error {
	k.mu.Lock()
	k.next++
	id := k.next
	k.watchers[id] = changed
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.watchers, id)
	}()
	changed()
	<-ctx.Done()
	return ctx.Err()
}
