package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// Identity says who opens a session.
type Identity struct {
	Node    string // name of the node, the same for as long as the host lives
	Install string // random uuid of the data directory
	Boot    string // /proc/sys/kernel/random/boot_id
	Host    string // host name, for people
	Address string // that other nodes reach the host by
	Version string // of gvlan
	Gossip  string // host:port of the membership listener, "" without one
	// Returned is the last epoch in which this install had taken its addresses
	// again after an eviction: see Session.Returned. 0: none.
	Returned int64
}

// Session is a node's right to write. It owns the node's epoch: the key that
// is bumped once per start and that every Commit compares, so that a node
// which was replaced or evicted can no longer change anything. It is a KV:
// Get, List and Watch pass through.
//
// It also keeps the node's /live key, and watches over the store's identity:
// a store that lost revisions, or is another one, is still read and written
// (leases are re-asserted into it), but Trusted says ErrSuspect until Accept.
type Session struct {
	backend store.Backend
	id      Identity
	log     *slog.Logger
	past    Past
	pastErr error         // of LoadPast
	opened  chan struct{} // closed by the first open
	fenced  chan struct{} // closed when the epoch is over
	lost    chan struct{} // has one element while the store must be opened anew

	saving sync.Mutex // one SavePast at a time; taken before mu

	mu       sync.Mutex
	replaced chan struct{} // closed when the store is found to be another one, and made anew
	known    Memory        // the past: the store as this node last trusted it
	held     *holding      // nil while not open
	unopened error         // what the last try to open met
	lease    store.LeaseID // that /live hangs from
	epoch    int64
	cluster  string
	// returning: an eviction took addresses, and they were not taken again yet.
	returning bool
	settled   bool             // by Settle: the name is this install's, whose it ever was
	holder    *store.HeldError // of the name, while it is waited for
	heldSince time.Time
	suspect   error          // ErrSuspect or ErrForeign and why; nil while the store is trusted
	why       string         // of ErrSuspect
	over      error          // ErrFenced and by whom
	saved     Memory         // what SavePast was last given
	highest   store.Revision // seen of the store as it is now
	last      store.Revision // of this node's last write to it
	newest    Write          // that this node saw of any node's since the gate was last closed
	meta      store.Meta     // of the store as it is now
	gate      gateState
	// reasserted is the round in which this node wrote what it holds again.
	reasserted string
}

// holding is one life of the epoch key under this session.
type holding struct {
	epochRev store.Revision // its modified revision, compared by every Commit
}

// New prepares a session; Run opens it.
func New(backend store.Backend, id Identity, past Past, log *slog.Logger) *Session {
	s := &Session{
		backend: backend,
		id:      id,
		log:     log,
		past:    past,
		opened:  make(chan struct{}),
		fenced:  make(chan struct{}),
		lost:    make(chan struct{}, 1),

		replaced: make(chan struct{}),
	}
	s.known, s.pastErr = past.LoadPast()
	s.saved, s.cluster = s.known, s.known.Cluster
	return s
}

// Run opens the session as soon as the store answers, and holds it: it keeps
// /live there, watches the epoch and saves the past. It returns nil when ctx
// ends (after taking /live away), *HeldError when another install goes on
// running under this node's name, ErrFenced when the epoch was taken, and an error when
// the past cannot be read or the store is kept by a newer gvlan.
func (s *Session) Run(ctx context.Context) error {
	if s.pastErr != nil {
		return fmt.Errorf("read what this node knew of its cluster: %w", s.pastErr)
	}
	for {
		if err := s.open(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		if err := s.hold(ctx); !errors.Is(err, errReplaced) {
			return err
		}
		s.endWatches()
	}
}

// Opened is closed once the session was opened for the first time.
func (s *Session) Opened() <-chan struct{} { return s.opened }

// Node returns the name of the node.
func (s *Session) Node() string { return s.id.Node }

// Epoch returns the number of this session's epoch; 0 before it is open. It
// grows when the store was lost and the session opened anew.
func (s *Session) Epoch() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

// Cluster returns the uuid of the cluster: before the first open the one the
// past tells of, "" without one.
func (s *Session) Cluster() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster
}

