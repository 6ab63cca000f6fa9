package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// Config is what a Recorder is made of. Every field is needed.
type Config struct {
	Node   string // this one's id
	Keeper Keeper // in this host's journal
	Now    func() time.Time
	Log    *slog.Logger
}

// Recorder is this host's Teller. What it is told it keeps for a moment, then in
// the host's journal, and brings it from there into the store, in batches: at
// once where the store answers, and when it comes back where it does not.
type Recorder struct {
	node string
	now  func() time.Time
	log  *slog.Logger
	ring *ring
	desk *desk
	wake chan struct{} // has one element while something waits to be written

	flushing sync.Mutex // held while events go from waiting to the ring; before mu

	mu      sync.Mutex
	waiting []Event               // told since the last batch
	names   map[string]*container // by endpoint
	missed  tally                 // that waiting had no room for
	readers map[int]func([]Event) // by number
	last    int                   // number of a reader
}

// container is what is known of an endpoint's.
type container struct {
	name      string
	addresses int // it was given and has not let go of, since the start
}

const (
	// flushEvery is how long what is told waits for more.
	flushEvery = 2 * time.Second
	// waitingSize is how many events may wait.
	waitingSize = 1000
	// namesSize bounds how many endpoints' containers are known.
	namesSize = 10000
	// lastWords is how long a Recorder that ends may take for the rest.
	lastWords = time.Second
)

// New reads what the agent before kept.
func New(c Config) (*Recorder, error) {
	ring, err := openRing(c.Node, c.Keeper)
	if err != nil {
		return nil, fmt.Errorf("open this host's events: %w", err)
	}
	hourly, err := openHourly(c.Keeper)
	if err != nil {
		return nil, fmt.Errorf("open this host's events: %w", err)
	}
	return &Recorder{
		node: c.Node, now: c.Now, log: c.Log, ring: ring,
		desk: &desk{node: c.Node, ring: ring, hourly: hourly, now: c.Now},
		wake: make(chan struct{}, 1), names: map[string]*container{}, readers: map[int]func([]Event){},
	}, nil
}

// Tell implements Teller.
func (r *Recorder) Tell(e Event) {
	if e.Time.IsZero() {
		e.Time = r.now()
	}
	if e.Node == "" {
		e.Node = r.node
	}
	e = e.trimmed()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case Named:
		r.name(e.Endpoint, e.Container)
		return
	case Given:
		r.known(e.Endpoint).addresses++
	case Released:
		e.Container = r.forget(e)
	default:
		if c, ok := r.names[e.Endpoint]; ok && e.Container == "" {
			e.Container = c.name
		}
	}
	r.enter(e)
}

// enter has an event wait. The caller holds mu.
func (r *Recorder) enter(e Event) {
	if len(r.waiting) == waitingSize {
		r.missed.add(1, e.Time)
		return
	}
	r.waiting = append(r.waiting, e)
	r.poke()
}

// poke has Run look at what waits.
func (r *Recorder) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// known returns what is known of an endpoint. The caller holds mu.
func (r *Recorder) known(endpoint string) *container {
	c, ok := r.names[endpoint]
	if !ok {
		if len(r.names) >= namesSize {
			clear(r.names) // events go without names for a while
		}
		c = &container{}
		r.names[endpoint] = c
	}
	return c
}

// name enters what an endpoint's container is called into what was told of it.
// The caller holds mu.
func (r *Recorder) name(endpoint, name string) {
	if endpoint == "" || name == "" {
		return
	}
	r.known(endpoint).name = name
	found := false
	for i, e := range r.waiting {
		if e.Kind == Given && e.Endpoint == endpoint {
			r.waiting[i].Container, found = name, true
		}
	}
	if found {
		return
	}
	for _, e := range r.ring.nameless(endpoint) {
		e.Container = name // the same once more, which completes it
		r.enter(e)
	}
}

