package store

import (
	"context"
	"fmt"
)

// Commit implements KV. The transaction happens only while the epoch is this
// session's: else ErrFenced (taken by a newer agent or an eviction) or
// ErrSuspect (the store lost it), and nothing was written; nor is it while the
// name is another install's (ErrForeign). ErrSuspect with a
// lower revision than one seen before may have written: what it answered
// must not be relied on. ErrUnavailable while the session is not open (then
// nothing was written) or when the reply is missing (then nobody knows).
// The epoch takes one of the conditions and operations etcd allows.
func (s *Session) Commit(ctx context.Context, txn Txn) (Result, error) {
	if err := s.foreign(); err != nil {
		return Result{}, fmt.Errorf("commit: %w", err)
	}
	return s.commit(ctx, txn)
}

// commit is Commit, also while the name is another install's.
func (s *Session) commit(ctx context.Context, txn Txn) (Result, error) {
	held, floor := s.view()
	if held == nil {
		return Result{}, fmt.Errorf("commit: %w", s.closedErr())
	}
	epochKey := EpochKey(s.id.Node)
	res, err := s.backend.Commit(ctx, Txn{
		If:   append([]Cond{Unchanged(epochKey, held.epochRev)}, txn.If...),
		Then: txn.Then,
		Else: append([]Op{Get(epochKey)}, txn.Else...),
	})
	if err != nil {
		return Result{}, err
	}
	if !res.Done {
		var epochIt Item
		if len(res.Items) > 0 && res.Items[0].Key == epochKey {
			epochIt, res.Items = res.Items[0], res.Items[1:]
		}
		if err := s.judge(held, epochIt); err != nil {
			return Result{}, fmt.Errorf("commit: %w", err)
		}
	}
	if err := s.observe(held, floor, res.Revision); err != nil {
		return Result{}, fmt.Errorf("commit: %w", err)
	}
	return res, nil
}

// view returns what a call must judge its reply by: the epoch it is sent
// under, nil when there is none, and the revision no reply may be below.
func (s *Session) view() (*holding, Revision) {
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
	return fmt.Errorf("%w: the session is not open", ErrUnavailable)
}

// judge compares the epoch key as the store holds it (zero: absent) with the
// holding a call was made under: nil while it is that one.
func (s *Session) judge(held *holding, found Item) error {
	if found.Modified == held.epochRev {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over != nil:
		return s.over
	case s.held != held:
		return fmt.Errorf("%w: the session was opened anew", ErrUnavailable)
	case found.Modified == 0:
		return s.replacedLocked("this node's epoch is missing")
	}
	epoch, err := Decode[Epoch](found)
	if err != nil || found.Modified < held.epochRev || epoch.Epoch < s.epoch {
		return s.replacedLocked(fmt.Sprintf("this node's epoch went from %d back to %d", s.epoch, epoch.Epoch))
	}
	return s.fenceLocked(epoch)
}

// observe takes note of a revision the store answered with. One below floor,
// which was seen before the call, means that the store went back.
func (s *Session) observe(held *holding, floor, rev Revision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.held != held || held == nil:
		return nil
	case rev < floor:
		return s.replacedLocked(fmt.Sprintf("revision %d is below %d, which this node has seen", rev, floor))
	}
	s.highest = max(s.highest, rev)
	if s.suspect == nil {
		s.known = memory{s.cluster, s.highest}
	}
	return nil
}

// fenceLocked ends the session's right to write, for good.
func (s *Session) fenceLocked(by Epoch) error {
	if by.Evicted {
		s.over = fmt.Errorf("%w: the node was evicted", ErrFenced)
	} else {
		s.over = fmt.Errorf("%w: epoch %d was taken by install %s, boot %s%s", ErrFenced, by.Epoch, by.Install, by.Boot, s.rivalCure(by))
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
