package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// refreshEvery is how long a mirror trusts its watch before it lists again,
// so that an event that etcd lost (it has happened: etcd 3.5.13, 3.5.16) is
// missed for minutes and not for good.
const refreshEvery = 10 * time.Minute

// Change is what Follow reports: with Reset the whole span, which replaces
// everything reported before; else what changed since. Both lists may be
// empty. Revision is what the mirror is then true of; it goes down only on a
// Reset, when the store itself went back.
type Change struct {
	Reset    bool
	Items    []Item  // on Reset: all, in key order
	Events   []Event // else: in order
	Revision Revision
}

// Follow keeps apply fed with the content of a span: first a Reset, then
// every change. It lists anew after a compaction, a lost connection, a watch
// that contradicts itself, and every ten minutes. A store that does not
// answer is retried for as long as ctx lasts; then Follow returns nil. It
// returns an error only when the store refuses (no permission, say), since
// waiting does not cure that. apply is never called twice at once.
//
// A mirror is a hint: it may lag. What must be right is compared in a Txn.
func Follow(ctx context.Context, kv KV, span Span, apply func(Change)) error {
	return follow(ctx, kv, span, kv.List, apply)
}

// Following is who hears of the keys of a span that may be too long to be held
// whole. Its methods are never called two at once.
type Following interface {
	// Begin says that a listing begins. What was reported before stands until
	// it is complete; the pages of one that never was count for nothing.
	Begin()
	// Page is the next of its pages, in key order and without values.
	Page(items []Item)
	// Apply is what Follow would report, but for the items: with Reset the
	// pages since Begin are the whole span.
	Apply(c Change)
}

// FollowKeys is Follow for a span of which only the keys and their revisions
// are of use: it lists it in pages, without values. The events of the watch
// bring theirs nonetheless.
func FollowKeys(ctx context.Context, kv KV, span Span, f Following) error {
	scan := func(ctx context.Context, span Span) ([]Item, Revision, error) {
		f.Begin()
		rev, err := kv.Scan(ctx, span, KeysOnly, func(items []Item) error {
			f.Page(items)
			return nil
		})
		return nil, rev, err
	}
	return follow(ctx, kv, span, scan, f.Apply)
}

// listing reads a span, as it is at a revision.
type listing func(ctx context.Context, span Span) ([]Item, Revision, error)

// follow is Follow, with a listing of the caller's.
func follow(ctx context.Context, kv KV, span Span, list listing, apply func(Change)) error {
	var wait Backoff
	for ctx.Err() == nil {
		err := listAndTail(ctx, kv, span, list, func(c Change) {
			if !c.Reset {
				wait.Reset()
			}
			apply(c)
		})
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, ErrUnavailable) || errors.Is(err, ErrCompacted):
			wait.Sleep(ctx)
		default:
			return fmt.Errorf("follow %s: %w", span.From, err)
		}
	}
	return nil
}

// listAndTail reports a listing and what a watch brings after it. It returns
// nil when it is time to list anew or ctx ended.
//
// The watch stands before the listing is asked for, so that a store which is
// replaced between the two ends it. A watch begun after the listing would go
// on in another store as if nothing had happened.
func listAndTail(ctx context.Context, kv KV, span Span, list listing, apply func(Change)) error {
	ctx, cancel := context.WithTimeout(ctx, jitter(refreshEvery))
	defer cancel()
	var listed, seen Revision
	for batch, err := range kv.Watch(ctx, span, 0) {
		if err != nil {
			return err
		}
		if err := contradiction(batch, seen); err != nil {
			return err
		}
		seen = batch.Revision
		if listed == 0 {
			if listed, err = list.report(ctx, span, seen, apply); err != nil {
				return err
			}
			continue
		}
		if seen >= listed {
			apply(Change{Events: beyond(listed, batch.Events), Revision: seen})
		}
	}
	return nil
}

// report reports the whole span, as it is after the watch of it stood at a
// revision.
func (list listing) report(ctx context.Context, span Span, stood Revision, apply func(Change)) (Revision, error) {
	items, rev, err := list(ctx, span)
	if err != nil {
		return 0, err
	}
	if rev < stood {
		return 0, fmt.Errorf("listing of revision %d while the watch stood at %d: %w", rev, stood, ErrCompacted)
	}
	apply(Change{Reset: true, Items: items, Revision: rev})
	return rev, nil
}

// beyond leaves out the events that a listing holds already.
func beyond(listed Revision, events []Event) []Event {
	for len(events) > 0 && events[0].At <= listed {
		events = events[1:]
	}
	return events
}

// contradiction says why a batch cannot follow a revision: the store went
// back, or an event came twice or out of order.
func contradiction(batch Batch, seen Revision) error {
	if batch.Revision < seen {
		return fmt.Errorf("watch went from revision %d back to %d: %w", seen, batch.Revision, ErrCompacted)
	}
	for _, ev := range batch.Events {
		if ev.At <= seen || ev.At > batch.Revision {
			return fmt.Errorf("watch reports revision %d between %d and %d: %w", ev.At, seen, batch.Revision, ErrCompacted)
		}
	}
	return nil
}

// How long to wait before a store that did not answer is asked again.
const (
	firstWait   = 50 * time.Millisecond
	longestWait = 2 * time.Second
)

// Backoff is a wait before something is tried again: it doubles from 50 ms to
// 2 s, and each is spread over its upper half. The zero value has not waited yet.
type Backoff struct{ next time.Duration }

// Reset begins anew: what was tried went well.
func (b *Backoff) Reset() { b.next = 0 }

// Sleep waits for the next turn or for ctx.
func (b *Backoff) Sleep(ctx context.Context) {
	b.next = max(b.next, firstWait)
	Sleep(ctx, jitter(b.next))
	b.next = min(2*b.next, longestWait)
}

// Sleep waits for d or for the end of ctx, and reports whether d passed.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// jitter spreads a duration over its upper half, so that nodes which lost
// the store at the same moment do not return at the same moment.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}
