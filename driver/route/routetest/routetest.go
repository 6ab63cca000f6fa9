// Package routetest has a route.Kernel in memory for tests of who keeps routes, and
// the conformance table that keeps it honest: it runs against it and against the
// real one alike.
package routetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"gvlan/driver/route"
)

// Kernel is route.Kernel in memory. Its methods may be called concurrently.
type Kernel struct {
	mu        sync.Mutex
	links     func() []string
	addresses []route.Address
	ours      route.State
	others    []route.Route
	strict    map[string]bool
	watchers  map[int]func()
	next      int
}

// New has the links that a function tells; what leaves by one that went is gone.
func New(links func() []string) *Kernel {
	return &Kernel{links: links, strict: map[string]bool{}, watchers: map[int]func(){}}
}

// Links tells that links came or went.
func (k *Kernel) Links() { k.change(func() {}) }

// has reports whether a link is there. The caller holds the lock.
func (k *Kernel) has(link string) bool { return slices.Contains(k.links(), link) }

// prune drops what leaves by links that went. The caller holds the lock.
func (k *Kernel) prune() {
	k.ours.Routes = slices.DeleteFunc(k.ours.Routes, func(r route.Route) bool { return !k.has(r.Link) })
	k.ours.Neighbours = slices.DeleteFunc(k.ours.Neighbours, func(n route.Neighbour) bool { return !k.has(n.Link) })
}

// SetAddresses makes these the namespace's own.
func (k *Kernel) SetAddresses(all ...route.Address) {
	k.change(func() { k.addresses = all })
}

// Other adds a route that is not ours.
func (k *Kernel) Other(r route.Route) {
	k.change(func() { k.others = append(k.others, r) })
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
	k.change(func() { k.ours = route.State{} })
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

// Addresses is route.Kernel's.
func (k *Kernel) Addresses(context.Context) ([]route.Address, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.addresses), nil
}

// Ours is route.Kernel's.
func (k *Kernel) Ours(context.Context) (route.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.prune()
	s := route.State{Routes: slices.Clone(k.ours.Routes), Neighbours: slices.Clone(k.ours.Neighbours)}
	s.Sort()
	return s, nil
}

// errNoLink is the kernel's ENODEV.
var errNoLink = errors.New("no such device")

// Set is route.Kernel's.
func (k *Kernel) Set(_ context.Context, reach func(link string) bool, want route.State) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.prune()
	var kept route.State
	for _, r := range k.ours.Routes {
		if !reach(r.Link) || slices.Contains(want.Routes, r) {
			kept.Routes = append(kept.Routes, r)
		}
	}
	for _, n := range k.ours.Neighbours {
		if !reach(n.Link) {
			kept.Neighbours = append(kept.Neighbours, n)
		}
	}
	var failed []error
	for _, r := range want.Routes {
		if slices.Contains(kept.Routes, r) {
			continue
		}
		if err := k.refuses(r); err != nil {
			failed = append(failed, &route.Refused{To: r.Dst.Addr(), Err: fmt.Errorf("make route %s: %w", r, err)})
			continue
		}
		kept.Routes = append(kept.Routes, r)
	}
	for _, n := range want.Neighbours {
		if !k.has(n.Link) {
			failed = append(failed, &route.Refused{To: n.Address, Err: fmt.Errorf("make neighbour %s: %w", n, errNoLink)})
			continue
		}
		kept.Neighbours = append(kept.Neighbours, n)
	}
	k.ours = kept
	return errors.Join(failed...)
}

func (k *Kernel) refuses(r route.Route) error {
	if !k.has(r.Link) {
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
