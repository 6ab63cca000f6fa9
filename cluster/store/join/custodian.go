package join

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
)

// attempts is how often a step is tried whose ground others move.
const attempts = 5

// Custodian is what a member's host does with the authority in its custody.
// There is one for a host's identity: it reads the custody and writes it back.
// Safe for concurrent use.
type Custodian struct {
	kv  store.KV
	id  *authority.Identity
	now func() time.Time
	log *slog.Logger
	mu  sync.Mutex // of whoever changes the custody

	lostMu sync.Mutex
	lost   gap       // what this host missed when it asked last
	since  time.Time // and since when
}

// NewCustodian makes one. It asks nothing of the store and the identity yet.
func NewCustodian(kv store.KV, id *authority.Identity, now func() time.Time, log *slog.Logger) *Custodian {
	return &Custodian{kv: kv, id: id, now: now, log: log}
}

// Found opens a store that nobody can join yet: with an authority and a secret
// of its own. Where this host has custody already, as after a crash or when the
// store was made anew or restored, that of this host holds from now on. Who
// founds is the only member: others may have newer ones.
func (c *Custodian) Found(ctx context.Context) error { return c.found(ctx, false) }

// Refound has the custody of this host hold in a store that was made anew from a
// copy: also where the copy knows authorities that were rotated out, or lacks
// those that were rotated in.
func (c *Custodian) Refound(ctx context.Context) error { return c.found(ctx, true) }

func (c *Custodian) found(ctx context.Context, anew bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	custody, err := c.anyCustody()
	if err != nil {
		return err
	}
	roots, rootsAt, err := read[store.Roots](ctx, c.kv, store.RootsKey())
	if err != nil {
		return err
	}
	secret, secretAt, err := read[store.JoinSecret](ctx, c.kv, store.JoinSecretKey())
	if err != nil {
		return err
	}
	if anew || !holds(custody, roots) {
		roots = c.rootsOf(custody, roots)
	}
	if digest := authority.Digest(custody.Secret); secret.Digest != digest {
		secret.Digest, secret.Since = digest, c.now().Unix()
	}
	res, err := c.kv.Commit(ctx, store.Txn{
		If: []store.Cond{store.Unchanged(store.RootsKey(), rootsAt), store.Unchanged(store.JoinSecretKey(), secretAt)},
		Then: []store.Op{
			store.Put(store.RootsKey(), store.Encode(roots)),
			store.Put(store.JoinSecretKey(), store.Encode(secret)),
		},
	})
	if err != nil {
		return fmt.Errorf("write the cluster's roots and secret: %w", err)
	}
	if !res.Done {
		return fmt.Errorf("write the cluster's roots and secret: %w", ErrChanged)
	}
	return c.id.SetRoots(bundle(roots))
}

// anyCustody is this host's, which it makes when there is none. It lies on the
// disk before the store hears of it.
func (c *Custodian) anyCustody() (authority.Custody, error) {
	custody, found, err := c.id.Custody()
	if err != nil || found {
		return custody, err
	}
	made, err := authority.New(c.now())
	if err != nil {
		return custody, err
	}
	custody = authority.Custody{Authorities: []*authority.Authority{made}, Secret: authority.NewSecret()}
	return custody, c.id.SetCustody(custody)
}

// rootsOf is what the store is to say where it does not know this custody. The
// authority that signs is the one this host's own certificate comes from.
func (c *Custodian) rootsOf(custody authority.Custody, said store.Roots) store.Roots {
	roots := store.Roots{Since: c.now().Unix(), Unknown: said.Unknown}
	own := c.id.Certificate()
	for _, a := range custody.Authorities {
		roots.PEM = append(roots.PEM, rootPEM(a))
		if roots.Signing == "" || own == nil || own.CheckSignatureFrom(a.Root()) == nil {
			roots.Signing = a.Fingerprint()
		}
	}
	return roots
}

