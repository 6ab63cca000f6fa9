package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"gvlan/cluster/store"
)

// liveTTL is how long /live outlasts an agent that died, in seconds.
const liveTTL = 15

// errRaced says that the store changed between reading and taking.
var errRaced = errors.New("the store changed meanwhile")

// open takes the epoch, however long the store takes to answer. It returns
// nil when ctx ends.
func (s *Session) open(ctx context.Context) error {
	var wait store.Backoff
	warned := false
	for ctx.Err() == nil {
		err := s.tryOpen(ctx)
		if !errors.Is(err, errRaced) {
			s.tried(err)
		}
		var held *store.HeldError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &held):
			if !s.awaits(held) {
				return err
			}
		case errors.Is(err, errNewer):
			return err
		case errors.Is(err, errRaced):
			continue
		default:
			s.awaitAnew() // an etcd that starts gives every lease its whole time once more
			if !warned && ctx.Err() == nil {
				s.log.Warn("the store is not open yet", "err", err)
				warned = true
			}
		}
		wait.Sleep(ctx)
	}
	return nil
}

// openingView is what the store holds when a session opens, all of one
// revision.
type openingView struct {
	rev     store.Revision
	meta    store.Meta
	metaRev store.Revision
	epoch   store.Epoch
	epochIt store.Item // zero: absent
	liveIt  store.Item // zero: absent
	lastIt  store.Item // zero: absent
	// newestIt is the LastKey of whose write was the newest this node knew of.
	newestIt store.Item
	gate     gateState
}

func (s *Session) tryOpen(ctx context.Context) error {
	view, err := s.readOpening(ctx)
	if err != nil {
		return err
	}
	if err := s.checkHolder(view); err != nil {
		return err
	}
	s.doubt(view)
	gateConds, gateOps, err := s.closing(view)
	if err != nil {
		return err
	}
	lease, err := s.backend.Grant(ctx, liveTTL)
	if err != nil {
		return err
	}
	epoch := s.nextEpoch(view)
	res, err := s.backend.Commit(ctx, store.Txn{
		If: append(gateConds,
			store.SameLife(store.MetaKey(), view.metaRev),
			store.Unchanged(store.EpochKey(s.id.Node), view.epochIt.Modified),
			store.Unchanged(store.LiveKey(s.id.Node), view.liveIt.Modified),
		),
		Then: append(gateOps,
			store.Put(store.EpochKey(s.id.Node), store.Encode(epoch)),
			s.putLive(lease),
			s.lastPut(),
		),
	})
	if err != nil {
		return err
	}
	if !res.Done {
		_ = s.backend.Revoke(ctx, lease) // else it expires by itself
		return errRaced
	}
	s.adopt(view, epoch, &holding{epochRev: res.Revision}, lease)
	return nil
}

// readOpening reads what opening rests on, after making the cluster's
// identity when there is none.
func (s *Session) readOpening(ctx context.Context) (openingView, error) {
	var view openingView
	s.mu.Lock()
	known := s.known
	s.mu.Unlock()
	res, err := s.backend.Commit(ctx, store.Txn{Then: []store.Op{
		store.Get(store.MetaKey()), store.Get(store.EpochKey(s.id.Node)), store.Get(store.LiveKey(s.id.Node)), store.Get(store.LastKey(s.id.Node)),
		store.Get(store.GateKey()), store.Get(store.RecoveryKey()), store.Get(store.CautionKey()), store.Get(store.LastKey(known.Newest.Node)),
	}})
	if err != nil {
		return view, err
	}
	meta, ok := res.Item(store.MetaKey())
	if !ok {
		return view, s.makeMeta(ctx)
	}
	if view.meta, err = store.Decode[store.Meta](meta); err != nil {
		return view, err
	}
	if view.meta.Schema > store.Schema {
		return view, fmt.Errorf("%w: its records have schema %d, this one knows %d: update gvlan on this host", errNewer, view.meta.Schema, store.Schema)
	}
	view.rev, view.metaRev = res.Revision, meta.Created
	view.liveIt, _ = res.Item(store.LiveKey(s.id.Node))
	view.lastIt, _ = res.Item(store.LastKey(s.id.Node))
	view.newestIt, _ = res.Item(store.LastKey(known.Newest.Node))
	for _, key := range []string{store.GateKey(), store.RecoveryKey(), store.CautionKey()} {
		if it, found := res.Item(key); found {
			if err := view.gate.take(it, false); err != nil {
				return view, err
			}
		}
	}
	if view.epochIt, ok = res.Item(store.EpochKey(s.id.Node)); ok {
		view.epoch, err = store.Decode[store.Epoch](view.epochIt)
	}
	return view, err
}

