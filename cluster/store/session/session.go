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

// Session is a node's right to write. It owns the node's epoch: the key that
// is bumped once per start and that every Commit compares, so that a node
// which was replaced or evicted can no longer change anything. It is a KV:
// Get, List, Scan and Watch pass through.
//
// It also keeps the node's /live key, and watches over the store's identity:
// a store that lost revisions, or is another one, is still read and written
// (leases are re-asserted into it), but Trusted says ErrSuspect until Accept.
type Session struct {
	backend store.Backend
	id      Identity
	log     *slog.Logger
	pastErr error         // of LoadPast
	opened  chan struct{} // closed by the first open
	state   *state
	saver   *saver
}

// New prepares a session; Run opens it.
func New(backend store.Backend, id Identity, past Past, log *slog.Logger) *Session {
	known, err := past.LoadPast()
	state := newState(id, known, log)
	return &Session{
		backend: backend,
		id:      id,
		log:     log,
		pastErr: err,
		opened:  make(chan struct{}),
		state:   state,
		saver:   &saver{past: past, state: state, log: log},
	}
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
	opening := &opening{backend: s.backend, id: s.id, state: s.state, saver: s.saver, opened: s.opened, log: s.log}
	tenure := &tenure{backend: s.backend, id: s.id, state: s.state, saver: s.saver, commit: s.commit, log: s.log}
	for {
		live, err := opening.open(ctx)
		if err != nil || live == 0 {
			return err
		}
		if err := tenure.hold(ctx, live); !errors.Is(err, errReplaced) {
			return err
		}
		s.state.endWatches()
	}
}

// Opened is closed once the session was opened for the first time.
func (s *Session) Opened() <-chan struct{} { return s.opened }

// Node returns the name of the node.
func (s *Session) Node() string { return s.id.Node }

// Epoch returns the number of this session's epoch; 0 before it is open. It
// grows when the store was lost and the session opened anew.
func (s *Session) Epoch() int64 {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return s.state.right.epoch
}

// Cluster returns the uuid of the cluster: before the first open the one the
// past tells of, "" without one.
func (s *Session) Cluster() string {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return s.state.belief.cluster
}

// WasEvicted reports whether this node was evicted and has not taken its
// addresses again since: they may have been given to others.
func (s *Session) WasEvicted() bool {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return s.state.right.returning
}

// Returned says that this node has taken again what an eviction left of its
// addresses. The owner keeps the epoch it returns for the Identity of the next
// start.
func (s *Session) Returned() (epoch int64) {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	r := &s.state.right
	r.returning, r.id.Returned = false, r.epoch
	return r.epoch
}

// Trusted reports whether new addresses may be given: nil, or ErrFenced,
// ErrSuspect (this node's own reason, or that of who closed the cluster's gate)
// or ErrForeign with the reason, or ErrUnavailable while not open (with the
// *HeldError that is waited for).
func (s *Session) Trusted() error { return s.state.trusted() }

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
	held, floor := s.state.view()
	items, rev, err := s.backend.List(ctx, span)
	if err == nil {
		_ = s.state.observe(held, floor, rev) // what was read is what the store holds; Trusted tells the rest
	}
	return items, rev, err
}

// Scan implements KV, with what List says of revisions.
func (s *Session) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	held, floor := s.state.view()
	rev, err := s.backend.Scan(ctx, span, parts, page)
	if err == nil {
		_ = s.state.observe(held, floor, rev)
	}
	return rev, err
}

// Watch implements KV. It ends with ErrCompacted when the store turns out to
// be another: one that lost its past is below after, and etcd is silent until
// it gets there.
func (s *Session) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		inner, cancel := context.WithCancelCause(ctx)
		replaced := s.state.replacement()
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
				s.state.watched(replaced, batch.Revision)
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

// Commit implements KV. The transaction happens only while the epoch is this
// session's: else ErrFenced (taken by a newer agent or an eviction) or
// ErrSuspect (the store lost it), and nothing was written; nor is it while the
// name is another install's (ErrForeign). ErrSuspect with a
// lower revision than one seen before may have written: what it answered
// must not be relied on. ErrUnavailable while the session is not open, or was
// opened anew since the transaction was decided (ErrOutdated; then nothing was
// written), or when the reply is missing (then nobody knows).
// One that Gives is refused with ErrSuspect while the cluster's gate is closed.
// Up to four of the conditions and operations etcd allows are the session's.
func (s *Session) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	if err := s.state.foreign(); err != nil {
		return store.Result{}, fmt.Errorf("commit: %w", err)
	}
	return s.commit(ctx, txn)
}

