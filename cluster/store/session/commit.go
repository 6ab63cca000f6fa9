package session

import (
	"context"
	"fmt"

	"gvlan/cluster/store"
)

// Commit implements KV. The transaction happens only while the epoch is this
// session's: else ErrFenced (taken by a newer agent or an eviction) or
// ErrSuspect (the store lost it), and nothing was written; nor is it while the
// name is another install's (ErrForeign). ErrSuspect with a
// lower revision than one seen before may have written: what it answered
// must not be relied on. ErrUnavailable while the session is not open (then
// nothing was written) or when the reply is missing (then nobody knows).
// One that Gives is refused with ErrSuspect while the cluster's gate is closed.
// Up to four of the conditions and operations etcd allows are the session's.
func (s *Session) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	if err := s.foreign(); err != nil {
		return store.Result{}, fmt.Errorf("commit: %w", err)
	}
	return s.commit(ctx, txn)
}

// commit is Commit, also while the name is another install's.
func (s *Session) commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	s.mu.Lock()
	held, floor, seen := s.held, s.highest, guards{s.last, s.newest}
	s.mu.Unlock()
	if held == nil {
		return store.Result{}, fmt.Errorf("commit: %w", s.closedErr())
	}
	res, err := s.backend.Commit(ctx, s.guarded(txn, held, seen))
	if err != nil {
		return store.Result{}, err
	}
	if !res.Done {
		if err := s.judgeGuards(txn, held, seen, &res); err != nil {
			return store.Result{}, fmt.Errorf("commit: %w", err)
		}
	} else if changes(txn.Then) {
		s.wrote(held, res.Revision)
	}
	if err := s.observe(held, floor, res.Revision); err != nil {
		return store.Result{}, fmt.Errorf("commit: %w", err)
	}
	return res, nil
}

// guards are the writes that a store must have that a transaction is sent to.
type guards struct {
	last   store.Revision
	newest Write
}

// guarded adds what every transaction compares: the epoch and this node's last
// write, and where something is given the gate and the newest write of any
// node.
func (s *Session) guarded(txn store.Txn, held *holding, seen guards) store.Txn {
	epochKey, lastKey := store.EpochKey(s.id.Node), store.LastKey(s.id.Node)
	conds, found := []store.Cond{store.Unchanged(epochKey, held.epochRev), store.NotBefore(lastKey, seen.last)}, []store.Op{store.Get(epochKey), store.Get(lastKey)}
	if txn.Gives {
		newestKey := store.LastKey(seen.newest.Node)
		conds = append(conds, store.Absent(store.GateKey()), store.NotBefore(newestKey, seen.newest.At))
		found = append(found, store.Get(store.GateKey()), store.Get(newestKey))
	}
	guarded := store.Txn{If: append(conds, txn.If...), Then: txn.Then, Else: append(found, txn.Else...)}
	if changes(txn.Then) {
		guarded.Then = append([]store.Op{s.lastPut()}, txn.Then...)
	}
	return guarded
}

// judgeGuards takes what guarded added out of the result of a transaction that
// did not happen, and tells whether that was why.
func (s *Session) judgeGuards(txn store.Txn, held *holding, seen guards, res *store.Result) error {
	found := func(key string) (it store.Item) {
		if len(res.Items) > 0 && res.Items[0].Key == key {
			it, res.Items = res.Items[0], res.Items[1:]
		}
		return it
	}
	epochIt, lastIt := found(store.EpochKey(s.id.Node)), found(store.LastKey(s.id.Node))
	if err := s.judge(held, epochIt); err != nil {
		return err
	}
	if err := s.judgeLast(held, seen.last, lastIt); err != nil {
		return err
	}
	if !txn.Gives {
		return nil
	}
	gateIt, newestIt := found(store.GateKey()), found(store.LastKey(seen.newest.Node))
	if gateIt.Created != 0 {
		return s.gateClosed(gateIt, res.Revision)
	}
	return s.judgeNewest(held, seen.newest, newestIt)
}

// view returns what a call must judge its reply by: the epoch it is sent
// under, nil when there is none, and the revision no reply may be below.
func (s *Session) view() (*holding, store.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held, s.highest
}

// closedErr says why there is no epoch to write under.
func (s *Session) closedErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return s.over
	}
	return fmt.Errorf("%w: the session is not open", store.ErrUnavailable)
}

// judge compares the epoch key as the store holds it (zero: absent) with the
// holding a call was made under: nil while it is that one.
func (s *Session) judge(held *holding, found store.Item) error {
	if found.Modified == held.epochRev {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over != nil:
		return s.over
	case s.held != held:
		return fmt.Errorf("%w: the session was opened anew", store.ErrUnavailable)
	case found.Modified == 0:
		return s.replacedLocked("this node's epoch is missing")
	}
	epoch, err := store.Decode[store.Epoch](found)
	if err != nil || found.Modified < held.epochRev || epoch.Epoch < s.epoch {
		return s.replacedLocked(fmt.Sprintf("this node's epoch went from %d back to %d", s.epoch, epoch.Epoch))
	}
	return s.fenceLocked(epoch)
}

// observe takes note of a revision the store answered with. One below floor,
// which was seen before the call, means that the store went back.
func (s *Session) observe(held *holding, floor, rev store.Revision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.observeLocked(held, floor, rev)
}

func (s *Session) observeLocked(held *holding, floor, rev store.Revision) error {
	switch {
	case s.held != held || held == nil:
		return nil
	case rev < floor:
		return s.replacedLocked(fmt.Sprintf("revision %d is below %d, which this node has seen", rev, floor))
	}
	s.highest = max(s.highest, rev)
	if s.suspect == nil {
		s.known = s.nowLocked()
	}
	return nil
}

// fenceLocked ends the session's right to write, for good.
func (s *Session) fenceLocked(by store.Epoch) error {
	if by.Evicted {
		s.over = fmt.Errorf("%w: the node was evicted", store.ErrFenced)
	} else {
		s.over = fmt.Errorf("%w: epoch %d was taken by install %s, boot %s%s", store.ErrFenced, by.Epoch, by.Install, by.Boot, s.rivalCure(by))
	}
	s.held = nil
	close(s.fenced)
	return s.over
}

// replacedLocked closes a session whose store is not what it was; Run opens
// it anew.
func (s *Session) replacedLocked(why string) error {
	s.held = nil
	if s.suspect == nil {
		s.suspectLocked(why)
	}
	select {
	case s.lost <- struct{}{}:
	default:
	}
	return s.suspect
}
