package evict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gvlan/cluster/description"
	"gvlan/cluster/events"
	"gvlan/cluster/store"
)

// DefaultWait is how long an eviction waits after the fence: the time
// to live of a node's live record, after which its agent, if it still runs
// anywhere, knows that it lost its place.
const DefaultWait = 15 * time.Second

// ErrConnected: the node to evict is connected to etcd.
var ErrConnected = errors.New("its agent is connected")

// ErrAnswering: containers of the node to evict still answer on the LAN.
var ErrAnswering = errors.New("addresses of its containers still answer on the LAN")

// ErrReturned: the node's agent started again during its eviction.
var ErrReturned = errors.New("the node came back")

// quarantineTTL is how long an evicted node's addresses rest, in seconds: long
// enough for a host that was only cut off to come back and take its own again.
const quarantineTTL = int64(store.QuarantineRest / time.Second)

// Grant makes the etcd lease that the rest of addresses hangs from; it lasts
// ttl seconds.
type Grant func(ctx context.Context, ttl int64) (store.LeaseID, error)

// Options change an eviction. With Grant and Events alone it waits DefaultWait,
// spares connected nodes and asks the LAN nothing.
type Options struct {
	Grant  Grant         // never nil
	Events events.Teller // is told of it; never nil
	Called string        // what people call the node; "": its name
	Force  bool          // evict a connected node too, and one whose containers answer
	Ask    Ask           // nil: the LAN is not asked
	Wait   time.Duration // after the fence; 0: DefaultWait
	// Fenced is called as soon as the node can write no more, whether or not the
	// rest of the eviction comes to its end; nil: nothing is.
	Fenced func(context.Context) error
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger     // nil: nothing is logged
}

// Taken counts what an eviction took.
type Taken struct {
	Leases       int `json:"leases"`       // put into quarantine
	Claims       int `json:"claims"`       // of a worker, on addresses the swarm keeps
	Reservations int `json:"reservations"` // of networks whose creation never ended there
	Pools        int `json:"pools"`        // default pools of such networks
	Endpoints    int `json:"endpoints"`    // records deleted
	Unasked      int `json:"unasked"`      // endpoints nobody could ask the LAN for
}

