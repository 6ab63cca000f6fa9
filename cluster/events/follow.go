package events

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
)

// Follow tells of events as they come, until ctx ends or tell fails: this host's
// as soon as they are kept, whatever the store does, and those of other hosts as
// the store has them. With Since it begins with what came from then on; without it
// begins now. Limit means nothing.
func (r *Recorder) Follow(ctx context.Context, kv store.KV, f Filter, tell func([]Event) error) error {
	f.Limit = 0
	inbox := &inbox{arrived: make(chan struct{}, 1), unnamed: map[Event]bool{}}
	group, ctx := errgroup.WithContext(ctx)
	tail := &tail{ctx: ctx, kv: kv, filter: f, own: store.TrailSpan(r.node), seen: map[string]bool{}, put: inbox.put}
	before, end := r.subscribe(func(events []Event) { inbox.put(f.of(events)) })
	defer end()
	if !f.Since.IsZero() {
		tail.wanted = true
		if own := f.of(before); tail.read(own) != nil {
			inbox.put(own)
		}
	}
	group.Go(func() error { return store.FollowKeys(ctx, kv, store.TrailsSpan(), tail) })
	group.Go(func() error { return inbox.empty(ctx, tell) })
	return group.Wait()
}

// inboxSize is how many events a reader may be behind.
const inboxSize = 10000

// inbox holds events until a reader takes them, who may be slow.
type inbox struct {
	arrived chan struct{} // has one element while there are some

	mu      sync.Mutex
	events  []Event
	over    int
	unnamed map[Event]bool // given, and told without the container's name
}

func (b *inbox) put(events []Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range events {
		if b.wasTold(e) {
			continue
		}
		if len(b.events) >= inboxSize {
			b.over++
			continue
		}
		b.events = append(b.events, e)
	}
	if len(b.events) == 0 {
		return
	}
	select {
	case b.arrived <- struct{}{}:
	default:
	}
}

// wasTold reports whether an event is one that was put, which says only what its
// container is called besides. The caller holds mu.
func (b *inbox) wasTold(e Event) bool {
	if e.Kind != Given || e.Endpoint == "" {
		return false
	}
	nameless := e
	nameless.Container = ""
	if e.Container != "" {
		told := b.unnamed[nameless]
		delete(b.unnamed, nameless)
		return told
	}
	if len(b.unnamed) >= inboxSize {
		clear(b.unnamed)
	}
	b.unnamed[nameless] = true
	return false
}

// empty hands over what arrives until ctx ends or tell fails.
func (b *inbox) empty(ctx context.Context, tell func([]Event) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.arrived:
		}
		b.mu.Lock()
		events := b.events
		if b.over > 0 {
			events = append(events, Event{Time: time.Now(), Kind: LeftOut, Text: fmt.Sprintf("%d events: they came faster than they were read here", b.over)})
		}
		b.events, b.over = nil, 0
		b.mu.Unlock()
		if err := tell(completed(events)); err != nil {
			return err
		}
	}
}

// tail is what other hosts tell, from a listing on.
type tail struct {
	ctx    context.Context // of the one Follow that it is for
	kv     store.KV
	filter Filter
	own    store.Span // what this host tells, of which it hears directly
	put    func([]Event)

	wanted bool            // what a listing has and was not seen is news
	seen   map[string]bool // keys
	page   []string        // keys of the listing that is under way
}

var _ store.Following = (*tail)(nil)

// Begin implements store.Following.
func (t *tail) Begin() { t.page = nil }

// Page implements store.Following.
func (t *tail) Page(items []store.Item) {
	for _, it := range items {
		t.page = append(t.page, it.Key)
	}
}

// Apply implements store.Following.
func (t *tail) Apply(c store.Change) {
	if c.Reset {
		t.list()
	}
	for _, ev := range c.Events {
		switch {
		case ev.Deleted:
			delete(t.seen, ev.Item.Key)
		case t.isNews(ev.Item.Key):
			t.put(t.filter.of(eventsIn(ev.Item)))
		}
	}
}

// list takes over a listing.
func (t *tail) list() {
	if t.wanted && slices.ContainsFunc(t.page, func(key string) bool { return !t.seen[key] }) {
		_ = t.read(nil) // else at the next listing
	}
	was := t.seen
	t.seen = make(map[string]bool, len(t.page))
	for _, key := range t.page {
		if was[key] || !t.wanted {
			t.seen[key] = true
		}
	}
	t.wanted, t.page = true, nil
}

// read tells of all that was not seen, and of what comes with it.
func (t *tail) read(with []Event) error {
	all := newReading(t.filter)
	var keys []string
	_, err := t.kv.Scan(t.ctx, store.TrailsSpan(), store.Whole, func(items []store.Item) error {
		return all.page(slices.DeleteFunc(items, func(it store.Item) bool {
			keys = append(keys, it.Key)
			return t.seen[it.Key] || t.isOwn(it.Key)
		}))
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		t.seen[key] = true
	}
	all.endNode()
	all.place(with)
	t.put(all.end())
	return nil
}

// isNews reports, once, whether a record is one that nobody told of yet.
func (t *tail) isNews(key string) bool {
	was := t.seen[key]
	t.seen[key] = true
	return !was && !t.isOwn(key)
}

// isOwn reports whether a key is a record that this host wrote, not one of its
// end.
func (t *tail) isOwn(key string) bool {
	_, numbered := store.TrailNumber(key)
	return numbered && t.own.Contains(key)
}