// WasEvicted tells whether this node was evicted and has not taken its
// addresses again since: they may have been given to others.
func (s *Session) WasEvicted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.returning
}

// Returned says that this node has taken again what an eviction left of its
// addresses. The owner keeps the epoch it returns for the Identity of the next
// start.
func (s *Session) Returned() (epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.returning, s.id.Returned = false, s.epoch
	return s.epoch
}

// Trusted tells whether new addresses may be given: nil, or ErrFenced,
// ErrSuspect (this node's own reason, or that of who closed the cluster's gate)
// or ErrForeign with the reason, or ErrUnavailable while not open (with the
// *HeldError that is waited for).
func (s *Session) Trusted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over != nil:
		return s.over
	case s.suspect != nil:
		return s.suspect
	case s.held == nil && s.holder != nil:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, s.holder)
	case s.held == nil:
		return s.notConnectedLocked()
	}
	return s.gate.why()
}

// notConnectedLocked says why the session is not open, as far as its last try
// told.
func (s *Session) notConnectedLocked() error {
	var said interface{ Words() string } // *etcd.RequestError
	switch {
	case errors.As(s.unopened, &said):
		return fmt.Errorf("%w: not connected yet: %s", store.ErrUnavailable, said.Words())
	case s.unopened != nil:
		return fmt.Errorf("%w: not connected yet: %w", store.ErrUnavailable, s.unopened)
	}
	return fmt.Errorf("%w: not connected yet", store.ErrUnavailable)
}

// tried keeps what the last try to open the session met; nil: it is open.
func (s *Session) tried(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unopened = err
}

// Get implements KV.
func (s *Session) Get(ctx context.Context, key string) (store.Item, error) {
	return s.backend.Get(ctx, key)
}

// Grant makes an etcd lease of ttl seconds that nobody keeps alive.
func (s *Session) Grant(ctx context.Context, ttl int64) (store.LeaseID, error) {
	return s.backend.Grant(ctx, ttl)
}

// List implements KV. A revision lower than one seen before makes the store
// suspect.
func (s *Session) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	held, floor := s.view()
	items, rev, err := s.backend.List(ctx, span)
	if err == nil {
		_ = s.observe(held, floor, rev) // what was read is what the store holds; Trusted tells the rest
	}
	return items, rev, err
}

// Watch implements KV. It ends with ErrCompacted when the store turns out to
// be another: one that lost its past is below after, and etcd is silent until
// it gets there.
func (s *Session) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		inner, cancel := context.WithCancelCause(ctx)
		replaced := s.replacement()
		var wait sync.WaitGroup
		wait.Go(func() {
			select {
			case <-replaced:
				cancel(errReplaced)
			case <-inner.Done():
			}
		})
		defer wait.Wait()
		defer cancel(nil)
		for batch, err := range s.backend.Watch(inner, span, after) {
			if err == nil {
				s.watched(replaced, batch.Revision)
			}
			if !yield(batch, err) {
				return
			}
		}
		if errors.Is(context.Cause(inner), errReplaced) {
			yield(store.Batch{}, fmt.Errorf("watch %s: %w: %w", span.From, errReplaced, store.ErrCompacted))
		}
	}
}

// watched takes note of a revision that a watch reached, unless the store that
// it watches was replaced since. Follow judges one that goes back.
func (s *Session) watched(replaced <-chan struct{}, rev store.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replaced == replaced {
		_ = s.observeLocked(s.held, 0, rev)
	}
}

// replacement is closed when the store is found to be another one.
func (s *Session) replacement() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replaced
}

// endWatches ends every watch of the store that is no more.
func (s *Session) endWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.replaced)
	s.replaced = make(chan struct{})
}