// forget returns the name that a released address's container had. The caller
// holds mu.
func (r *Recorder) forget(e Event) string {
	name := e.Container
	if c, ok := r.names[e.Endpoint]; ok {
		if name == "" {
			name = c.name
		}
		if c.addresses--; c.addresses <= 0 {
			delete(r.names, e.Endpoint)
		}
	}
	if name != "" {
		return name
	}
	for _, o := range slices.Backward(r.waiting) { // its other address, which was released first
		if o.Endpoint == e.Endpoint && o.Container != "" {
			return o.Container
		}
	}
	return ""
}

// Run writes what is told until ctx ends, and then what is left of it, as far as
// the store takes it at once.
func (r *Recorder) Run(ctx context.Context, kv store.KV, from Granter) {
	told := "" // of the trouble there is
	for ctx.Err() == nil {
		if len(r.ring.unsent()) == 0 {
			select {
			case <-ctx.Done():
			case <-r.wake:
			}
		}
		if !store.Sleep(ctx, flushEvery) {
			break
		}
		r.flush()
		told = r.tellTrouble(told, r.desk.send(ctx, kv, from))
	}
	r.flush()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	_ = r.desk.send(ctx, kv, from) // else the next agent sends it
}

// tellTrouble logs what keeps events from the store, once; a store that is away
// others tell of. It returns what the trouble is now.
func (r *Recorder) tellTrouble(told string, err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, store.ErrUnavailable):
		return "away"
	}
	why := err.Error()
	if why != told {
		r.log.Warn("other hosts do not hear what happens here: kept in this host's journal, and tried again", "err", err)
	}
	return why
}

// flush makes batches of what waits, in the journal, and tells readers of them.
func (r *Recorder) flush() {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	r.mu.Lock()
	events, readers := slices.Clone(r.waiting), slices.Collect(maps.Values(r.readers))
	if missed := r.missed; missed.count > 0 {
		events = append(events, Event{
			Kind: LeftOut, Node: r.node, Time: time.UnixMilli(missed.since.UnixMilli()),
			Text: fmt.Sprintf("%d more events: too many at once", missed.count),
		})
		r.missed = tally{}
	}
	r.mu.Unlock()
	for some := range slices.Chunk(events, batchSize) {
		if err := r.ring.add(some, r.now()); err != nil {
			r.log.Debug("events are not kept in the journal: they end with this agent", "err", err)
		}
	}
	r.flushed(events)
	for _, tell := range readers {
		tell(events)
	}
}

// flushed takes out of what waits what the journal has. A name that came
// meanwhile is told after it.
func (r *Recorder) flushed(events []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var completing []Event
	rest := r.waiting
	for _, e := range events {
		if len(rest) == 0 || e.Kind == LeftOut {
			break
		}
		if rest[0].completes(e) {
			completing = append(completing, rest[0])
		}
		rest = rest[1:]
	}
	r.waiting = append(completing, rest...)
	if len(r.waiting) > 0 {
		r.poke()
	}
}

// Own are the events of this host, the oldest first: all it keeps.
func (r *Recorder) Own() []Event {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	all := r.ring.all()
	r.mu.Lock()
	defer r.mu.Unlock()
	return completed(append(all, r.waiting...))
}

// Read is Read of the package, with what this host told that the store does not
// have yet. Where the store does not answer, it is what this host itself has, and
// the error says so.
func (r *Recorder) Read(ctx context.Context, kv store.KV, f Filter) ([]Event, error) {
	all := newReading(f)
	own := f.of(r.notInStore()) // before the store is read, which may have it by then
	if _, err := kv.Scan(ctx, store.TrailsSpan(), store.Whole, all.page); err != nil {
		return f.of(r.Own()), fmt.Errorf("read what happened on other hosts: %w", err)
	}
	all.endNode()
	all.place(all.lacking(own))
	return completed(all.end()), nil
}

// notInStore are this host's events that the store may not have yet.
func (r *Recorder) notInStore() (own []Event) {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	for _, b := range r.ring.unsent() {
		own = append(own, b.events...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(own, r.waiting...)
}

// subscribe has a reader told of each batch of this host's from now on, until end
// is called, and returns what came in batches before. It must not wait for
// anything.
func (r *Recorder) subscribe(tell func([]Event)) (before []Event, end func()) {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	number := r.last
	r.readers[number] = tell
	return r.ring.all(), func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.readers, number)
	}
}
