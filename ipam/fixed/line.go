package fixed

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// Line knows who wants which address and does not have it: their endpoints'
// records say so, and the order in which those came into being is the line's. It
// is fed by who follows the records of all endpoints, and is a hint: who is first
// tries at once, and the transaction decides.
type Line struct {
	mu      sync.Mutex
	waiting map[string]waiter // by the endpoint's key
	changed func(map[pool.Place]bool)
}

// NewLine is empty; changed is told of the addresses whose line is another one.
func NewLine(changed func(map[pool.Place]bool)) *Line {
	return &Line{waiting: map[string]waiter{}, changed: changed}
}

// waiter is an endpoint that wants addresses.
type waiter struct {
	since store.Revision // its record was made
	rec   store.Endpoint
}

// wanting is in every record of an endpoint that wants an address: there may be
// many others, which are not read.
const wanting = `"wants":`

// Apply takes what store.Follow reports for store.EndpointsSpan.
func (l *Line) Apply(c store.Change) {
	l.mu.Lock()
	moved := map[pool.Place]bool{}
	if c.Reset {
		for key := range l.waiting {
			l.drop(key, moved)
		}
	}
	for _, it := range c.Items {
		l.put(it, moved)
	}
	for _, ev := range c.Events {
		l.drop(ev.Item.Key, moved)
		if !ev.Deleted {
			l.put(ev.Item, moved)
		}
	}
	l.mu.Unlock()
	if len(moved) > 0 {
		l.changed(moved)
	}
}

func (l *Line) drop(key string, moved map[pool.Place]bool) {
	l.waiting[key].enter(moved)
	delete(l.waiting, key)
}

func (l *Line) put(it store.Item, moved map[pool.Place]bool) {
	if !bytes.Contains(it.Value, []byte(wanting)) {
		return
	}
	rec, err := store.Decode[store.Endpoint](it)
	if err != nil || len(rec.Wants) == 0 {
		return
	}
	l.waiting[it.Key] = waiter{it.Created, rec}
	l.waiting[it.Key].enter(moved)
}

// enter adds the addresses that it wants.
func (w waiter) enter(all map[pool.Place]bool) {
	for _, text := range w.rec.Wants {
		if p, err := netip.ParsePrefix(text); err == nil {
			all[pool.At(w.rec.Segment, p.Addr())] = true
		}
	}
}

// Waiter is an endpoint that wants an address which another one has.
type Waiter struct {
	Node, Endpoint, Container string
}

// Of lists who waits for an address, the first first.
func (l *Line) Of(at pool.Place) (all []Waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []waiter
	for _, w := range l.waiting {
		if w.rec.Segment == at.Segment && names(w.rec.Wants, at.Addr) && !names(w.rec.Fixed, at.Addr) {
			found = append(found, w)
		}
	}
	slices.SortFunc(found, func(a, b waiter) int {
		return cmp.Or(cmp.Compare(a.since, b.since), strings.Compare(a.rec.Endpoint, b.rec.Endpoint))
	})
	for _, w := range found {
		all = append(all, Waiter{w.rec.Node, w.rec.Endpoint, w.rec.Container.Name})
	}
	return all
}

// names reports whether an address is among some, as a record has them.
func names(prefixes []string, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, isOf(addr))
}

// isOf reports whether a prefix, as a record has it, is that of an address.
func isOf(addr netip.Addr) func(string) bool {
	return func(text string) bool {
		p, err := netip.ParsePrefix(text)
		return err == nil && p.Addr() == addr
	}
}

// Ahead is how many wait before an endpoint, of those whose node is connected: the
// others cannot take what is free.
func (l *Line) Ahead(at pool.Place, endpoint string, connected func(node string) bool) int {
	n := 0
	for _, w := range l.Of(at) {
		if w.Endpoint == endpoint {
			break
		}
		if connected(w.Node) {
			n++
		}
	}
	return n
}
