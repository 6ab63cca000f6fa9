package join

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
)

// Stage is how far a rotation of the authority has come.
type Stage string

const (
	// Settled: there is one authority, and no rotation.
	Settled Stage = "settled"
	// Spreading: the new authority is being told to every host; the old one
	// signs.
	Spreading Stage = "spreading"
	// Replacing: the new authority signs; certificates of the old one are
	// being replaced.
	Replacing Stage = "replacing"
)

// Rotation is how far one has come, and for whom it waits.
type Rotation struct {
	Stage   Stage
	Waiting []string // nodes, sorted
}

// Given is a certificate that stands in the store.
type Given struct {
	store.Certificate
	Created  store.Revision // when its record came into being
	Modified store.Revision // when that last changed
}

// Ground is what the next step of a rotation is judged by.
type Ground struct {
	Roots   store.Roots
	At      store.Revision // the roots were last written at
	Given   []Given
	Evicted map[string]bool // nodes
	Now     time.Time
}

// Next judges how far a rotation is. step is false while it waits, else roots
// is what the store is to say now. A host that is away with a certificate that
// has not ended is waited for: without the new root it could not come back.
func (g Ground) Next() (is Rotation, roots store.Roots, step bool, err error) {
	is.Stage, err = stageOf(g.Roots)
	if err != nil || is.Stage == Settled {
		return is, g.Roots, false, err
	}
	for _, c := range g.Given {
		if standing(c.Certificate, g.Now) && !g.Evicted[c.Node] && late(c, is.Stage, g.Roots, g.At) {
			is.Waiting = append(is.Waiting, c.Node)
		}
	}
	slices.Sort(is.Waiting)
	is.Waiting = slices.Compact(is.Waiting)
	newest := g.Roots.PEM[len(g.Roots.PEM)-1]
	then := g.Roots
	if is.Stage == Replacing {
		then.PEM = []string{newest}
		return is, then, len(is.Waiting) == 0, nil
	}
	then.Signing, err = fingerprint(newest)
	then.Since = g.Now.Unix()
	return is, then, len(is.Waiting) == 0, err
}

// stageOf is the stage that the roots are of.
func stageOf(roots store.Roots) (Stage, error) {
	if len(roots.PEM) < 2 {
		return Settled, nil
	}
	newest, err := fingerprint(roots.PEM[len(roots.PEM)-1])
	if err != nil || roots.Signing == newest {
		return Replacing, err
	}
	return Spreading, nil
}

// late reports whether a certificate has to be replaced before the rotation
// goes on. While the new root spreads, a certificate that was given after it
// came is the proof that its host was told.
func late(c Given, stage Stage, roots store.Roots, at store.Revision) bool {
	switch stage {
	case Spreading:
		return c.Created <= at
	case Replacing:
		return c.Root != roots.Signing
	}
	return false
}

func fingerprint(root string) (string, error) {
	parsed, err := authority.ParseRoots([]byte(root))
	if err != nil {
		return "", fmt.Errorf("read a root of the cluster: %w", err)
	}
	return authority.Fingerprint(parsed[0]), nil
}

// standing reports whether somebody may still go by a certificate.
func standing(c store.Certificate, now time.Time) bool {
	return !c.Revoked && !c.Replaced && now.Unix() <= c.Ends
}

// BeginRoots begins a rotation of the authority: a new one is in this host's
// custody, and then among the cluster's roots. ErrRotating when one is going on,
// ErrBehind when this host does not have all of the cluster's keys.
// StepRoots brings it to its end.
func (c *Custodian) BeginRoots(ctx context.Context) error { return c.begin(ctx, nil) }

// begin does. Of an exposure it goes on with no authority that the store does not
// have: who was evicted may have seen that one here.
func (c *Custodian) begin(ctx context.Context, exposed *store.Exposed) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	custody, roots, at, err := c.state(ctx)
	if err != nil {
		return err
	}
	if len(roots.PEM) > 1 {
		return ErrRotating
	}
	secret, secretAt, err := read[store.JoinSecret](ctx, c.kv, store.JoinSecretKey())
	if err != nil {
		return err
	}
	// As with the secret: who changes one of the keys has all of them.
	if !holds(custody, roots) || !authority.Matches(custody.Secret, secret.Digest) {
		return ErrBehind
	}
	// One that was begun and never reached the store goes on.
	last := custody.Authorities[len(custody.Authorities)-1]
	if exposed != nil {
		if !slices.Contains(exposed.Roots, roots.Signing) {
			return ErrChanged // it was replaced meanwhile
		}
		last, _ = custody.Authority(roots.Signing)
		custody.Authorities = []*authority.Authority{last}
	}
	if last.Fingerprint() == roots.Signing {
		if last, err = authority.New(c.now()); err != nil {
			return err
		}
		custody.Authorities = append(slices.Clone(custody.Authorities), last)
		if err := c.id.SetCustody(custody); err != nil {
			return err
		}
	}
	roots.PEM = append(roots.PEM, rootPEM(last))
	return putRoots(ctx, c.kv, roots, at, store.Unchanged(store.JoinSecretKey(), secretAt))
}

