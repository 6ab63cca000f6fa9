package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
)

// Get implements KV.
func (e *Client) Get(ctx context.Context, key string) (store.Item, error) {
	var found []*mvccpb.KeyValue
	err := e.read(ctx, func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.Get(ctx, e.prefix+key)
		if err == nil {
			found = resp.Kvs
		}
		return err
	})
	if err == nil && len(found) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Item{}, fmt.Errorf("get %s: %w", key, err)
	}
	return e.item(found[0]), nil
}

// List implements KV.
func (e *Client) List(ctx context.Context, span store.Span) (items []store.Item, rev store.Revision, err error) {
	rev, err = scan(ctx, e, span, store.Whole, func(page []store.Item) error {
		items = append(items, page...)
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", span.From, err)
	}
	return items, rev, nil
}

// Scan implements KV.
func (e *Client) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	var broken error // what page says
	rev, err := scan(ctx, e, span, parts, func(items []store.Item) error {
		broken = page(items)
		return broken
	})
	switch {
	case broken != nil:
		return 0, broken
	case err != nil:
		return 0, fmt.Errorf("scan %s: %w", span.From, err)
	}
	return rev, nil
}

// Commit implements KV. It is sent once: when the answer is missing the
// caller alone knows how to ask again.
func (e *Client) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	var resp *clientv3.TxnResponse
	send := func(ctx context.Context, client *clientv3.Client) (err error) {
		resp, err = client.Txn(ctx).If(e.conds(txn.If)...).Then(e.ops(txn.Then)...).Else(e.ops(txn.Else)...).Commit()
		return err
	}
	if err := e.once(ctx, e.limit, send); err != nil {
		return store.Result{}, fmt.Errorf("commit: %w", explain(err))
	}
	return e.result(txn, resp.Succeeded, resp.Responses, store.Revision(resp.Header.Revision)), nil
}

// request is one request to etcd.
type request func(context.Context, *clientv3.Client) error

// learnerTries is how often a request may come to a learner, for each member:
// who is asked next is in gRPC's hands, which begins anew, somewhere, when a
// connection comes or goes.
const learnerTries = 4

// read repeats a request that changes nothing, so that each member is asked
// once, and twice at least.
func (e *Client) read(ctx context.Context, ask request) error {
	return e.repeat(ctx, func(ctx context.Context) error { return e.attempt(ctx, ask) })
}

// repeat is read, of attempts that keep a limit of their own.
func (e *Client) repeat(ctx context.Context, attempt func(context.Context) error) error {
	members := len(e.endpoints())
	tries, learners := max(2, members), learnerTries*members
	for {
		err := attempt(ctx)
		switch {
		case err == nil:
			return nil
		case ofLearner(err):
			learners--
		case refusedLogin(err), unavailable(err):
			tries--
		default:
			return explain(err)
		}
		if tries == 0 || learners == 0 || ctx.Err() != nil {
			return explain(err)
		}
	}
}

// once makes a request that changes something. It is sent again only where
// nobody looked at it: the client has logged in again by then, or comes to
// another member than the learner.
func (e *Client) once(ctx context.Context, limit time.Duration, ask request) error {
	logins, learners := 1, learnerTries*len(e.endpoints())
	for {
		err := e.within(ctx, limit, ask)
		switch {
		case refusedLogin(err) && logins > 0:
			logins--
		case ofLearner(err) && learners > 0:
			learners--
		default:
			return err
		}
	}
}

// attempt makes one request, within its limit.
func (e *Client) attempt(ctx context.Context, ask request) error {
	return e.within(ctx, e.limit, ask)
}

// within makes one request, within a limit.
func (e *Client) within(ctx context.Context, limit time.Duration, ask request) error {
	if err := e.broken(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client, err := e.connected(ctx)
	if err != nil {
		return err
	}
	ctx, cause := withCause(ctx)
	return e.tls.explain(cause.of(ask(ctx, client)))
}

func (e *Client) item(kv *mvccpb.KeyValue) store.Item {
	return store.Item{
		Key:      string(bytes.TrimPrefix(kv.Key, []byte(e.prefix))), // pins nothing else
		Value:    kv.Value,
		Created:  store.Revision(kv.CreateRevision),
		Modified: store.Revision(kv.ModRevision),
	}
}

// refusedLogin reports whether etcd did not even look at a request, because the
// client's login is over.
func refusedLogin(err error) bool {
	return isAny(err, rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision, rpctypes.ErrUserEmpty)
}

// ofLearner reports whether a member did not even look at a request, because it
// is a learner.
func ofLearner(err error) bool {
	return isAny(err, rpctypes.ErrGRPCNotSupportedForLearner, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner))
}

