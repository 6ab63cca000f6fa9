package etcd

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
)

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
