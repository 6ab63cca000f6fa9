package session

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// errReplaced says that the store must be opened anew.
var errReplaced = errors.New("the store was replaced")

// leaveTimeout bounds what a session that ends may spend on taking its /live
// away.
const leaveTimeout = 2 * time.Second

// tenure is what goes on while a session is open.
type tenure struct {
	backend store.Backend
	id      Identity
	state   *state
	saver   *saver
	commit  func(context.Context, store.Txn) (store.Result, error) // the session's, whosever the name was
	log     *slog.Logger

	live store.LeaseID // of /live; keepLive's alone while it runs
}

// hold keeps an opened session, whose /live hangs from an etcd lease, until ctx
// ends (nil), the epoch is taken (ErrFenced) or the store is not the one that
// was opened (errReplaced).
func (t *tenure) hold(ctx context.Context, live store.LeaseID) error {
	t.live = live
	inner, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	refused := make(chan error, 3)
	work.Go(func() { t.keepLive(inner) })
	work.Go(func() { t.saver.keep(inner) })
	work.Go(func() { t.keepReading(inner) })
	work.Go(func() { refused <- t.watchEpoch(inner) })
	work.Go(func() { refused <- t.watchGate(inner) })
	work.Go(func() { refused <- t.watchWrites(inner) })

	var err error
	select {
	case <-ctx.Done():
	case <-t.state.fenced:
		err = t.state.closed()
	case <-t.state.lost:
		err = errReplaced
	case err = <-refused:
	}
	cancel()
	work.Wait()
	t.saver.save()
	if !errors.Is(err, errReplaced) {
		t.leave(ctx)
	}
	return err
}

// keepLive keeps /live there. Losing it changes nothing else: containers run
// on and the epoch holds.
func (t *tenure) keepLive(ctx context.Context) {
	var wait store.Backoff
	for ctx.Err() == nil {
		held, _ := t.state.view()
		err := t.backend.KeepAlive(ctx, t.live, func(rev store.Revision) {
			_ = t.state.observe(held, 0, rev) // one below may be of a member that lags
			t.readBack(ctx)
		})
		if errors.Is(err, store.ErrNotFound) {
			err = t.putLiveAgain(ctx)
			if err == nil {
				wait.Reset()
				continue
			}
		}
		if err != nil {
			t.log.Debug("/live not renewed: trying again", "err", err)
			wait.Sleep(ctx)
		}
	}
}

func (t *tenure) putLiveAgain(ctx context.Context) error {
	lease, err := t.backend.Grant(ctx, liveTTL)
	if err != nil {
		return err
	}
	if _, err := t.commit(ctx, store.Txn{Then: []store.Op{t.id.putLive(lease)}}); err != nil {
		return err
	}
	t.live = lease
	t.log.Info("/live was lost and is back", "node", t.id.Node)
	return nil
}

// watchEpoch notices that the epoch key changed. It returns nil when ctx
// ends, else why it cannot watch.
func (t *tenure) watchEpoch(ctx context.Context) error {
	held, _ := t.state.view()
	if held == nil {
		<-ctx.Done()
		return nil
	}
	key := store.EpochKey(t.id.Node)
	var last store.Revision
	// A verdict closes fenced or fills lost of the state, which hold waits for.
	return store.Follow(ctx, t.backend, store.Span{From: key, To: key + "\x00"}, func(c store.Change) {
		if found, told := epochIn(c); told {
			_ = t.state.judge(held, found)
		}
		// What was listed cannot be older than what was watched before.
		_ = t.state.observe(held, last, c.Revision)
		last = c.Revision
	})
}

// epochIn returns what a change says of the epoch key: zero when it is gone.
func epochIn(c store.Change) (found store.Item, told bool) {
	n := len(c.Events)
	switch {
	case c.Reset && len(c.Items) > 0:
		return c.Items[0], true
	case c.Reset, n > 0 && c.Events[n-1].Deleted:
		return store.Item{}, true
	case n > 0:
		return c.Events[n-1].Item, true
	}
	return store.Item{}, false
}

// watchGate keeps what is known of the gate. It returns nil when ctx ends, else
// why it cannot watch.
func (t *tenure) watchGate(ctx context.Context) error {
	return store.Follow(ctx, t.backend, store.RecoverySpan(), t.state.gateChanged)
}

// watchWrites learns of every node's writes. What is given compares the newest
// of them: the node whose write is lost closes the gate, but it may come back to
// the store later than this one. It returns nil when ctx ends, else why it
// cannot watch.
func (t *tenure) watchWrites(ctx context.Context) error {
	held, _ := t.state.view()
	return store.Follow(ctx, t.backend, store.LastSpan(), func(c store.Change) { t.state.sawWrites(held, c) })
}

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

// keepReading reads this node's last write back after each reconnect.
func (t *tenure) keepReading(ctx context.Context) {
	backend, ok := t.backend.(Reconnecter)
	if !ok {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-backend.Reconnected():
			t.readBack(ctx)
		}
	}
}

// readBack compares this node's last write, and the newest it saw of any node's,
// with the store. A store that does not answer proves nothing.
func (t *tenure) readBack(ctx context.Context) {
	held, floor, seen := t.state.guarded()
	if held == nil {
		return
	}
	res, err := t.backend.Commit(ctx, store.Txn{Then: []store.Op{store.Get(store.LastKey(t.id.Node)), store.Get(store.LastKey(seen.newest.Node))}})
	if err != nil {
		return
	}
	own, _ := res.Item(store.LastKey(t.id.Node))
	other, _ := res.Item(store.LastKey(seen.newest.Node))
	// A verdict fills lost of the state, which hold waits for.
	if t.state.judgeLast(held, seen.last, own) == nil && t.state.judgeNewest(held, seen.newest, other) == nil {
		_ = t.state.observe(held, floor, res.Revision)
	}
}

// leave takes /live away, so that others see at once that this agent ended.
func (t *tenure) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err := t.backend.Revoke(ctx, t.live); err != nil {
		t.log.Debug("/live not taken away: it expires by itself", "err", err)
	}
}

// savePastEvery is how often the highest revision seen is written down.
const savePastEvery = 10 * time.Second

// saver writes the past down.
type saver struct {
	past  Past
	state *state
	log   *slog.Logger

	saving sync.Mutex // one SavePast at a time; taken before the state's
}

// keep saves from time to time, until ctx ends.
func (v *saver) keep(ctx context.Context) {
	for ctx.Err() == nil {
		store.Sleep(ctx, savePastEvery)
		v.save()
	}
}

// save writes the past down when it changed.
func (v *saver) save() {
	v.saving.Lock()
	defer v.saving.Unlock()
	now, saved := v.state.toSave()
	if now == saved {
		return
	}
	if err := v.past.SavePast(now); err != nil {
		v.log.Warn("what this node knows of its cluster not saved: trying again", "err", err)
		return
	}
	v.state.didSave(now)
}

// accept makes the store as it is the past, once that is saved.
func (v *saver) accept() error {
	v.saving.Lock()
	defer v.saving.Unlock()
	now, held := v.state.asItIs()
	if err := v.past.SavePast(now); err != nil {
		return err
	}
	return v.state.accept(now, held)
}
