package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// errReplaced says that the store must be opened anew.
var errReplaced = errors.New("the store was replaced")

// leaveTimeout bounds what a session that ends may spend on taking its /live
// away.
const leaveTimeout = 2 * time.Second

// hold keeps an opened session until ctx ends (nil), the epoch is taken
// (ErrFenced) or the store is not the one that was opened (errReplaced).
func (s *Session) hold(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	refused := make(chan error, 3)
	work.Go(func() { s.keepLive(inner) })
	work.Go(func() { s.keepPast(inner) })
	work.Go(func() { s.keepReading(inner) })
	work.Go(func() { refused <- s.watchEpoch(inner) })
	work.Go(func() { refused <- s.watchGate(inner) })
	work.Go(func() { refused <- s.watchWrites(inner) })

	var err error
	select {
	case <-ctx.Done():
	case <-s.fenced:
		err = s.closedErr()
	case <-s.lost:
		err = errReplaced
	case err = <-refused:
	}
	cancel()
	work.Wait()
	s.savePast()
	if !errors.Is(err, errReplaced) {
		s.leave(ctx)
	}
	return err
}

// keepLive keeps /live there. Losing it changes nothing else: containers run
// on and the epoch holds.
func (s *Session) keepLive(ctx context.Context) {
	var wait store.Backoff
	for ctx.Err() == nil {
		held, _ := s.view()
		err := s.backend.KeepAlive(ctx, s.liveLease(), func(rev store.Revision) {
			_ = s.observe(held, 0, rev) // one below may be of a member that lags
			s.readBack(ctx)
		})
		if errors.Is(err, store.ErrNotFound) {
			err = s.putLiveAgain(ctx)
			if err == nil {
				wait.Reset()
				continue
			}
		}
		if err != nil {
			s.log.Debug("liveness is not renewed", "err", err)
			wait.Sleep(ctx)
		}
	}
}

func (s *Session) putLiveAgain(ctx context.Context) error {
	lease, err := s.backend.Grant(ctx, liveTTL)
	if err != nil {
		return err
	}
	if _, err := s.commit(ctx, store.Txn{Then: []store.Op{s.putLive(lease)}}); err != nil {
		return err
	}
	s.setLiveLease(lease)
	s.log.Info("liveness was lost and is back", "node", s.id.Node)
	return nil
}

func (s *Session) liveLease() store.LeaseID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lease
}

func (s *Session) setLiveLease(lease store.LeaseID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lease = lease
}

// watchEpoch notices that the epoch key changed. It returns nil when ctx
// ends, else why it cannot watch.
func (s *Session) watchEpoch(ctx context.Context) error {
	held, _ := s.view()
	if held == nil {
		<-ctx.Done()
		return nil
	}
	key := store.EpochKey(s.id.Node)
	var last store.Revision
	// A verdict closes s.fenced or fills s.lost, which hold waits for.
	return store.Follow(ctx, s.backend, store.Span{From: key, To: key + "\x00"}, func(c store.Change) {
		if found, told := epochIn(c); told {
			_ = s.judge(held, found)
		}
		// What was listed cannot be older than what was watched before.
		_ = s.observe(held, last, c.Revision)
		last = c.Revision
	})
}

// epochIn returns what a change says of the epoch key: zero when it is gone.
func epochIn(c store.Change) (found store.Item, told bool) {
	switch n := len(c.Events); {
	case c.Reset && len(c.Items) > 0:
		return c.Items[0], true
	case c.Reset, n > 0 && c.Events[n-1].Deleted:
		return store.Item{}, true
	case n > 0:
		return c.Events[n-1].Item, true
	}
	return store.Item{}, false
}

// leave takes /live away, so that others see at once that this agent ended.
func (s *Session) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err := s.backend.Revoke(ctx, s.liveLease()); err != nil {
		s.log.Debug("liveness is left to expire", "err", err)
	}
}
