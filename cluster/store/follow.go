package store

import (
	"context"
	"errors"
	"fmt"
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
	wait := newBackoff()
	for ctx.Err() == nil {
		rev, err := relist(ctx, kv, span, apply)
		if err == nil {
			err = tail(ctx, kv, span, rev, func(c Change) {
				wait.reset()
				apply(c)
			})
		}
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, ErrUnavailable) || errors.Is(err, ErrCompacted):
			wait.sleep(ctx)
		default:
			return fmt.Errorf("follow %s: %w", span.From, err)
		}
	}
	return nil
}

func relist(ctx context.Context, kv KV, span Span, apply func(Change)) (Revision, error) {
	items, rev, err := kv.List(ctx, span)
	if err != nil {
		return 0, err
	}
	apply(Change{Reset: true, Items: items, Revision: rev})
	return rev, nil
}

// tail passes on what a watch reports after a revision. It returns nil when
// it is time to list anew or ctx ended.
func tail(ctx context.Context, kv KV, span Span, after Revision, apply func(Change)) error {
	ctx, cancel := context.WithTimeout(ctx, jitter(refreshEvery))
	defer cancel()
	for batch, err := range kv.Watch(ctx, span, after) {
		if err != nil {
			return err
		}
		if err := contradiction(batch, after); err != nil {
			return err
		}
		after = batch.Revision
		apply(Change{Events: batch.Events, Revision: after})
	}
	return nil
}

// contradiction tells that a batch cannot follow a revision: the store went
// back, or an event came twice or out of order.
func contradiction(batch Batch, after Revision) error {
	if batch.Revision < after {
		return fmt.Errorf("watch went from revision %d back to %d: %w", after, batch.Revision, ErrCompacted)
	}
	for _, ev := range batch.Events {
		if ev.At <= after || ev.At > batch.Revision {
			return fmt.Errorf("watch reports revision %d between %d and %d: %w", ev.At, after, batch.Revision, ErrCompacted)
		}
	}
	return nil
}
