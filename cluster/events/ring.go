package events

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// Keeper has values outlive this agent, though not a power cut; one that is nil
// goes. *disk.Bucket is one.
type Keeper interface {
	Keep(values map[string][]byte) error
	Each(f func(key string, value []byte) error) error
}

// The keys of a Keeper beside those of batches, which are their numbers.
const (
	sentKey   = "sent"
	bucketKey = "bucket"
)

const (
	// ringSize is how many events a host keeps of its own.
	ringSize = 1000
	// batchSize is how many events one record has at most.
	batchSize = 100
)

// batch is what is written as one record.
type batch struct {
	number int64 // unix milliseconds when it was made, later than that of the batch before
	events []Event
}

// ring is what this host told last, in memory and in its journal: for itself, and
// for the store until that has it. One goroutine writes to it.
type ring struct {
	node   string
	keeper Keeper

	mu      sync.Mutex
	batches []batch // in order
	size    int     // of events in them
	sent    int64   // number of the last batch that the store has
	left    tally   // that the store never had, and will not
}

// tally counts events that are not there any more.
type tally struct {
	count int
	since time.Time // of the first
}

// add counts events that went, of which the first was at a time.
func (t *tally) add(count int, first time.Time) {
	if count > 0 && (t.count == 0 || first.Before(t.since)) {
		t.since = first
	}
	t.count += count
}

// openRing reads what the agent before kept. What cannot be read is gone: an event
// is no reason not to start.
func openRing(node string, keeper Keeper) (*ring, error) {
	r := &ring{node: node, keeper: keeper}
	err := keeper.Each(func(key string, value []byte) error {
		if key == sentKey {
			r.sent, _ = strconv.ParseInt(string(value), 16, 64) // else all is sent again, under the same keys
			return nil
		}
		number, err := strconv.ParseInt(key, 16, 64)
		var rec store.Trail
		if err != nil || json.Unmarshal(value, &rec) != nil {
			return nil // of a newer gvlan, or not a batch's
		}
		b := batch{number: number}
		for _, e := range rec.Events {
			b.events = append(b.events, eventOf(e, node))
		}
		r.batches = append(r.batches, b)
		r.size += len(b.events)
		return nil
	})
	slices.SortFunc(r.batches, func(a, b batch) int { return int(a.number - b.number) })
	return r, err
}

// add makes a batch of events. What does not fit any more is taken from the
// oldest ones, whoever has not seen them yet. It has the batch also when it
// fails, until the agent ends.
func (r *ring) add(events []Event, now time.Time) error {
	return r.keeper.Keep(r.enter(events, now)) // which may wait for the disk: not under mu
}

func (r *ring) enter(events []Event, now time.Time) (values map[string][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := batch{number: now.UnixMilli(), events: events}
	if n := len(r.batches); n > 0 {
		b.number = max(b.number, r.batches[n-1].number+1)
	}
	b.number = max(b.number, r.sent+1)
	values = map[string][]byte{keyOf(b.number): store.Encode(b.record(r.node))}
	r.batches = append(r.batches, b)
	r.size += len(events)
	for r.size > ringSize {
		oldest := r.batches[0]
		values[keyOf(oldest.number)] = nil
		r.batches = r.batches[1:]
		r.size -= len(oldest.events)
		if oldest.number > r.sent {
			r.left.add(len(oldest.events), oldest.events[0].Time)
		}
	}
	return values
}

func keyOf(number int64) string { return fmt.Sprintf("%012x", number) }

// record is a batch as it is written.
func (b batch) record(node string) store.Trail {
	rec := store.Trail{Node: node}
	for _, e := range b.events {
		rec.Events = append(rec.Events, e.record(node))
	}
	return rec
}

// unsent are the batches that the store does not have, as far as this host
// knows.
func (r *ring) unsent() []batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := slices.IndexFunc(r.batches, func(b batch) bool { return b.number > r.sent })
	if first < 0 {
		return nil
	}
	return slices.Clone(r.batches[first:])
}

// wrote notes that the store has every batch up to a number. Where the journal
// does not take it the next agent sends them again, under the same keys.
func (r *ring) wrote(number int64) {
	r.mu.Lock()
	r.sent = number
	r.mu.Unlock()
	_ = r.keeper.Keep(map[string][]byte{sentKey: []byte(keyOf(number))})
}

// takeLeft returns, once, what the store never had and never will.
func (r *ring) takeLeft() tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := r.left
	r.left = tally{}
	return left
}

// all are the events of the ring, in order.
func (r *ring) all() (events []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.batches {
		events = append(events, b.events...)
	}
	return completed(events)
}

// nameless are the events that gave an endpoint its addresses and do not say
// what its container is called.
func (r *ring) nameless(endpoint string) (events []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.batches {
		for _, e := range b.events {
			if e.Kind != Given || e.Endpoint != endpoint {
				continue
			}
			if e.Container != "" {
				return nil // it was told already, maybe by the agent before
			}
			events = append(events, e)
		}
	}
	return events
}