// Node takes a node out of the cluster. Unless forced it first asks the LAN
// for the addresses of the node's containers, which outlive their agent, and
// stops with ErrAnswering when one is in use. It fences the node by raising its
// epoch, so that nothing it still sends is written; waits; deletes its
// endpoints, so that its names go before its addresses can be given again;
// puts its addresses into quarantine (Quarantines); and deletes its description. An
// eviction that ended early is finished by another. It never touches what
// the swarm claims, and stops with ErrReturned as soon as the node's agent
// has started again.
func Node(ctx context.Context, kv store.KV, node string, opts Options) (Taken, error) {
	e := &eviction{kv: kv, grant: opts.Grant, node: node, called: cmp.Or(opts.Called, node), now: opts.Now, log: opts.Log}
	if e.now == nil {
		e.now = time.Now
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if opts.Wait == 0 {
		opts.Wait = DefaultWait
	}
	if err := e.run(ctx, opts); err != nil {
		return e.took, fmt.Errorf("evict node %s: %w", e.called, err)
	}
	opts.Events.Tell(events.Event{Kind: events.Evicted, Node: node, Text: e.took.words()})
	return e.took, nil
}

// words say what became of the node's addresses.
func (t Taken) words() string {
	addresses := t.Leases + t.Claims
	if addresses == 0 {
		return "it had no address"
	}
	return fmt.Sprintf("its addresses rest: %d", addresses)
}

type eviction struct {
	kv     store.KV
	grant  Grant
	node   string
	called string
	now    func() time.Time
	log    *slog.Logger
	fence  store.Cond // holds while the node has not come back
	took   Taken
}

func (e *eviction) run(ctx context.Context, opts Options) error {
	epoch, at, err := e.readEpoch(ctx)
	if err != nil {
		return err
	}
	// An eviction that ended early is finished, whatever answers.
	if !opts.Force && !epoch.Evicted {
		if err := e.spare(ctx, opts.Ask); err != nil {
			return err
		}
	}
	if err := e.raise(ctx, epoch, at, opts.Force); err != nil {
		return err
	}
	e.log.Info("node fenced", "node", e.called, "wait", opts.Wait)
	if opts.Fenced != nil {
		if err := opts.Fenced(ctx); err != nil {
			return err
		}
	}
	if !store.Sleep(ctx, opts.Wait) {
		return fmt.Errorf("wait after the fence: %w", ctx.Err())
	}
	for _, step := range []func(context.Context) error{
		e.dropEndpoints, e.beginRest, e.takeLeases, e.takePools, e.dropDescription,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// readEpoch returns the node's epoch and the revision it was written at.
func (e *eviction) readEpoch(ctx context.Context) (epoch store.Epoch, at store.Revision, err error) {
	item, err := e.kv.Get(ctx, store.EpochKey(e.node))
	if errors.Is(err, store.ErrNotFound) {
		return epoch, 0, fmt.Errorf("the cluster never had it ('gvlan node ls' lists its nodes): %w", err)
	}
	if err != nil {
		return epoch, 0, err
	}
	epoch, err = store.Decode[store.Epoch](item)
	return epoch, item.Modified, err
}

// raise fences the node, or takes the fence of an eviction that ended early.
func (e *eviction) raise(ctx context.Context, epoch store.Epoch, at store.Revision, force bool) error {
	key := store.EpochKey(e.node)
	if epoch.Evicted {
		e.fence = store.Unchanged(key, at)
		return nil
	}
	epoch.Epoch++
	epoch.Evicted = true
	conds := []store.Cond{store.Unchanged(key, at)}
	if !force {
		conds = append(conds, store.Absent(store.LiveKey(e.node)))
	}
	res, err := e.kv.Commit(ctx, store.Txn{
		If:   conds,
		Then: []store.Op{store.Put(key, store.Encode(epoch))},
	})
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	if !res.Done {
		return errConnected()
	}
	e.fence = store.Unchanged(key, res.Revision)
	return nil
}

// dropEndpoints deletes the node's endpoint records, and what says which of
// them have a MAC address that a user gave.
func (e *eviction) dropEndpoints(ctx context.Context) error {
	_, err := e.kv.Scan(ctx, store.NodeEndpointsSpan(e.node), store.KeysOnly, func(page []store.Item) error {
		var changes []change
		for _, it := range page {
			changes = append(changes, change{item: it, count: &e.took.Endpoints})
		}
		return e.apply(ctx, changes)
	})
	if err != nil {
		return fmt.Errorf("delete its endpoints: %w", err)
	}
	uncounted := 0
	_, err = e.kv.Scan(ctx, store.MACsSpan(), store.Whole, func(page []store.Item) error {
		var changes []change
		for _, it := range page {
			if rec, err := store.Decode[store.MAC](it); err == nil && rec.Node == e.node {
				changes = append(changes, change{item: it, count: &uncounted})
			}
		}
		return e.apply(ctx, changes)
	})
	if err != nil {
		return fmt.Errorf("delete the MAC addresses of its endpoints: %w", err)
	}
	return nil
}

// dropDescription deletes what else the node wrote about itself. It comes
// last: while the record is there the eviction is seen to be unfinished.
func (e *eviction) dropDescription(ctx context.Context) error {
	res, err := e.kv.Commit(ctx, store.Txn{
		If:   []store.Cond{e.fence},
		Then: []store.Op{store.Delete(store.RefsKey(e.node)), description.Delete(e.node)},
	})
	if err != nil {
		return fmt.Errorf("delete its description: %w", err)
	}
	if !res.Done {
		return ErrReturned
	}
	return nil
}

// Resign takes a node out of the cluster that has given back all it had: its
// own agent says so, with its last write.
func Resign(ctx context.Context, kv store.KV, node string) error {
	e := &eviction{kv: kv, node: node}
	epoch, at, err := e.readEpoch(ctx)
	if err != nil {
		return fmt.Errorf("take node %s out of the cluster: %w", node, err)
	}
	epoch.Epoch++
	epoch.Evicted = true
	res, err := kv.Commit(ctx, store.Txn{
		If: []store.Cond{store.Unchanged(store.EpochKey(node), at)},
		Then: []store.Op{
			store.Put(store.EpochKey(node), store.Encode(epoch)), store.Delete(store.RefsKey(node)), description.Delete(node),
		},
	})
	if err == nil && !res.Done {
		err = ErrReturned
	}
	if err != nil {
		return fmt.Errorf("take node %s out of the cluster: %w", node, err)
	}
	return nil
}

// Ask asks the LAN for endpoints by their addresses. It returns those that
// answer, and those it had no way to ask for.
type Ask func(context.Context, []store.Endpoint) (answering, unasked []store.Endpoint, err error)

// spare refuses a node that is there: whose agent is connected, or whose
// containers answer. They outlive their agent, and after the quarantine
// others would be given their addresses.
func (e *eviction) spare(ctx context.Context, ask Ask) error {
	if _, err := e.kv.Get(ctx, store.LiveKey(e.node)); !errors.Is(err, store.ErrNotFound) {
		return cmp.Or(err, errConnected())
	}
	if ask == nil {
		return nil
	}
	endpoints, err := e.endpoints(ctx)
	if err != nil {
		return err
	}
	answering, unasked, err := ask(ctx, endpoints)
	if err != nil {
		return fmt.Errorf("ask the LAN for its addresses: %w", err)
	}
	e.took.Unasked = len(unasked)
	if len(answering) > 0 {
		return fmt.Errorf("%w: %s: stop these containers first, or evict it with --force", ErrAnswering, list(answering))
	}
	return nil
}

func errConnected() error {
	return fmt.Errorf("%w: stop it first, or evict it with --force", ErrConnected)
}

func (e *eviction) endpoints(ctx context.Context) ([]store.Endpoint, error) {
	items, _, err := e.kv.List(ctx, store.NodeEndpointsSpan(e.node))
	if err != nil {
		return nil, fmt.Errorf("list endpoints: %w", err)
	}
	var all []store.Endpoint
	for _, it := range items {
		endpoint, err := store.Decode[store.Endpoint](it)
		if err != nil {
			return nil, err
		}
		all = append(all, endpoint)
	}
	return all, nil
}

// list names endpoints as people know them: container and address.
func list(endpoints []store.Endpoint) string {
	var all []string
	for _, e := range endpoints {
		address, _, _ := strings.Cut(cmp.Or(e.IPv4, e.IPv6), "/")
		all = append(all, fmt.Sprintf("%s (%s)", cmp.Or(e.Container.Name, e.Endpoint), address))
	}
	return strings.Join(all, ", ")
}
