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

// Spy records who wrote what to a store.
type Spy struct {
	far store.Backend

	mu     sync.Mutex
	writes []Write
}

// NewSpy watches over a store.
func NewSpy(far store.Backend) *Spy { return &Spy{far: far} }

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

// Reset forgets what was recorded.
func (s *Spy) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = nil
}

type spied struct {
	store.Backend
	spy    *Spy
	writer string
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