// Grant implements Leaser.
func (e *Client) Grant(ctx context.Context, ttl int64) (store.LeaseID, error) {
	var id store.LeaseID
	// A grant whose answer is lost leaves a lease that expires unused.
	err := e.read(ctx, func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.Grant(ctx, ttl)
		if err == nil {
			id = store.LeaseID(resp.ID)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("grant a lease: %w", err)
	}
	return id, nil
}

// KeepAlive implements Leaser. It renews three times in each TTL.
func (e *Client) KeepAlive(ctx context.Context, id store.LeaseID, renewed func(store.Revision)) error {
	for ctx.Err() == nil {
		var ttl time.Duration
		var rev store.Revision
		err := e.read(ctx, func(ctx context.Context, client *clientv3.Client) error {
			resp, err := client.KeepAliveOnce(ctx, clientv3.LeaseID(id))
			if err == nil {
				ttl, rev = time.Duration(resp.TTL)*time.Second, store.Revision(resp.ResponseHeader.GetRevision())
			}
			return err
		})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("keep lease %x alive: %w", int64(id), err)
		}
		if err == nil {
			renewed(rev)
		}
		store.Sleep(ctx, ttl/3)
	}
	return nil
}

// Revoke implements Leaser.
func (e *Client) Revoke(ctx context.Context, id store.LeaseID) error {
	err := e.read(ctx, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.Revoke(ctx, clientv3.LeaseID(id))
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("revoke lease %x: %w", int64(id), err)
	}
	return nil
}

// EndLeases revokes every lease there is, with its keys.
func (e *Client) EndLeases(ctx context.Context) error {
	var ids []store.LeaseID
	err := e.read(ctx, func(ctx context.Context, client *clientv3.Client) error {
		resp, err := client.Leases(ctx)
		if err != nil {
			return err
		}
		ids = nil
		for _, lease := range resp.Leases {
			ids = append(ids, store.LeaseID(lease.ID))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the leases: %w", err)
	}
	for _, id := range ids {
		if err := e.Revoke(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// conds writes conditions as etcd's compares.
func (e *Client) conds(conds []store.Cond) []clientv3.Cmp {
	cmps := make([]clientv3.Cmp, len(conds))
	for i, cond := range conds {
		key := e.prefix + cond.Key
		switch cond.Kind {
		case store.Created:
			cmps[i] = clientv3.Compare(clientv3.CreateRevision(key), "=", int64(cond.Is))
		case store.Modified:
			cmps[i] = clientv3.Compare(clientv3.ModRevision(key), "=", int64(cond.Is))
		case store.NoOlder:
			cmps[i] = clientv3.Compare(clientv3.ModRevision(key), ">", int64(cond.Is)-1)
		}
	}
	return cmps
}

// ops writes operations as etcd's.
func (e *Client) ops(ops []store.Op) []clientv3.Op {
	out := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		switch op.Kind {
		case store.OpPut:
			out[i] = clientv3.OpPut(e.prefix+op.Key, string(op.Value), clientv3.WithLease(clientv3.LeaseID(op.Lease)))
		case store.OpDelete:
			out[i] = clientv3.OpDelete(e.prefix + op.Key)
		case store.OpGet:
			out[i] = clientv3.OpGet(e.prefix + op.Key)
		case store.OpNested:
			out[i] = clientv3.OpTxn(e.conds(op.Nested.If), e.ops(op.Nested.Then), e.ops(op.Nested.Else))
		}
	}
	return out
}

// result reads etcd's answer to a transaction. Nested answers carry no
// revision of their own: it is that of the whole.
func (e *Client) result(txn store.Txn, done bool, responses []*pb.ResponseOp, rev store.Revision) store.Result {
	res := store.Result{Done: done, Revision: rev}
	branch := txn.Else
	if done {
		branch = txn.Then
	}
	for i, op := range branch {
		switch op.Kind {
		case store.OpGet:
			for _, kv := range responses[i].GetResponseRange().GetKvs() {
				res.Items = append(res.Items, e.item(kv))
			}
		case store.OpNested:
			nested := responses[i].GetResponseTxn()
			res.Nested = append(res.Nested, e.result(*op.Nested, nested.GetSucceeded(), nested.GetResponses(), rev))
		}
	}
	return res
}
