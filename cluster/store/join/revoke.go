package join

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gvlan/cluster/store"
)

// batch is how many records one transaction changes: etcd takes 128 steps, and
// as many conditions.
const batch = 50

// Revoke marks all certificates of a node revoked. It is called after the
// node's epoch was raised: no certificate is given to an evicted node that
// shows an old one. keeper says that the node had the cluster's authority and
// secret: whoever has its disk could let itself in again. So the store says, before
// that certificate is revoked, that both are exposed, and custodians replace
// them (StepRoots).
func Revoke(ctx context.Context, kv store.KV, node string) (keeper bool, err error) {
	for { // until a listing shows none: one may be given meanwhile
		all, err := given(ctx, kv, store.NodeCertificatesSpan(node))
		if err != nil {
			return keeper, err
		}
		var left []Given
		exposed := false
		for _, c := range all {
			keeper = keeper || c.Member || c.Custody
			if !c.Revoked {
				exposed = exposed || c.Member || c.Custody
				c.Revoked = true
				left = append(left, c)
			}
		}
		if exposed {
			if err := expose(ctx, kv); err != nil {
				return keeper, fmt.Errorf("say what node %s had of the cluster's keys: %w", node, err)
			}
		}
		if len(left) == 0 {
			return keeper, nil
		}
		if err := rewrite(ctx, kv, left); err != nil {
			return keeper, fmt.Errorf("revoke the certificates of node %s: %w", node, err)
		}
	}
}

// expose notes that all the cluster's keys of this moment are known to somebody
// who is out.
func expose(ctx context.Context, kv store.KV) error {
	for range attempts {
		roots, at, err := read[store.Roots](ctx, kv, store.RootsKey())
		if err != nil || at == 0 {
			return err // at 0: there are no keys
		}
		secret, _, err := read[store.JoinSecret](ctx, kv, store.JoinSecretKey())
		if err != nil {
			return err
		}
		exposed := &store.Exposed{Secret: secret.Digest}
		for _, root := range roots.PEM {
			known, err := fingerprint(root)
			if err != nil {
				return err
			}
			exposed.Roots = append(exposed.Roots, known)
		}
		roots.Exposed = exposed
		if err := putRoots(ctx, kv, roots, at); !errors.Is(err, ErrChanged) {
			return err
		}
	}
	return ErrChanged
}

// rewrite writes records over themselves, each if nobody else did meanwhile.
func rewrite(ctx context.Context, kv store.KV, records []Given) error {
	for len(records) > 0 {
		some := records[:min(batch, len(records))]
		records = records[len(some):]
		var txn store.Txn
		for _, c := range some {
			key := store.CertificateKey(c.Node, c.Serial)
			txn.Then = append(txn.Then, store.Op{Kind: store.OpNested, Nested: &store.Txn{
				If:   []store.Cond{store.Unchanged(key, c.Modified)},
				Then: []store.Op{store.Put(key, store.Encode(c.Certificate))},
			}})
		}
		if _, err := kv.Commit(ctx, txn); err != nil {
			return err
		}
	}
	return nil
}

// Refused lists the serial numbers that were revoked and have not ended.
func Refused(ctx context.Context, kv store.KV, now time.Time) ([]string, error) {
	all, err := given(ctx, kv, store.CertificatesSpan())
	if err != nil {
		return nil, err
	}
	var serials []string
	for _, c := range all {
		if c.Revoked && now.Unix() <= c.Ends {
			serials = append(serials, c.Serial)
		}
	}
	return serials, nil
}

// Prune drops the records of certificates that have ended.
func Prune(ctx context.Context, kv store.KV, now time.Time) error {
	all, err := given(ctx, kv, store.CertificatesSpan())
	if err != nil {
		return err
	}
	var txn store.Txn
	flush := func() error {
		_, err := kv.Commit(ctx, txn)
		txn = store.Txn{}
		return err
	}
	for _, c := range all {
		if now.Unix() <= c.Ends {
			continue
		}
		txn.Then = append(txn.Then, store.Delete(store.CertificateKey(c.Node, c.Serial)))
		if len(txn.Then) == batch {
			if err := flush(); err != nil {
				return fmt.Errorf("drop records of certificates: %w", err)
			}
		}
	}
	if len(txn.Then) == 0 {
		return nil
	}
	if err := flush(); err != nil {
		return fmt.Errorf("drop records of certificates: %w", err)
	}
	return nil
}
