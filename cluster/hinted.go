package cluster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// rereadAfter is how long a watch may stay behind a hint. A healthy one has
// the event when its writer has the answer, give or take milliseconds.
const rereadAfter = 2 * time.Second

// errBehind ends a watch that is to be listed anew.
var errBehind = errors.New("the watch is behind what another node wrote")

// Hinted is the store, with what nodes tell each other of it: of every
// Commit that changes a record others wait for (definitions, endpoints,
// nodes) they hear, and a watch that stays behind what they heard ends with
// store.ErrCompacted, so that its mirror is read anew. That is all a hint
// can do. It cures a watch that hangs or lost an event within seconds; the
// mirror itself would list anew after minutes only.
type Hinted struct {
	store.KV
	tell  func(Hint)
	limit time.Duration

	mu      sync.Mutex
	applied store.Revision
	watches map[*watched]struct{}
}

// watched is one watch of a span that hints name.
type watched struct {
	kind Kind
	at   store.Revision // the watch has come this far
	end  context.CancelCauseFunc
}

// NewHinted makes a Hinted on a store. tell is called after each such
// Commit, once for each record, and must not block.
func NewHinted(kv store.KV, tell func(Hint)) *Hinted {
	return &Hinted{KV: kv, tell: tell, limit: rereadAfter, watches: map[*watched]struct{}{}}
}

// Run holds the watches against what others tell until ctx ends. Hints that
// come in while it waits for the watches gather in the channel's feed.
func (h *Hinted) Run(ctx context.Context, hints <-chan Batch[Heard]) error {
	for {
		var batch Batch[Heard]
		select {
		case <-ctx.Done():
			return nil
		case batch = <-hints:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(h.limit):
		}
		for _, heard := range batch.Items {
			h.reread(heard.Hint)
		}
	}
}

// reread ends the watches of a kind that have not come as far as a hint.
func (h *Hinted) reread(hint Hint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watches {
		if w.kind == hint.Kind && w.at < hint.Rev {
			w.end(errBehind)
		}
	}
}

// Applied is how far this node has followed the store: the newest revision
// that any list or watch of these records has brought.
func (h *Hinted) Applied() store.Revision {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.applied
}

// List implements store.KV.
func (h *Hinted) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	items, rev, err := h.KV.List(ctx, span)
	h.came(nil, rev)
	return items, rev, err
}

// Watch implements store.KV.
func (h *Hinted) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	kind, _ := kindOf(span.From)
	if kinds[kind] != span { // a part of it may well end before what is hinted at
		return h.KV.Watch(ctx, span, after)
	}
	return func(yield func(store.Batch, error) bool) {
		inner, end := context.WithCancelCause(ctx)
		defer end(nil)
		w := &watched{kind: kind, at: after, end: end}
		defer h.enter(w)()
		for batch, err := range h.KV.Watch(inner, span, after) {
			h.came(w, batch.Revision)
			if !yield(batch, err) {
				return
			}
		}
		if errors.Is(context.Cause(inner), errBehind) {
			yield(store.Batch{}, fmt.Errorf("watch %s: %w: %w", span.From, errBehind, store.ErrCompacted))
		}
	}
}

// enter puts a watch among those that hints may end; the function returned
// takes it out.
func (h *Hinted) enter(w *watched) (leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watches[w] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watches, w)
	}
}

// came notes how far a watch, or a list (nil), has come.
func (h *Hinted) came(w *watched, rev store.Revision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.applied = max(h.applied, rev)
	if w != nil {
		w.at = max(w.at, rev)
	}
}

// Commit implements store.KV.
func (h *Hinted) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	res, err := h.KV.Commit(ctx, txn)
	if err == nil {
		h.tellOf(txn, res, res.Revision)
	}
	return res, err
}

// tellOf tells of what a transaction wrote; nested ones share its revision.
func (h *Hinted) tellOf(txn store.Txn, res store.Result, rev store.Revision) {
	branch, nested := txn.Else, res.Nested
	if res.Done {
		branch = txn.Then
	}
	for _, op := range branch {
		switch op.Kind {
		case store.OpPut, store.OpDelete:
			if kind, hinted := kindOf(op.Key); hinted && happened(op, txn, res) {
				h.tell(Hint{Kind: kind, ID: IDOf(op.Key), Rev: rev})
			}
		case store.OpNested:
			h.tellOf(*op.Nested, nested[0], rev)
			nested = nested[1:]
		}
	}
}

// happened tells whether an operation surely made an event: the deletion of
// a key that may have been absent need not have, and watches would be waited
// for in vain.
func happened(op store.Op, txn store.Txn, res store.Result) bool {
	return op.Kind == store.OpPut || res.Done && slices.ContainsFunc(txn.If, func(c store.Cond) bool { return c.Key == op.Key && c.Is != 0 })
}