// Issue signs a certificate and records it, while the conditions hold; else it
// is ErrChanged. What is not in the store was never given.
func (c *Custodian) Issue(ctx context.Context, csr []byte, subject authority.Subject, while ...store.Cond) (*x509.Certificate, error) {
	for range attempts {
		signing, at, err := c.signing(ctx)
		if err != nil {
			return nil, err
		}
		cert, err := signing.Sign(csr, subject, c.now())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
		}
		record := recordOf(cert, subject.Node, signing.Fingerprint(), subject.Member)
		key := store.CertificateKey(record.Node, record.Serial)
		res, err := c.kv.Commit(ctx, store.Txn{
			If:   append([]store.Cond{store.Absent(key), store.Unchanged(store.RootsKey(), at)}, while...),
			Then: []store.Op{store.Put(key, store.Encode(record))},
			Else: []store.Op{store.Get(store.RootsKey())},
		})
		if err != nil {
			return nil, fmt.Errorf("record a certificate of node %s: %w", subject.Node, err)
		}
		if res.Done {
			return cert, nil
		}
		if roots, _ := res.Item(store.RootsKey()); roots.Modified == at {
			return nil, fmt.Errorf("issue a certificate to node %s: %w", subject.Node, ErrChanged)
		}
	}
	return nil, fmt.Errorf("issue a certificate to node %s: %w", subject.Node, ErrChanged)
}

// Own gives this host a new node certificate, and a new member certificate for
// the names and addresses of the subject, while the conditions hold; else it is
// ErrChanged.
func (c *Custodian) Own(ctx context.Context, subject authority.Subject, while ...store.Cond) error {
	for _, member := range []bool{false, true} {
		csr, err := c.id.Request(member)
		if err != nil {
			return err
		}
		roots, err := Roots(ctx, c.kv)
		if err != nil {
			return err
		}
		subject.Member = member
		cert, err := c.Issue(ctx, csr, subject, while...)
		if err != nil {
			return err
		}
		if member {
			err = c.id.AcceptMember(cert.Raw)
		} else {
			err = c.id.Accept(cert.Raw, roots)
		}
		if err != nil {
			return err
		}
	}
	return Settle(ctx, c.kv, c.id)
}

// Refuse has this host refuse what was revoked. On a member's host, which has
// custody, the list that etcd reads says so too.
func (c *Custodian) Refuse(ctx context.Context) error {
	serials, err := Refused(ctx, c.kv, c.now())
	if err != nil {
		return err
	}
	c.id.SetRefused(serials)
	signing, _, err := c.signing(ctx)
	if errors.Is(err, ErrNoCustody) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sign the list of refused certificates: %w", err)
	}
	list, err := signing.RevocationList(serials, c.now())
	if err != nil {
		return err
	}
	return c.id.SetRevocationList(list)
}

// InStep reports whether this host's custody is what the store says: the
// secret, and every authority that certificates may come from.
func (c *Custodian) InStep(ctx context.Context) (bool, error) {
	custody, found, err := c.id.Custody()
	if err != nil || !found {
		return false, err
	}
	return inStep(ctx, c.kv, custody)
}

// Take puts a custody in place that another member handed over, if it is what
// the store says; else it is ErrBehind.
func (c *Custodian) Take(ctx context.Context, custody authority.Custody) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ok, err := inStep(ctx, c.kv, custody)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("take custody: %w", ErrBehind)
	}
	return c.id.SetCustody(custody)
}

// Refresh gets this member's host a custody in step with the store, from a
// member whose is, and lets go of authorities that are rotated out. Where no member
// has what the store says any more, it is replaced (replaceLost). It is for a host
// with a place in the store only: the others refuse.
func (c *Custodian) Refresh(ctx context.Context, asker *Asker, self string) error {
	ok, err := c.InStep(ctx)
	if err != nil {
		return err
	}
	if ok {
		return c.dropOld(ctx)
	}
	lost, err := c.gap(ctx) // before anybody is asked
	if err != nil {
		return err
	}
	places, err := Places(ctx, c.kv)
	if err != nil {
		return err
	}
	all, alone := true, true // who has a place has said that it is behind too; or said nothing
	failed := fmt.Errorf("get custody from another member: %w", ErrBehind)
	for _, place := range places {
		if place.Node == self {
			continue
		}
		custody, err := asker.Custody(ctx, place.Door)
		if err == nil {
			err = c.Take(ctx, custody)
		}
		if err == nil {
			return nil
		}
		// A learner whose door is closed may be waiting for the same: it has its keys
		// before it opens.
		all = all && (errors.Is(err, ErrBehind) || place.Learner && errors.Is(err, ErrUnreachable))
		alone = alone && !errors.Is(err, ErrBehind)
		failed = errors.Join(failed, fmt.Errorf("from %s: %w", place.Node, err))
	}
	replaced, err := c.replaceLost(ctx, lost, all, alone)
	if err != nil || replaced {
		return err
	}
	return failed
}

