package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"gvlan/cluster/store"
)

// errRaced says that the store changed between reading and taking.
var errRaced = errors.New("the store changed meanwhile")

// opening takes a node's epoch.
type opening struct {
	backend store.Backend
	id      Identity
	state   *state
	saver   *saver
	opened  chan struct{} // closed by the first open
	log     *slog.Logger
}

// open takes the epoch, however long the store takes to answer, and returns the
// etcd lease that /live hangs from: none, and no error, when ctx ends before.
func (o *opening) open(ctx context.Context) (store.LeaseID, error) {
	var wait store.Backoff
	warned := false
	for ctx.Err() == nil {
		lease, err := o.tryOpen(ctx)
		if !errors.Is(err, errRaced) {
			o.state.tried(err)
		}
		var held *store.HeldError
		switch {
		case err == nil:
			return lease, nil
		case errors.As(err, &held):
			if !o.state.awaits(held) {
				return 0, err
			}
		case errors.Is(err, store.ErrNewer):
			return 0, err
		case errors.Is(err, errRaced):
			continue
		default:
			o.state.awaitAnew() // an etcd that starts gives every lease its whole time once more
			if !warned && ctx.Err() == nil {
				o.log.Warn("session with etcd not open yet: trying again", "err", err)
				warned = true
			}
		}
		wait.Sleep(ctx)
	}
	return 0, nil
}

func (o *opening) tryOpen(ctx context.Context) (store.LeaseID, error) {
	view, err := o.read(ctx)
	if err != nil {
		return 0, err
	}
	if err := o.state.checkHolder(view); err != nil {
		return 0, err
	}
	o.state.doubt(view)
	gateConds, gateOps, err := o.state.closing(view)
	if err != nil {
		return 0, err
	}
	lease, err := o.backend.Grant(ctx, liveTTL)
	if err != nil {
		return 0, err
	}
	epoch := o.state.next(view.epoch)
	res, err := o.backend.Commit(ctx, store.Txn{
		If: append(gateConds,
			store.SameLife(store.MetaKey(), view.metaRev),
			store.Unchanged(store.EpochKey(o.id.Node), view.epochIt.Modified),
			store.Unchanged(store.LiveKey(o.id.Node), view.liveIt.Modified),
		),
		Then: append(gateOps,
			store.Put(store.EpochKey(o.id.Node), store.Encode(epoch)),
			o.id.putLive(lease),
			o.id.putLast(),
		),
	})
	if err != nil {
		return 0, err
	}
	if !res.Done {
		_ = o.backend.Revoke(ctx, lease) // else it expires by itself
		return 0, errRaced
	}
	for _, op := range gateOps { // not what it took the place of, which the watch tells later
		if err := view.gate.apply(store.Item{Key: op.Key, Value: op.Value, Modified: res.Revision}, false); err != nil {
			return 0, err
		}
		view.rev = res.Revision
	}
	o.state.adopt(view, epoch, &holding{epoch: epoch.Epoch, epochRev: res.Revision})
	o.saver.save()
	select {
	case <-o.opened:
	default:
		close(o.opened)
	}
	return lease, nil
}

// read reads what opening rests on, after making the cluster's
// identity when there is none.
func (o *opening) read(ctx context.Context) (openingView, error) {
	var view openingView
	known, _ := o.state.toSave()
	res, err := o.backend.Commit(ctx, store.Txn{Then: []store.Op{
		store.Get(store.MetaKey()), store.Get(store.EpochKey(o.id.Node)), store.Get(store.LiveKey(o.id.Node)), store.Get(store.LastKey(o.id.Node)),
		store.Get(store.GateKey()), store.Get(store.RecoveryKey()), store.Get(store.CautionKey()), store.Get(store.LastKey(known.Newest.Node)),
	}})
	if err != nil {
		return view, err
	}
	meta, ok := res.Item(store.MetaKey())
	if !ok {
		return view, o.makeMeta(ctx)
	}
	if view.meta, err = store.Decode[store.Meta](meta); err != nil {
		return view, fmt.Errorf("open the cluster's store: %w", err)
	}
	view.rev, view.metaRev = res.Revision, meta.Created
	view.liveIt, _ = res.Item(store.LiveKey(o.id.Node))
	view.lastIt, _ = res.Item(store.LastKey(o.id.Node))
	view.newestIt, _ = res.Item(store.LastKey(known.Newest.Node))
	for _, key := range []string{store.GateKey(), store.RecoveryKey(), store.CautionKey()} {
		if it, found := res.Item(key); found {
			if err := view.gate.apply(it, false); err != nil {
				return view, err
			}
		}
	}
	view.epochIt, ok = res.Item(store.EpochKey(o.id.Node))
	if ok {
		view.epoch, err = store.Decode[store.Epoch](view.epochIt)
	}
	return view, err
}

// makeMeta gives a store without one its identity. It returns errRaced so
// that the opening starts over with it.
func (o *opening) makeMeta(ctx context.Context) error {
	known, _ := o.state.toSave()
	id, err := uuid.NewRandomFromReader(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a cluster uuid: %w", err)
	}
	_, err = o.backend.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Absent(store.MetaKey())},
		Then: []store.Op{store.Put(store.MetaKey(), store.Encode(store.Meta{Schema: store.Schema, UUID: id.String(), After: known.Cluster}))},
	})
	if err != nil {
		return err
	}
	return errRaced
}