// errNewer says that the cluster is kept by a newer gvlan.
var errNewer = errors.New("the cluster is kept by a newer gvlan")

// makeMeta gives a store without one its identity. It returns errRaced so
// that the opening starts over with it.
func (s *Session) makeMeta(ctx context.Context) error {
	id, err := uuid.NewRandomFromReader(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a cluster uuid: %w", err)
	}
	_, err = s.backend.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Absent(store.MetaKey())},
		Then: []store.Op{store.Put(store.MetaKey(), store.Encode(store.Meta{Schema: store.Schema, UUID: id.String(), After: s.remembered()}))},
	})
	if err != nil {
		return err
	}
	return errRaced
}

// remembered is the cluster that a store made anew takes the place of, "" when
// this node knew none.
func (s *Session) remembered() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known.Cluster
}

// doubt compares what the store holds with the past, before anything is
// written: an opening whose answer is lost is seen by the next as if the past
// had never been contradicted.
func (s *Session) doubt(view openingView) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch why := s.known.contradicts(view); {
	case s.suspect != nil:
	case s.elderLocked(view.epoch) != "":
		s.foreignLocked(view.epoch) // what else is wrong is seen when it is settled
	case why != "":
		s.suspectLocked(why)
	}
}

func (s *Session) nextEpoch(view openingView) store.Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return store.Epoch{
		Epoch:     max(view.epoch.Epoch, s.epoch) + 1,
		Install:   s.id.Install,
		Boot:      s.id.Boot,
		Returning: view.epoch.Evicted || view.epoch.Returning && view.epoch.Epoch > s.id.Returned,
		Elder:     s.elderLocked(view.epoch),
	}
}

func (s *Session) putLive(lease store.LeaseID) store.Op {
	put := store.Put(store.LiveKey(s.id.Node), store.Encode(store.Live{
		Install: s.id.Install,
		Host:    s.id.Host,
		Address: s.id.Address,
		Gossip:  s.id.Gossip,
		Since:   time.Now().Unix(),
	}))
	put.Lease = lease
	return put
}

// adopt makes the opened store the session's.
func (s *Session) adopt(view openingView, epoch store.Epoch, held *holding, lease store.LeaseID) {
	s.mu.Lock()
	s.held, s.lease, s.epoch, s.cluster = held, lease, epoch.Epoch, view.meta.UUID
	s.highest, s.last, s.newest = held.epochRev, held.epochRev, Write{s.id.Node, held.epochRev}
	s.meta, s.gate = view.meta, view.gate
	s.gate.seen = view.rev
	s.returning = epoch.Returning
	s.holder = nil
	switch {
	case s.suspect == nil:
		s.known = s.nowLocked()
	case s.cluster == s.known.Cluster && errors.Is(s.suspect, store.ErrSuspect):
		s.known.Revision = neverReached
	}
	s.log.Info("store opened", "node", s.id.Node, "epoch", s.epoch, "cluster", s.cluster,
		"revision", s.highest, "evicted", s.returning)
	s.mu.Unlock()
	s.savePast()
	select {
	case <-s.opened:
	default:
		close(s.opened)
	}
}
