package etcd

import (
	"context"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
)

// pageSize is how many keys one request of a List asks for, so that no
// answer grows without bound.
const pageSize = 4096

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
func (e *Client) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	var items []store.Item
	var rev int64 // of the first page; later pages are read at it
	from, more := e.prefix+span.From, true
	for more {
		err := e.read(ctx, func(ctx context.Context, client *clientv3.Client) error {
			resp, err := client.Get(ctx, from, clientv3.WithRange(e.prefix+span.To),
				clientv3.WithLimit(pageSize), clientv3.WithRev(rev))
			if err != nil {
				return err
			}
			for _, kv := range resp.Kvs {
				items = append(items, e.item(kv))
				from = string(kv.Key) + "\x00"
			}
			if more = resp.More; rev == 0 {
				rev = resp.Header.Revision
			}
			return nil
		})
		if err != nil {
			return nil, 0, fmt.Errorf("list %s: %w", span.From, err)
		}
	}
	return items, store.Revision(rev), nil
}

// Commit implements KV. It is sent once: when the answer is missing the
// caller alone knows how to ask again.
func (e *Client) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	var resp *clientv3.TxnResponse
	send := func(ctx context.Context, client *clientv3.Client) (err error) {
		resp, err = client.Txn(ctx).If(e.conds(txn.If)...).Then(e.ops(txn.Then)...).Else(e.ops(txn.Else)...).Commit()
		return err
	}
	err := e.attempt(ctx, send)
	if refusedLogin(err) { // nothing happened, and the client has logged in again
		err = e.attempt(ctx, send)
	}
	if err != nil {
		return store.Result{}, fmt.Errorf("commit: %w", explain(err))
	}
	return e.result(txn, resp.Succeeded, resp.Responses, store.Revision(resp.Header.Revision)), nil
}

// request is one request to etcd.
type request func(context.Context, *clientv3.Client) error

// read repeats a request that changes nothing, so that each member is asked
// once, and twice at least.
func (e *Client) read(ctx context.Context, ask request) error {
	var err error
	for range max(2, len(e.config.Endpoints)) {
		if err = e.attempt(ctx, ask); err == nil {
			return nil
		}
		if ctx.Err() != nil || !refusedLogin(err) && !unavailable(err) {
			break
		}
	}
	return explain(err)
}

// attempt makes one request, within its limit.
func (e *Client) attempt(ctx context.Context, ask request) error {
	if err := e.broken(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.limit)
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
		Key:      strings.TrimPrefix(string(kv.Key), e.prefix),
		Value:    kv.Value,
		Created:  store.Revision(kv.CreateRevision),
		Modified: store.Revision(kv.ModRevision),
	}
}

// refusedLogin tells that etcd did not even look at a request, because the
// client's login is over.
func refusedLogin(err error) bool {
	return isAny(err, rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision, rpctypes.ErrUserEmpty)
}
