package join

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
)

// Renewal is which certificates of a host are to be replaced now.
type Renewal struct{ Node, Member bool }

// Due says which certificates of this host are to be replaced now: at half
// their life, and when a rotation of the authority asks for it. The host takes
// the roots over (TakeRoots), and as a member the custody (Custodian.Refresh),
// before it renews: a new certificate is the proof that it has.
func Due(ctx context.Context, kv store.KV, id *authority.Identity, now time.Time) (Renewal, error) {
	roots, at, err := read[store.Roots](ctx, kv, store.RootsKey())
	if err != nil {
		return Renewal{}, err
	}
	stage, err := stageOf(roots)
	if err != nil {
		return Renewal{}, err
	}
	due := map[bool]bool{}
	for _, member := range []bool{false, true} {
		own, ends, found := ownRecord(id, member)
		if !found {
			continue
		}
		all, err := given(ctx, kv, exactly(store.CertificateKey(own.Node, own.Serial)))
		if err != nil {
			return Renewal{}, err
		}
		c := Given{Certificate: own} // of a record that a restored store lost: old
		if len(all) == 1 {
			c = all[0]
		}
		due[member] = !now.Before(ends) || late(c, stage, roots, at)
	}
	return Renewal{Node: due[false], Member: due[true]}, nil
}

// Settle says in the store which certificates this host goes by: nobody waits
// for its others any more. What a restored store does not know of them comes
// back. It is called after a certificate was accepted or dropped, and at each
// start; not while one is asked for.
func Settle(ctx context.Context, kv store.KV, id *authority.Identity) error {
	node, _, found := ownRecord(id, false)
	if !found {
		return nil // it has none as a member either
	}
	for _, member := range []bool{false, true} {
		own, _, found := ownRecord(id, member)
		key := store.CertificateKey(own.Node, own.Serial)
		if found {
			if _, err := kv.Commit(ctx, store.Txn{
				If:   []store.Cond{store.Absent(key)},
				Then: []store.Op{store.Put(key, store.Encode(own))},
			}); err != nil {
				return fmt.Errorf("record the certificate of this host: %w", err)
			}
		}
		all, err := given(ctx, kv, store.NodeCertificatesSpan(node.Node))
		if err != nil {
			return err
		}
		var wrong []Given
		for _, c := range all {
			if replaced := c.Serial != own.Serial; c.Member == member && c.Replaced != replaced {
				c.Replaced = replaced
				wrong = append(wrong, c)
			}
		}
		if err := rewrite(ctx, kv, wrong); err != nil {
			return fmt.Errorf("say which certificate this host goes by: %w", err)
		}
	}
	return nil
}

// TakeRoots has this host trust the authorities that the store says. It reports
// whether they changed: etcd reads them when it starts.
func TakeRoots(ctx context.Context, kv store.KV, id *authority.Identity) (changed bool, err error) {
	roots, err := Roots(ctx, kv)
	if err != nil || bytes.Equal(roots, id.Roots()) {
		return false, err
	}
	return true, id.SetRoots(roots)
}

// ownRecord is what the store keeps of a certificate of this host, as far as
// the certificate says it, and when it is to be replaced.
func ownRecord(id *authority.Identity, member bool) (record store.Certificate, renewAt time.Time, found bool) {
	cert := id.Certificate()
	if member {
		cert = id.MemberCertificate()
	}
	if cert == nil {
		return record, renewAt, false
	}
	root := ""
	for _, r := range id.RootCertificates() {
		if cert.CheckSignatureFrom(r) == nil {
			root = authority.Fingerprint(r)
		}
	}
	return recordOf(cert, cert.Subject.CommonName, root, member), authority.RenewAt(cert), true
}

// exactly is the span of one key.
func exactly(key string) store.Span { return store.Span{From: key, To: key + "\x00"} }
