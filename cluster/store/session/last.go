package session

import (
	"context"
	"fmt"

	"gvlan/cluster/store"
)

// Every transaction of a session that changes something puts LastKey, and each
// compares that the last one put is still there. So a store that lost a write
// of this node refuses its next, whatever revision it claims to be at; and a
// node that has nothing to write reads the key back from time to time, and
// whenever its connection was made anew.

// Reconnecter is a Backend that tells when its connection was made anew.
type Reconnecter interface {
	// Reconnected has an element after a connection was made.
	Reconnected() <-chan struct{}
}

// lastPut is what LastKey is put with.
func (s *Session) lastPut() store.Op { return store.Put(store.LastKey(s.id.Node), []byte("{}")) }

// changes reports whether any step writes.
func changes(ops []store.Op) bool {
	for _, op := range ops {
		if op.Kind != store.OpGet {
			return true
		}
	}
	return false
}

// keepReading reads this node's last write back after each reconnect.
func (s *Session) keepReading(ctx context.Context) {
	backend, ok := s.backend.(Reconnecter)
	if !ok {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-backend.Reconnected():
			s.readBack(ctx)
		}
	}
}

// readBack compares this node's last write, and the newest it saw of any node's,
// with the store. A store that does not answer proves nothing.
func (s *Session) readBack(ctx context.Context) {
	s.mu.Lock()
	held, floor, last, newest := s.held, s.highest, s.last, s.newest
	s.mu.Unlock()
	if held == nil {
		return
	}
	res, err := s.backend.Commit(ctx, store.Txn{Then: []store.Op{store.Get(store.LastKey(s.id.Node)), store.Get(store.LastKey(newest.Node))}})
	if err != nil {
		return
	}
	own, _ := res.Item(store.LastKey(s.id.Node))
	other, _ := res.Item(store.LastKey(newest.Node))
	// A verdict fills s.lost, which hold waits for.
	if s.judgeLast(held, last, own) == nil && s.judgeNewest(held, newest, other) == nil {
		_ = s.observe(held, floor, res.Revision)
	}
}

// watchWrites learns of every node's writes. What is given compares the newest
// of them: the node whose write is lost closes the gate, but it may come back to
// the store later than this one. It returns nil when ctx ends, else why it
// cannot watch.
func (s *Session) watchWrites(ctx context.Context) error {
	held, _ := s.view()
	return store.Follow(ctx, s.backend, store.LastSpan(), func(c store.Change) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held != held {
			return
		}
		before, found := s.newest, store.Item{}
		for _, it := range c.Items {
			if it.Key == store.LastKey(before.Node) {
				found = it
			}
			s.newestLocked(it)
		}
		for _, e := range c.Events {
			s.newestLocked(e.Item)
		}
		if c.Reset && before.Node != s.id.Node && found.Modified < before.At { // its own it judges otherwise
			_ = s.replacedLocked(lostWrite("node "+before.Node+"'s", before.At, found.Modified))
		}
	})
}

func (s *Session) newestLocked(it store.Item) {
	if it.Modified > s.newest.At {
		s.newest = Write{store.NameOf(it.Key), it.Modified}
	}
}

// judgeNewest is judgeLast for the newest write of any node.
func (s *Session) judgeNewest(held *holding, newest Write, found store.Item) error {
	if found.Modified >= newest.At {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.held != held:
		return fmt.Errorf("%w: the session was opened anew", store.ErrUnavailable)
	case s.newest.At < newest.At:
		return fmt.Errorf("%w: the gate was closed meanwhile", store.ErrUnavailable)
	}
	return s.replacedLocked(lostWrite("node "+newest.Node+"'s", newest.At, found.Modified))
}

// judgeLast compares LastKey as the store holds it (zero: absent) with the last
// write before the call that read it.
func (s *Session) judgeLast(held *holding, last store.Revision, found store.Item) error {
	if found.Modified >= last {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != held {
		return fmt.Errorf("%w: the session was opened anew", store.ErrUnavailable)
	}
	return s.replacedLocked(lostWrite("this node's", last, found.Modified))
}

// lostWrite says why a store is not the one that took a write.
func lostWrite(whose string, last, found store.Revision) string {
	return fmt.Sprintf("%s last write, of revision %d, is gone: the store has that of %d", whose, last, found)
}

// wrote notes a transaction that changed something.
func (s *Session) wrote(held *holding, rev store.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == held {
		s.last = max(s.last, rev)
	}
}
