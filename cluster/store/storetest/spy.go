package storetest

import (
	"context"
	"slices"
	"sync"

	"gvlan/cluster/store"
)

// Write is one key that a transaction changed.
type Write struct {
	Writer string
	Kind   store.OpKind // OpPut or OpDelete
	Key    string
	Value  []byte
}

// Reads is how much somebody read.
type Reads struct {
	Requests int // answers to Get, List and for a page of a Scan
	Items    int
	Values   int // bytes of their values
	Most     int // items of the largest answer
}

// Spy records who wrote what to a store, and how much who read.
type Spy struct {
	far store.Backend

	mu     sync.Mutex
	writes []Write
	reads  map[string]Reads
}

// NewSpy watches over a store.
func NewSpy(far store.Backend) *Spy { return &Spy{far: far, reads: map[string]Reads{}} }

// As returns the store as one writer sees it: what is written through it is
// recorded under that name.
func (s *Spy) As(writer string) store.Backend {
	return &spied{Backend: s.far, spy: s, writer: writer}
}

// Writes returns what a writer wrote, in order; those of every writer when
// none is named. The operations of the branch that ran count, also when they
// changed nothing.
func (s *Spy) Writes(writers ...string) []Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.writes), func(w Write) bool {
		return len(writers) > 0 && !slices.Contains(writers, w.Writer)
	})
}

// Reads returns how much a writer read.
func (s *Spy) Reads(writer string) Reads {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads[writer]
}

// Reset forgets what was recorded.
func (s *Spy) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = nil
	clear(s.reads)
}

type spied struct {
	store.Backend
	spy    *Spy
	writer string
}

// answered records an answer.
func (s *spied) answered(items ...store.Item) {
	s.spy.mu.Lock()
	defer s.spy.mu.Unlock()
	r := s.spy.reads[s.writer]
	r.Requests++
	r.Items += len(items)
	r.Most = max(r.Most, len(items))
	for _, it := range items {
		r.Values += len(it.Value)
	}
	s.spy.reads[s.writer] = r
}

// Get records the item.
func (s *spied) Get(ctx context.Context, key string) (store.Item, error) {
	it, err := s.Backend.Get(ctx, key)
	if err == nil {
		s.answered(it)
	}
	return it, err
}

// List records the items.
func (s *spied) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	items, rev, err := s.Backend.List(ctx, span)
	s.answered(items...)
	return items, rev, err
}

// Scan records each page.
func (s *spied) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	return s.Backend.Scan(ctx, span, parts, func(items []store.Item) error {
		s.answered(items...)
		return page(items)
	})
}

// Commit records the writes of a transaction whose outcome is known.
func (s *spied) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	res, err := s.Backend.Commit(ctx, txn)
	if err == nil {
		s.spy.mu.Lock()
		defer s.spy.mu.Unlock()
		s.record(txn, res)
	}
	return res, err
}

func (s *spied) record(txn store.Txn, res store.Result) {
	branch, nested := txn.Else, res.Nested
	if res.Done {
		branch = txn.Then
	}
	for _, op := range branch {
		switch op.Kind {
		case store.OpPut, store.OpDelete:
			s.spy.writes = append(s.spy.writes, Write{Writer: s.writer, Kind: op.Kind, Key: op.Key, Value: op.Value})
		case store.OpNested:
			s.record(*op.Nested, nested[0])
			nested = nested[1:]
		}
	}
}
