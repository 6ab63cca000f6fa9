package store

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Past is what a host remembers of its cluster across restarts.
type Past interface {
	// LoadPast returns the cluster's uuid and the highest revision seen of
	// it; "" and 0 when nothing was saved yet.
	LoadPast() (cluster string, rev Revision, err error)
	// SavePast keeps them. It is called every few seconds at most.
	SavePast(cluster string, rev Revision) error
}

// savePastEvery is how often the highest revision seen is written down.
const savePastEvery = 10 * time.Second

// neverReached is saved as the revision of a cluster that lost its past: no
// store reaches it, so the suspicion outlasts a restart of the agent, also
// when the store has meanwhile grown beyond the revision it fell from.
const neverReached Revision = math.MaxInt64

// memory is a store as this node knew it.
type memory struct {
	cluster string
	rev     Revision
}

// contradicts says why an opened store cannot be the one remembered; "" when
// it can.
func (m memory) contradicts(view openingView) string {
	switch {
	case m.cluster == "":
		return ""
	case view.meta.UUID != m.cluster:
		return fmt.Sprintf("it is cluster %s, this node knows cluster %s", view.meta.UUID, m.cluster)
	case m.rev == neverReached:
		return "a suspicion of an earlier run was not settled"
	case view.epochIt.Created == 0:
		return "this node's epoch is missing"
	case view.rev < m.rev:
		return fmt.Sprintf("revision %d is below %d, which this node has seen", view.rev, m.rev)
	}
	return ""
}

// Accept ends a suspicion: the store as it is now is the truth from now on.
// The owner calls it once this node's leases were asserted into the store.
// It returns ErrFenced or ErrUnavailable when the session does not hold the
// epoch, and an error when the new past cannot be saved.
func (s *Session) Accept(ctx context.Context) error {
	if _, err := s.Commit(ctx, Txn{}); err != nil {
		return fmt.Errorf("accept the store: %w", err)
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	now, held := memory{s.cluster, s.highest}, s.held
	s.mu.Unlock()
	if err := s.past.SavePast(now.cluster, now.rev); err != nil {
		return fmt.Errorf("accept the store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil || s.held != held {
		return fmt.Errorf("accept the store: %w: it was replaced meanwhile", ErrUnavailable)
	}
	s.suspect, s.known, s.saved = nil, now, now
	return nil
}

// suspectLocked stops trusting the store.
func (s *Session) suspectLocked(why string) {
	s.suspect = fmt.Errorf("%w: %s", ErrSuspect, why)
	s.log.Error("the store is not the one this node knows: no new address is given until 'gvlan recover'", "why", why)
}

// keepPast writes the past down from time to time.
func (s *Session) keepPast(ctx context.Context) {
	for ctx.Err() == nil {
		sleep(ctx, savePastEvery)
		s.savePast()
	}
}

// savePast writes the past down when it changed.
func (s *Session) savePast() {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	now, saved := s.known, s.saved
	s.mu.Unlock()
	if now == saved {
		return
	}
	if err := s.past.SavePast(now.cluster, now.rev); err != nil {
		s.log.Warn("what this node knows of its cluster is not saved", "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = now
}
