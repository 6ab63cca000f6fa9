package ipam

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"gvlan/cluster/store"
)

// lossy is a store that something happens to at one transaction, of a kind.
type lossy struct {
	store.KV
	mu     sync.Mutex
	which  func(store.Txn) bool // nil: no more
	happen func()
	before bool
	late   *store.Txn // was not sent yet
	strand func()     // not nil: the next transaction that which picks is late
	// muted: no transaction has a reply. Those of the session have: without them it
	// would not be trusted, and nothing be sent.
	muted atomic.Bool

	scanned func()        // not nil: the next time all leases were read it runs first
	gate    chan struct{} // not nil: keys alone are not read before it is closed
}

// Scan implements store.KV.
func (l *lossy) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	if l.gate != nil && parts == store.KeysOnly {
		<-l.gate
	}
	rev, err := l.KV.Scan(ctx, span, parts, page)
	if span == store.AllLeasesSpan() && err == nil {
		l.mu.Lock()
		then := l.scanned
		l.scanned = nil
		l.mu.Unlock()
		if then != nil {
			then()
		}
	}
	return rev, err
}

// lose loses the reply to the next transaction that which picks. Before it is
// sent again then runs.
func (l *lossy) lose(which func(store.Txn) bool, then func()) { l.set(which, then, false) }

// forestall runs first right before the next transaction that which picks.
func (l *lossy) forestall(which func(store.Txn) bool, first func()) { l.set(which, first, true) }

// delay has the next transaction that which picks be on its way until it
// lands; give up is called for its sender.
func (l *lossy) delay(which func(store.Txn) bool, giveUp func()) {
	l.set(which, nil, true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.strand = giveUp
}

// land sends what is on its way, if it was not yet.
func (l *lossy) land(ctx context.Context) error {
	l.mu.Lock()
	txn := l.late
	l.late = nil
	l.mu.Unlock()
	if txn == nil {
		return nil
	}
	_, err := l.KV.Commit(ctx, *txn)
	return err
}

func (l *lossy) set(which func(store.Txn) bool, happen func(), before bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.which, l.happen, l.before = which, happen, before
}

// take reports whether it is that transaction's turn.
func (l *lossy) take(txn store.Txn, before bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.which == nil || l.before != before || !l.which(txn) {
		return false
	}
	l.which = nil
	return true
}

// Commit implements store.KV.
func (l *lossy) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	if l.take(txn, true) {
		l.mu.Lock()
		strand := l.strand
		l.strand = nil
		if strand != nil {
			l.late = &txn
		}
		l.mu.Unlock()
		if strand != nil {
			strand()
			return store.Result{}, store.ErrUnavailable
		}
		l.happen()
	}
	res, err := l.KV.Commit(ctx, txn)
	if err == nil && res.Done && l.take(txn, false) {
		l.happen()
		return store.Result{}, store.ErrUnavailable
	}
	if l.muted.Load() {
		return store.Result{}, store.ErrUnavailable
	}
	return res, err
}

// rewrites picks a transaction that replaces a lease as it was read.
func rewrites(txn store.Txn) bool {
	return slices.ContainsFunc(txn.If, func(c store.Cond) bool {
		_, _, err := store.LeaseOf(c.Key)
		return err == nil && c.Kind == store.Modified && c.Is != 0
	})
}

// makes picks a transaction that makes a lease where there is none.
func makes(txn store.Txn) bool {
	return slices.ContainsFunc(txn.If, func(c store.Cond) bool {
		_, _, err := store.LeaseOf(c.Key)
		return err == nil && c.Kind == store.Created && c.Is == 0
	})
}

// deletes picks a transaction that deletes a lease.
func deletes(txn store.Txn) bool {
	return slices.ContainsFunc(txn.Then, func(op store.Op) bool {
		_, _, err := store.LeaseOf(op.Key)
		return err == nil && op.Kind == store.OpDelete
	})
}

// binds picks a transaction that writes an endpoint.
func binds(txn store.Txn) bool {
	return slices.ContainsFunc(txn.Then, func(op store.Op) bool {
		span := store.EndpointsSpan()
		return op.Kind == store.OpPut && span.From <= op.Key && op.Key < span.To
	})
}