// commit is Commit, also while the name is another install's.
func (s *Session) commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	if changes(txn.Else) {
		return s.commitEither(ctx, txn)
	}
	held, floor, seen := s.state.guarded()
	if held == nil {
		return store.Result{}, fmt.Errorf("commit: %w", s.state.closed())
	}
	if decided := txn.DecidedIn(); decided != 0 && decided != held.epoch {
		return store.Result{}, fmt.Errorf("commit: %w: %w (in epoch %d)", store.ErrUnavailable, store.ErrOutdated, decided)
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
		s.state.wrote(held, res.Revision)
	}
	if err := s.state.observe(held, floor, res.Revision); err != nil {
		return store.Result{}, fmt.Errorf("commit: %w", err)
	}
	return res, nil
}

// commitEither is commit for a transaction that writes where its conditions do
// not hold, too: what guarded compares must stand over both.
func (s *Session) commitEither(ctx context.Context, txn store.Txn) (store.Result, error) {
	res, err := s.commit(ctx, store.Txn{Gives: txn.Gives, Then: []store.Op{{Kind: store.OpNested, Nested: &txn}}})
	if err != nil {
		return store.Result{}, err
	}
	if len(res.Nested) == 0 {
		return store.Result{}, fmt.Errorf("commit: %w: the transaction ran neither way", store.ErrUnavailable)
	}
	return res.Nested[0], nil
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
		guarded.Then = append([]store.Op{s.id.putLast()}, txn.Then...)
	}
	return guarded
}

// judgeGuards takes what guarded added out of the result of a transaction that
// did not happen, and reports whether that was why.
func (s *Session) judgeGuards(txn store.Txn, held *holding, seen guards, res *store.Result) error {
	found := func(key string) (it store.Item) {
		if len(res.Items) > 0 && res.Items[0].Key == key {
			it, res.Items = res.Items[0], res.Items[1:]
		}
		return it
	}
	epochIt, lastIt := found(store.EpochKey(s.id.Node)), found(store.LastKey(s.id.Node))
	if err := s.state.judge(held, epochIt); err != nil {
		return err
	}
	if err := s.state.judgeLast(held, seen.last, lastIt); err != nil {
		return err
	}
	if !txn.Gives {
		return nil
	}
	gateIt, newestIt := found(store.GateKey()), found(store.LastKey(seen.newest.Node))
	if gateIt.Created != 0 {
		return s.state.gateClosed(gateIt, res.Revision)
	}
	return s.state.judgeNewest(held, seen.newest, newestIt)
}

// changes reports whether any step writes.
func changes(ops []store.Op) bool {
	for _, op := range ops {
		if op.Kind != store.OpGet {
			return true
		}
	}
	return false
}

// Settle says that this install is the node of its name, with all the store
// keeps under it: its engine has that node's endpoints, nothing is left of
// them, or an operator said so. The session then opens anew. It returns
// ErrUnavailable when the session is not open, and an error when there is
// nothing to settle.
func (s *Session) Settle() error { return s.state.settle() }

// Accept ends a suspicion: the store as it is now is the truth from now on.
// The owner calls it once this node's leases were asserted into the store.
// It returns ErrFenced or ErrUnavailable when the session does not hold the
// epoch, and an error when the new past cannot be saved.
func (s *Session) Accept(ctx context.Context) error {
	if _, err := s.Commit(ctx, store.Txn{}); err != nil {
		return fmt.Errorf("accept the store: %w", err)
	}
	if err := s.saver.accept(); err != nil {
		return fmt.Errorf("accept the store: %w", err)
	}
	return nil
}

// Seen is the highest revision that this node knows of its cluster's store; 0
// where it knows none, or the store has lost its past.
func (s *Session) Seen() store.Revision { return s.state.seen() }

// Round is the gate's while it is closed, else "".
func (s *Session) Round() string {
	gate, _, _ := s.state.recovery()
	if gate.at == 0 {
		return ""
	}
	return gate.gate.Round
}

// Recovered reports whether a suspicion is over once this node has written what
// it holds again: the cluster recovered, and the gate is open.
func (s *Session) Recovered() bool { return s.state.recovered() }

// Cautious reports whether the cluster recovered a short while ago.
func (s *Session) Cautious() bool {
	gate, _, _ := s.state.recovery()
	return gate.caution
}

// Reasserted tells the others that this node has written what it holds again
// since the gate was closed.
func (s *Session) Reasserted(ctx context.Context, round string) error {
	_, known, _ := s.state.recovery()
	done := store.Reasserted{Node: s.id.Node, Round: round, Count: known}
	if _, err := s.Commit(ctx, store.Txn{Then: []store.Op{store.Put(store.ReassertedKey(s.id.Node), store.Encode(done))}}); err != nil {
		return fmt.Errorf("tell that this node's records are back: %w", err)
	}
	s.state.reasserted(round)
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
	gate, known, told := s.state.recovery()
	count := max(known, told)
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
	s.state.gateOpened(done, res.Revision)
	return nil
}