// StepRoots takes the next step of a rotation, if it is time for one, and says
// how far it is. Where an evicted host had the cluster's keys, it replaces the
// secret and begins a rotation by itself. Any member may call it, as often as it
// likes.
func (c *Custodian) StepRoots(ctx context.Context) (Rotation, error) {
	if err := c.replaceExposed(ctx); err != nil {
		return Rotation{}, err
	}
	for range attempts {
		ground, err := readGround(ctx, c.kv, c.now())
		if err != nil {
			return Rotation{}, err
		}
		is, roots, step, err := ground.Next()
		if err != nil || !step {
			return is, err
		}
		// Only who holds the authority that will sign alone ends the others.
		custody, found, err := c.id.Custody()
		if err != nil {
			return is, err
		}
		if !found || !holds(custody, roots) {
			return is, ErrBehind
		}
		// Another member may just have taken the same step.
		if err := putRoots(ctx, c.kv, roots, ground.At); err != nil && !errors.Is(err, ErrChanged) {
			return is, err
		}
	}
	return Rotation{}, fmt.Errorf("rotate the authority: %w", ErrChanged)
}

// replaceExposed replaces what an evicted host had of the cluster's keys, until
// that is of no use to it. What another member does at the same time is as good.
func (c *Custodian) replaceExposed(ctx context.Context) error {
	roots, at, err := read[store.Roots](ctx, c.kv, store.RootsKey())
	if err != nil || roots.Exposed == nil {
		return err
	}
	secret, _, err := read[store.JoinSecret](ctx, c.kv, store.JoinSecretKey())
	if err != nil {
		return err
	}
	if secret.Digest == roots.Exposed.Secret {
		if _, err := c.rotateSecret(ctx, roots.Exposed.Secret); err != nil && !errors.Is(err, ErrChanged) && !errors.Is(err, ErrBehind) {
			return fmt.Errorf("replace the secret that an evicted host knows: %w", err)
		}
	}
	switch {
	case len(roots.PEM) > 1: // one that is under way comes to its end first
	case slices.Contains(roots.Exposed.Roots, roots.Signing):
		if err := c.begin(ctx, roots.Exposed); err != nil && !errors.Is(err, ErrChanged) && !errors.Is(err, ErrRotating) && !errors.Is(err, ErrBehind) {
			return fmt.Errorf("replace the authority that an evicted host had: %w", err)
		}
	case secret.Digest != roots.Exposed.Secret:
		roots.Exposed = nil
		if err := putRoots(ctx, c.kv, roots, at); err != nil && !errors.Is(err, ErrChanged) {
			return err
		}
	}
	return nil
}

func putRoots(ctx context.Context, kv store.KV, roots store.Roots, at store.Revision, while ...store.Cond) error {
	res, err := kv.Commit(ctx, store.Txn{
		If:   append(while, store.Unchanged(store.RootsKey(), at)),
		Then: []store.Op{store.Put(store.RootsKey(), store.Encode(roots))},
	})
	if err != nil {
		return fmt.Errorf("write the cluster's roots: %w", err)
	}
	if !res.Done {
		return fmt.Errorf("write the cluster's roots: %w", ErrChanged)
	}
	return nil
}

// dropOld lets go of authorities that are rotated out. Those after the store's
// newest stay: one may be about to begin.
func (c *Custodian) dropOld(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	custody, roots, _, err := c.state(ctx)
	if err != nil {
		return err
	}
	first := slices.IndexFunc(custody.Authorities, func(a *authority.Authority) bool {
		return slices.ContainsFunc(roots.PEM, func(root string) bool { return samePEM(root, rootPEM(a)) })
	})
	if first <= 0 {
		return nil
	}
	custody.Authorities = custody.Authorities[first:]
	return c.id.SetCustody(custody)
}

// readGround reads what a rotation is judged by. The roots come first: who
// renews after that shows it by a later revision.
func readGround(ctx context.Context, kv store.KV, now time.Time) (Ground, error) {
	g := Ground{Now: now, Evicted: map[string]bool{}}
	var err error
	if g.Roots, g.At, err = read[store.Roots](ctx, kv, store.RootsKey()); err != nil {
		return g, err
	}
	if g.At == 0 {
		return g, ErrNotFounded
	}
	if g.Given, err = given(ctx, kv, store.CertificatesSpan()); err != nil {
		return g, err
	}
	epochs, _, err := kv.List(ctx, store.EpochsSpan())
	if err != nil {
		return g, fmt.Errorf("list epochs: %w", err)
	}
	for _, it := range epochs {
		epoch, err := store.Decode[store.Epoch](it)
		if err != nil {
			return g, err
		}
		g.Evicted[store.NameOf(it.Key)] = epoch.Evicted
	}
	return g, nil
}

// given lists certificates.
func given(ctx context.Context, kv store.KV, span store.Span) ([]Given, error) {
	items, _, err := kv.List(ctx, span)
	if err != nil {
		return nil, fmt.Errorf("list certificates: %w", err)
	}
	var all []Given
	for _, it := range items {
		c, err := store.Decode[store.Certificate](it)
		if err != nil {
			return nil, err
		}
		all = append(all, Given{Certificate: c, Created: it.Created, Modified: it.Modified})
	}
	return all, nil
}
