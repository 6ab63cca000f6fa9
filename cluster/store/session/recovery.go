package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"gvlan/cluster/store"
)

// gateState is what a session knows of the cluster's gate.
type gateState struct {
	gate     store.Gate
	at       store.Revision // the gate was last modified at; 0: it is open
	seen     store.Revision // gate and at are true of it, or of a later one
	recovery store.Recovery
	caution  bool
}

// take applies one record.
func (g *gateState) take(it store.Item, deleted bool) (err error) {
	switch it.Key {
	case store.GateKey():
		if g.at = it.Modified; deleted {
			g.at = 0
		} else {
			g.gate, err = store.Decode[store.Gate](it)
		}
	case store.CautionKey():
		g.caution = !deleted
	case store.RecoveryKey():
		g.recovery = store.Recovery{}
		if !deleted {
			g.recovery, err = store.Decode[store.Recovery](it)
		}
	}
	return err
}

// why is why nothing is given while the gate is closed.
func (g *gateState) why() error {
	if g.at == 0 {
		return nil
	}
	return fmt.Errorf("%w: node %s found that %s", store.ErrSuspect, g.gate.Node, g.gate.Why)
}

// watchGate keeps the session's view of the gate. It returns nil when ctx ends,
// else why it cannot watch.
func (s *Session) watchGate(ctx context.Context) error {
	return store.Follow(ctx, s.backend, store.RecoverySpan(), func(c store.Change) {
		s.mu.Lock()
		defer s.mu.Unlock()
		was := s.gate.at
		var failed error
		// A transaction of this node's own may have shown more of the gate.
		known := s.gate
		if c.Reset {
			s.gate = gateState{}
			for _, it := range c.Items {
				failed = errors.Join(failed, s.gate.take(it, false))
			}
		}
		for _, e := range c.Events {
			if e.Item.Key != store.GateKey() || e.At > known.seen {
				failed = errors.Join(failed, s.gate.take(e.Item, e.Deleted))
			}
		}
		if s.gate.seen = c.Revision; c.Revision < known.seen {
			s.gate.gate, s.gate.at, s.gate.seen = known.gate, known.at, known.seen
		}
		if failed != nil {
			s.log.Error("the store holds a record that cannot be read", "error", failed)
		}
		s.gateMovedLocked(was)
	})
}

// gateClosed notes a gate that a transaction met before its watch did. The
// answer may also come after the watch told that it was opened.
func (s *Session) gateClosed(it store.Item, rev store.Revision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rev < s.gate.seen {
		return fmt.Errorf("%w: the cluster's gate moved meanwhile", store.ErrUnavailable)
	}
	was := s.gate.at
	s.gate.seen = rev
	if err := s.gate.take(it, false); err != nil {
		return err
	}
	s.gateMovedLocked(was)
	return s.gate.why()
}

// gateMovedLocked tells that the gate was closed or opened.
func (s *Session) gateMovedLocked(was store.Revision) {
	switch now := s.gate.at; {
	case now != 0 && now != was:
		s.newest = Write{} // what is lost is known to be
		s.log.Error("the store lost its past: nothing new is given in the whole cluster until 'gvlan recover' is run on one host",
			"found by", s.gate.gate.Node, "why", s.gate.gate.Why)
	case now == 0 && was != 0:
		s.log.Info("the cluster's recovery is over", "opened by", s.gate.recovery.Node)
	}
	if s.suspect == nil && s.gate.at == 0 {
		s.known.Recovery = max(s.known.Recovery, s.gate.recovery.Count)
	}
}

