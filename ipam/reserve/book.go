package reserve

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// Reservation is one, as it was read.
type Reservation struct {
	store.Reservation
	At       pool.Place
	Modified store.Revision
}

// String ends a sentence that an address begins: "reserved for container web on
// network lan (rack 4)".
func (r Reservation) String() string {
	words := "reserved"
	if r.For != "" {
		words += " for container " + r.For
	}
	words += " on network " + r.Name
	if r.Note != "" {
		words += " (" + r.Note + ")"
	}
	return words
}

// Names reports whether it is for a container by its name, or by that of its service.
func (r Reservation) Names(c store.Container) bool {
	return r.For != "" && (r.For == c.Name || r.For == c.Service())
}

// Refused is an address that is reserved for somebody else than asks.
type Refused struct{ Reservation }

// Error names the reservation, its note and how it ends.
func (e Refused) Error() string {
	return fmt.Sprintf("address %s is %s: give another one, or end that (gvlan unreserve %s %s)", e.At.Addr, e.Reservation, e.Name, e.At.Addr)
}

// Asker is who asks for an address, as far as the engine tells.
type Asker struct {
	Name string // of the container; "" of an engine before 29
	// Idle are the containers of this host that may be the one that asks, where none
	// is named.
	Idle []string
	// Anyone: it is not known which those are. The host is coming up, and what the
	// engine starts then was started before.
	Anyone bool
}

// May reports whether a reserved address is given to who asks for it by itself.
// Where the engine does not say who that is, it is whoever may be.
func (a Asker) May(r store.Reservation) bool {
	if a.Name != "" {
		return r.For == a.Name
	}
	return r.For != "" && (a.Anyone || slices.Contains(a.Idle, r.For))
}

// Is is the name of who asks, where it is certain; else "".
func (a Asker) Is() string {
	if a.Name == "" && len(a.Idle) == 1 && !a.Anyone {
		return a.Idle[0]
	}
	return a.Name
}

// Book is what an agent knows of all reservations: like every mirror it may lag,
// and a transaction compares what it goes by. Its zero value is empty.
type Book struct {
	mu     sync.Mutex
	listed bool
	all    map[pool.Place]Reservation
	sets   map[string]*addrset.Set // by segment; a set is replaced, never changed
	named  map[string]int          // by segment, how many are for a container
	rev    store.Revision          // all is true of
	news   chan struct{}           // closed at the next change; nil: nobody waits
}

// Apply takes what store.Follow reports for store.ReservationsSpan. What cannot be
// read is reserved for nobody.
func (b *Book) Apply(c store.Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apply(c)
}

// Begin is Apply of a list that was read apart, where nothing was reported yet: what
// follows the span may be ahead of it.
func (b *Book) Begin(items []store.Item, at store.Revision) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.listed {
		b.apply(store.Change{Reset: true, Items: items, Revision: at})
	}
}

func (b *Book) apply(c store.Change) {
	if c.Reset {
		b.all, b.listed = map[pool.Place]Reservation{}, true
	}
	for _, it := range c.Items {
		b.put(it)
	}
	for _, e := range c.Events {
		if !e.Deleted {
			b.put(e.Item)
		} else if segment, addr, err := store.ReservationOf(e.Item.Key); err == nil {
			delete(b.all, pool.At(segment, addr))
		}
	}
	if c.Reset || len(c.Events) > 0 {
		b.index()
	}
	b.rev = c.Revision
	if b.news != nil {
		close(b.news)
		b.news = nil
	}
}

// Await waits until the book shows what was written at a revision, or ctx ends.
func (b *Book) Await(ctx context.Context, written store.Revision) {
	for {
		b.mu.Lock()
		shown := b.rev >= written
		if b.news == nil {
			b.news = make(chan struct{})
		}
		news := b.news
		b.mu.Unlock()
		if shown {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
	}
}

// Listed reports whether all of them have been read once.
func (b *Book) Listed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.listed
}

func (b *Book) put(it store.Item) {
	if r, ok := Read(it); ok {
		b.all[r.At] = r
	}
}

// Read reads a record; ok is false for what is none.
func Read(it store.Item) (r Reservation, ok bool) {
	segment, addr, err := store.ReservationOf(it.Key)
	if err != nil || it.Created == 0 {
		return r, false
	}
	r.At, r.Modified = pool.At(segment, addr), it.Modified
	rec, err := store.Decode[store.Reservation](it)
	if err == nil {
		r.Reservation = rec
	}
	return r, true
}

// index makes what is asked often.
func (b *Book) index() {
	addrs := map[string][]netip.Addr{}
	b.sets, b.named = map[string]*addrset.Set{}, map[string]int{}
	for at, r := range b.all {
		addrs[at.Segment] = append(addrs[at.Segment], at.Addr)
		if r.For != "" {
			b.named[at.Segment]++
		}
	}
	for segment, some := range addrs {
		addrset.In(b.sets, segment).Fill(some)
	}
}

// In are the reserved addresses of a segment.
func (b *Book) In(segment string) *addrset.Set {
	b.mu.Lock()
	defer b.mu.Unlock()
	if set := b.sets[segment]; set != nil {
		return set
	}
	return &addrset.Set{}
}

// All are the reservations, in the order of their places' keys.
func (b *Book) All() (all []Reservation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.all {
		all = append(all, r)
	}
	slices.SortFunc(all, func(x, y Reservation) int { return strings.Compare(x.At.Key(), y.At.Key()) })
	return all
}

// Count is how many of a prefix's addresses are reserved, of those that count.
func (b *Book) Count(segment string, within netip.Prefix, counts func(netip.Addr) bool) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at := range b.all {
		if at.Segment == segment && within.Contains(at.Addr) && counts(at.Addr) {
			n++
		}
	}
	return n
}

// At is the reservation of an address.
func (b *Book) At(at pool.Place) (Reservation, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, found := b.all[at]
	return r, found
}

// HasNamed reports whether an address of a segment is reserved for a container.
func (b *Book) HasNamed(segment string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.named[segment] > 0
}

// For are the reservations of a segment for a container, the lowest first.
func (b *Book) For(segment, container string) (all []Reservation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if container == "" || b.named[segment] == 0 {
		return nil
	}
	for at, r := range b.all {
		if at.Segment == segment && r.For == container {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(x, y Reservation) int { return x.At.Addr.Compare(y.At.Addr) })
	return all
}

// WithMAC is the reservation of a segment that a hardware address goes with.
func (b *Book) WithMAC(segment, mac string) (r Reservation, found bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, one := range b.all {
		if at.Segment == segment && one.MAC != "" && one.MAC == mac {
			return one, true
		}
	}
	return r, false
}
