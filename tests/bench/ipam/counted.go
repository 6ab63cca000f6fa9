package main

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"gvlan/cluster/store"
)

// counted is a store that counts what one host asks of it, below the host's
// session: each call is one RPC. It looks at every transaction: one that gives,
// changes or takes a lease must compare the host's epoch.
type counted struct {
	store.Backend
	node string

	counts
	leaseBytes atomic.Int64 // of the last record of a lease that was put

	mu       sync.Mutex
	unfenced string // the first key that was written without a fence
}

// counts are calls so far.
type counts struct {
	reads, lists, commits, watches atomic.Int64
	lost                           atomic.Int64 // transactions whose conditions did not hold
}

// rpcs are all but streams.
func (c *counts) rpcs() int64 { return c.reads.Load() + c.lists.Load() + c.commits.Load() }

// Get implements store.KV.
func (c *counted) Get(ctx context.Context, key string) (store.Item, error) {
	c.reads.Add(1)
	return c.Backend.Get(ctx, key)
}

// List implements store.KV.
func (c *counted) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	c.lists.Add(1)
	return c.Backend.List(ctx, span)
}

// Scan implements store.KV. All its pages are one listing.
func (c *counted) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	c.lists.Add(1)
	return c.Backend.Scan(ctx, span, parts, page)
}

// Commit implements store.KV.
func (c *counted) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	c.commits.Add(1)
	c.look(txn, false)
	res, err := c.Backend.Commit(ctx, txn)
	if err == nil {
		c.lost.Add(refused(txn, res))
	}
	return res, err
}

// refused counts the transactions, nested ones for themselves, that did not
// happen.
func refused(txn store.Txn, res store.Result) (n int64) {
	branch := txn.Then
	if !res.Done {
		branch, n = txn.Else, 1
	}
	nested := res.Nested
	for _, op := range branch {
		if op.Kind == store.OpNested && len(nested) > 0 {
			n += refused(*op.Nested, nested[0])
			nested = nested[1:]
		}
	}
	return n
}

func (c *counted) look(txn store.Txn, fenced bool) {
	for _, cond := range txn.If {
		fenced = fenced || cond.Key == store.EpochKey(c.node)
	}
	for _, op := range txn.Then {
		switch {
		case op.Kind == store.OpNested:
			c.look(*op.Nested, fenced)
		case op.Kind == store.OpGet || !strings.HasPrefix(op.Key, store.AllLeasesSpan().From):
		case !fenced:
			c.mu.Lock()
			c.unfenced = op.Key
			c.mu.Unlock()
		case op.Kind == store.OpPut && isLease(op.Key):
			c.leaseBytes.Store(int64(len(op.Value)))
		}
	}
}

// isLease tells a lease from the rest of an address after it.
func isLease(key string) bool {
	_, _, err := store.LeaseOf(key)
	return err == nil
}

// fault is a write without a fence, if there was one.
func (c *counted) fault() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unfenced != "" {
		return fmt.Errorf("%s was written without comparing the epoch of %s", c.unfenced, c.node)
	}
	return nil
}

// Watch implements store.KV.
func (c *counted) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	c.watches.Add(1)
	return c.Backend.Watch(ctx, span, after)
}
