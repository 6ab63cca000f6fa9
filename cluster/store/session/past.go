package session

import (
	"context"
	"fmt"
	"math"
	"time"

	"gvlan/cluster/store"
)

// Past is what a host remembers of its cluster across restarts.
type Past interface {
	// LoadPast returns what was saved; zero when nothing was yet.
	LoadPast() (Memory, error)
	// SavePast keeps it. It is called every few seconds at most.
	SavePast(Memory) error
}

// savePastEvery is how often the highest revision seen is written down.
const savePastEvery = 10 * time.Second

// neverReached is saved as the revision of a cluster that lost its past: no
// store reaches it, so the suspicion outlasts a restart of the agent, also
// when the store has meanwhile grown beyond the revision it fell from.
const neverReached store.Revision = math.MaxInt64

// Memory is a store as a node knew it.
type Memory struct {
	Cluster  string         // its uuid
	Revision store.Revision // the highest seen of it
	Last     store.Revision // of the node's last write to it; 0: not known
	Newest   Write          // of any node's that the node saw
	Recovery int64          // the Count of the last Recovery the node knew of
}

// Write is a node's write to the store, by its revision.
type Write struct {
	Node string
	At   store.Revision // 0: none is known
}

// unsettled is why a store is suspect that a restart found so.
const unsettled = "it lost its past before this agent's start, and no recovery has ended that"

// contradicts says why an opened store cannot be the one remembered; "" when
// it can.
func (m Memory) contradicts(view openingView) string {
	switch {
	case m.Cluster == "":
		return ""
	case view.meta.UUID != m.Cluster:
		return fmt.Sprintf("it is cluster %s, this node knows cluster %s", view.meta.UUID, m.Cluster)
	case m.Revision == neverReached:
		return unsettled
	case view.epochIt.Created == 0:
		return "this node's epoch is missing"
	case view.rev < m.Revision:
		return fmt.Sprintf("revision %d is below %d, which this node has seen", view.rev, m.Revision)
	case view.lastIt.Modified < m.Last:
		return lostWrite("this node's", m.Last, view.lastIt.Modified)
	case view.newestIt.Modified < m.Newest.At:
		return lostWrite("node "+m.Newest.Node+"'s", m.Newest.At, view.newestIt.Modified)
	}
	return ""
}

// Accept ends a suspicion: the store as it is now is the truth from now on.
// The owner calls it once this node's leases were asserted into the store.
// It returns ErrFenced or ErrUnavailable when the session does not hold the
// epoch, and an error when the new past cannot be saved.
func (s *Session) Accept(ctx context.Context) error {
	if _, err := s.Commit(ctx, store.Txn{}); err != nil {
		return fmt.Errorf("accept the store: %w", err)
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	now, held := s.nowLocked(), s.held
	s.mu.Unlock()
	if err := s.past.SavePast(now); err != nil {
		return fmt.Errorf("accept the store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil || s.held != held {
		return fmt.Errorf("accept the store: %w: it was replaced meanwhile", store.ErrUnavailable)
	}
	s.suspect, s.known, s.saved = nil, now, now
	return nil
}

// nowLocked is the store as it is.
func (s *Session) nowLocked() Memory {
	return Memory{s.cluster, s.highest, s.last, s.newest, max(s.known.Recovery, s.gate.recovery.Count)}
}

// suspectLocked stops trusting the store.
func (s *Session) suspectLocked(why string) {
	s.suspect, s.why = fmt.Errorf("%w: %s", store.ErrSuspect, why), why
	s.log.Error("the store is not the one this node knows: no new address is given in the cluster until 'gvlan recover' is run on one host", "why", why)
}

// keepPast writes the past down from time to time.
func (s *Session) keepPast(ctx context.Context) {
	for ctx.Err() == nil {
		store.Sleep(ctx, savePastEvery)
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
	if err := s.past.SavePast(now); err != nil {
		s.log.Warn("what this node knows of its cluster is not saved", "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = now
}