// closing is what an opening adds to its transaction when it found a loss: the
// gate, unless the cluster recovered from it while this node was away. One that
// is closed already is closed anew: it may be of the copy that was restored, and
// so may be what says that nodes have written again what they hold.
func (s *Session) closing(view openingView) (conds []store.Cond, ops []store.Op, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.why == unsettled && view.gate.at != 0 // no loss but the one it was closed for
	if !errors.Is(s.suspect, store.ErrSuspect) || known || s.coveredLocked(view.meta, view.gate.recovery) {
		return nil, nil, nil
	}
	round, err := uuid.NewRandom()
	if err != nil {
		return nil, nil, fmt.Errorf("name a recovery: %w", err)
	}
	gate := store.Gate{Round: round.String(), Node: s.id.Node, Why: s.why, Since: time.Now().Unix()}
	return []store.Cond{store.Unchanged(store.GateKey(), view.gate.at)}, []store.Op{store.Put(store.GateKey(), store.Encode(gate))}, nil
}

// coveredLocked reports whether the cluster recovered since this node last
// trusted its store: then what it misses is known to be lost.
func (s *Session) coveredLocked(meta store.Meta, done store.Recovery) bool {
	same := meta.UUID == s.known.Cluster || meta.After == s.known.Cluster
	return same && done.Count > s.known.Recovery
}

// Round is the gate's while it is closed, else "".
func (s *Session) Round() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate.at == 0 {
		return ""
	}
	return s.gate.gate.Round
}

// Recovered reports whether a suspicion is over once this node has written what
// it holds again: the cluster recovered, and the gate is open.
func (s *Session) Recovered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(s.suspect, store.ErrSuspect) || s.held == nil || s.gate.at != 0 {
		return false
	}
	took := s.reasserted != "" && s.reasserted == s.gate.recovery.Round // part in it
	return took || s.coveredLocked(s.meta, s.gate.recovery)
}

// Cautious reports whether the cluster recovered a short while ago.
func (s *Session) Cautious() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gate.caution
}

// Reasserted tells the others that this node has written what it holds again
// since the gate was closed.
func (s *Session) Reasserted(ctx context.Context, round string) error {
	s.mu.Lock()
	done := store.Reasserted{Node: s.id.Node, Round: round, Count: s.known.Recovery}
	s.mu.Unlock()
	if _, err := s.Commit(ctx, store.Txn{Then: []store.Op{store.Put(store.ReassertedKey(s.id.Node), store.Encode(done))}}); err != nil {
		return fmt.Errorf("tell that this node's records are back: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reasserted = round
	return nil
}

// OpenGate ends a recovery: the store as it is now is the truth for every node.
// The caller knows that they have written what they hold again, but for those
// it goes on without.
func (s *Session) OpenGate(ctx context.Context) error {
	acks, _, err := s.List(ctx, store.ReassertedSpan())
	if err != nil {
		return fmt.Errorf("end the recovery: %w", err)
	}
	s.mu.Lock()
	gate, count := s.gate, max(s.known.Recovery, s.gate.recovery.Count)
	s.mu.Unlock()
	for _, it := range acks {
		done, err := store.Decode[store.Reasserted](it)
		if err != nil {
			return fmt.Errorf("end the recovery: %w", err)
		}
		count = max(count, done.Count)
	}
	lease, err := s.backend.Grant(ctx, store.CautionTTL)
	if err != nil {
		return fmt.Errorf("end the recovery: %w", err)
	}
	caution := store.Put(store.CautionKey(), []byte("{}"))
	caution.Lease = lease
	done := store.Recovery{Count: count + 1, Round: gate.gate.Round, Node: s.id.Node, Since: time.Now().Unix()}
	res, err := s.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(store.GateKey(), gate.at)},
		Then: []store.Op{store.Delete(store.GateKey()), store.Put(store.RecoveryKey(), store.Encode(done)), caution},
	})
	if err == nil && !res.Done {
		_ = s.backend.Revoke(ctx, lease) // else it expires by itself
		err = errRaced
	}
	if err != nil {
		return fmt.Errorf("end the recovery: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.gate.at
	s.gate = gateState{recovery: done, caution: true, seen: res.Revision} // ahead of the watch
	s.gateMovedLocked(was)
	return nil
}
