package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gvlan/cluster/store"
)

// DefaultEvictWait is how long an eviction waits after the fence: the time
// to live of a node's live record, after which its agent, if it still runs
// anywhere, knows that it lost its place.
const DefaultEvictWait = 15 * time.Second

// ErrConnected: the node to evict is connected to etcd.
var ErrConnected = errors.New("its agent is connected")

// ErrReturned: the node's agent started again during its eviction.
var ErrReturned = errors.New("the node came back")

// EvictOptions change an eviction. The zero value waits DefaultEvictWait and
// spares connected nodes.
type EvictOptions struct {
	Force bool             // evict a connected node too
	Wait  time.Duration    // after the fence; 0: DefaultEvictWait
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: nothing is logged
}

// Taken counts what an eviction took.
type Taken struct {
	Leases       int // put into quarantine
	Claims       int // of a worker, on addresses the swarm keeps
	Reservations int // of networks whose creation never ended there
	Pools        int // default pools of such networks
	Endpoints    int // records deleted
}

// Evict takes a node out of the cluster. It fences the node by raising its
// epoch, so that nothing it still sends is written; waits; deletes its
// endpoints, so that its names go before its addresses can be given again;
// puts its addresses into quarantine; and deletes its description. An
// eviction that ended early is finished by another. It never touches what
// the swarm claims, and stops with ErrReturned as soon as the node's agent
// has started again.
func Evict(ctx context.Context, kv store.KV, node string, opts EvictOptions) (Taken, error) {
	e := &eviction{kv: kv, node: node, now: opts.Now, log: opts.Log}
	if e.now == nil {
		e.now = time.Now
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if opts.Wait == 0 {
		opts.Wait = DefaultEvictWait
	}
	if err := e.run(ctx, opts); err != nil {
		return e.took, fmt.Errorf("evict node %s: %w", node, err)
	}
	return e.took, nil
}

type eviction struct {
	kv    store.KV
	node  string
	now   func() time.Time
	log   *slog.Logger
	fence store.Cond // holds while the node has not come back
	took  Taken
}

func (e *eviction) run(ctx context.Context, opts EvictOptions) error {
	if err := e.raise(ctx, opts.Force); err != nil {
		return err
	}
	e.log.Info("node fenced", "node", e.node, "wait", opts.Wait)
	timer := time.NewTimer(opts.Wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait after the fence: %w", ctx.Err())
	case <-timer.C:
	}
	for _, step := range []func(context.Context) error{
		e.dropEndpoints, e.takeLeases, e.takePools, e.dropDescription,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// raise fences the node, or finds the fence of an eviction that ended early.
func (e *eviction) raise(ctx context.Context, force bool) error {
	item, err := e.kv.Get(ctx, store.EpochKey(e.node))
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the cluster never had it ('gvlan node ls' lists its nodes): %w", err)
	}
	if err != nil {
		return err
	}
	epoch, err := store.Decode[store.Epoch](item)
	if err != nil {
		return err
	}
	if epoch.Evicted {
		e.fence = store.Unchanged(item.Key, item.Modified)
		return nil
	}
	epoch.Epoch++
	epoch.Evicted = true
	conds := []store.Cond{store.Unchanged(item.Key, item.Modified)}
	if !force {
		conds = append(conds, store.Absent(store.LiveKey(e.node)))
	}
	res, err := e.kv.Commit(ctx, store.Txn{
		If:   conds,
		Then: []store.Op{store.Put(item.Key, store.Encode(epoch))},
	})
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	if !res.Done {
		return fmt.Errorf("%w: stop it first, or evict it with --force", ErrConnected)
	}
	e.fence = store.Unchanged(item.Key, res.Revision)
	return nil
}

// dropEndpoints deletes the node's endpoint records.
func (e *eviction) dropEndpoints(ctx context.Context) error {
	items, _, err := e.kv.List(ctx, store.NodeEndpointsSpan(e.node))
	if err != nil {
		return fmt.Errorf("list endpoints: %w", err)
	}
	var changes []change
	for _, it := range items {
		changes = append(changes, change{item: it, count: &e.took.Endpoints})
	}
	return e.apply(ctx, changes)
}

// dropDescription deletes what else the node wrote about itself. It comes
// last: while the record is there the eviction is seen to be unfinished.
func (e *eviction) dropDescription(ctx context.Context) error {
	res, err := e.kv.Commit(ctx, store.Txn{
		If:   []store.Cond{e.fence},
		Then: []store.Op{store.Delete(store.RefsKey(e.node)), store.Delete(store.NodeKey(e.node))},
	})
	if err != nil {
		return fmt.Errorf("delete its description: %w", err)
	}
	if !res.Done {
		return ErrReturned
	}
	return nil
}