// signing is the authority that signs, and the revision that is true of.
func (c *Custodian) signing(ctx context.Context) (*authority.Authority, store.Revision, error) {
	custody, roots, at, err := c.state(ctx)
	if err != nil {
		return nil, 0, err
	}
	a, found := custody.Authority(roots.Signing)
	if !found {
		return nil, 0, ErrBehind
	}
	return a, at, nil
}

// state is the custody and the roots.
func (c *Custodian) state(ctx context.Context) (custody authority.Custody, roots store.Roots, at store.Revision, err error) {
	custody, found, err := c.id.Custody()
	if err != nil {
		return custody, roots, 0, err
	}
	if !found {
		return custody, roots, 0, ErrNoCustody
	}
	roots, at, err = read[store.Roots](ctx, c.kv, store.RootsKey())
	if err == nil && at == 0 {
		err = ErrNotFounded
	}
	return custody, roots, at, err
}

// Roots are the cluster's, as PEM, the oldest first; ErrNotFounded when there
// are none.
func Roots(ctx context.Context, kv store.KV) ([]byte, error) {
	all, _, err := RootsNow(ctx, kv)
	return all, err
}

// RootsNow is Roots, and the revision they were last written at.
func RootsNow(ctx context.Context, kv store.KV) ([]byte, store.Revision, error) {
	roots, at, err := read[store.Roots](ctx, kv, store.RootsKey())
	if err == nil && at == 0 {
		err = ErrNotFounded
	}
	return bundle(roots), at, err
}

// Places are where the members of the cluster's own store are reached.
func Places(ctx context.Context, kv store.KV) ([]Place, error) {
	items, _, err := kv.List(ctx, store.MembersSpan())
	if err != nil {
		return nil, fmt.Errorf("list the store's members: %w", err)
	}
	places := []Place{}
	for _, it := range items {
		m, err := store.Decode[store.Member](it)
		if err != nil {
			return nil, err
		}
		places = append(places, Place{Node: m.Node, Client: m.Client, Door: m.Door, Learner: m.Learner})
	}
	return places, nil
}

// inStep reports whether a custody is what the store says.
func inStep(ctx context.Context, kv store.KV, custody authority.Custody) (bool, error) {
	roots, at, err := read[store.Roots](ctx, kv, store.RootsKey())
	if err != nil {
		return false, err
	}
	secret, _, err := read[store.JoinSecret](ctx, kv, store.JoinSecretKey())
	return at > 0 && holds(custody, roots) && authority.Matches(custody.Secret, secret.Digest), err
}

// holds reports whether a custody has every authority of the roots, and there
// are some.
func holds(custody authority.Custody, roots store.Roots) bool {
	for _, root := range roots.PEM {
		if !slices.ContainsFunc(custody.Authorities, func(a *authority.Authority) bool { return samePEM(rootPEM(a), root) }) {
			return false
		}
	}
	return len(roots.PEM) > 0
}

// read reads one record; of an absent one the revision is 0.
func read[T any](ctx context.Context, kv store.KV, key string) (record T, at store.Revision, err error) {
	item, err := kv.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return record, 0, nil
	}
	if err != nil {
		return record, 0, err
	}
	record, err = store.Decode[T](item)
	return record, item.Modified, err
}

// recordOf is what the store keeps of a certificate.
func recordOf(cert *x509.Certificate, node, root string, member bool) store.Certificate {
	return store.Certificate{Node: node, Serial: authority.Serial(cert), Sum: authority.Fingerprint(cert), Root: root, Ends: cert.NotAfter.Unix(), Member: member}
}

// isRecorded reports whether a record is that of a certificate.
func isRecorded(record store.Certificate, cert *x509.Certificate) bool {
	return record.Node == cert.Subject.CommonName && record.Sum == authority.Fingerprint(cert)
}

// rootPEM is an authority's certificate.
func rootPEM(a *authority.Authority) string { return string(authority.CertificatePEM(a.Root())) }

// samePEM reports whether two texts are one certificate.
func samePEM(a, b string) bool {
	x, _ := pem.Decode([]byte(a))
	y, _ := pem.Decode([]byte(b))
	return x != nil && y != nil && bytes.Equal(x.Bytes, y.Bytes)
}

// bundle is the roots in one file.
func bundle(roots store.Roots) []byte {
	var all []byte
	for _, root := range roots.PEM {
		all = append(all, root...)
	}
	return all
}
