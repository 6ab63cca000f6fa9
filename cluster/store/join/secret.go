package join

import (
	"context"
	"fmt"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
)

// Token is what hosts join with now. ErrBehind when this host does not know
// the secret: another member does, or it is rotated.
func (c *Custodian) Token(ctx context.Context) (authority.Token, error) {
	custody, roots, _, err := c.state(ctx)
	if err != nil {
		return authority.Token{}, err
	}
	secret, at, err := read[store.JoinSecret](ctx, c.kv, store.JoinSecretKey())
	if err != nil {
		return authority.Token{}, err
	}
	if at == 0 {
		return authority.Token{}, ErrNotFounded
	}
	if !authority.Matches(custody.Secret, secret.Digest) {
		return authority.Token{}, ErrBehind
	}
	return authority.Token{Fingerprint: roots.Signing, Secret: custody.Secret}, nil
}

// RotateSecret ends the secret: from now on hosts join with the token it
// returns. Who is in stays in. It lies in this host's custody before the store
// compares with it; other members fetch it (Refresh). ErrBehind when this host
// does not have every authority of the cluster.
func (c *Custodian) RotateSecret(ctx context.Context) (authority.Token, error) {
	return c.rotateSecret(ctx, "")
}

// rotateSecret does; of a digest only while the secret's is that one, else it is
// ErrChanged.
func (c *Custodian) rotateSecret(ctx context.Context, digest string) (authority.Token, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	custody, roots, rootsAt, err := c.state(ctx)
	if err != nil {
		return authority.Token{}, err
	}
	// Some member always has all of the keys, for the others to take over: who
	// changes one of them has the others.
	if !holds(custody, roots) {
		return authority.Token{}, ErrBehind
	}
	now, at, err := read[store.JoinSecret](ctx, c.kv, store.JoinSecretKey())
	if err != nil {
		return authority.Token{}, err
	}
	if digest != "" && now.Digest != digest {
		return authority.Token{}, ErrChanged
	}
	before := custody.Secret
	then := now
	custody.Secret = authority.NewSecret()
	then.Digest, then.Since = authority.Digest(custody.Secret), c.now().Unix()
	if err := c.id.SetCustody(custody); err != nil {
		return authority.Token{}, err
	}
	res, err := c.kv.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(store.JoinSecretKey(), at), store.Unchanged(store.RootsKey(), rootsAt)},
		Then: []store.Op{store.Put(store.JoinSecretKey(), store.Encode(then))},
	})
	if err != nil { // nobody knows which of the two counts: InStep will
		return authority.Token{}, fmt.Errorf("rotate the secret: %w", err)
	}
	if !res.Done {
		custody.Secret = before
		if err := c.id.SetCustody(custody); err != nil {
			return authority.Token{}, err
		}
		return authority.Token{}, fmt.Errorf("rotate the secret: %w", ErrChanged)
	}
	return authority.Token{Fingerprint: roots.Signing, Secret: custody.Secret}, nil
}

// lostPatience is how long a member that does not answer is waited for, because it
// may have the key that nobody else has.
const lostPatience = 10 * time.Minute

// gap is what the store says of the cluster's keys where this host lacks some.
type gap struct {
	roots    store.Roots
	rootsAt  store.Revision
	secret   store.JoinSecret
	secretAt store.Revision
}

// gap reads what the store says now.
func (c *Custodian) gap(ctx context.Context) (g gap, err error) {
	if g.roots, g.rootsAt, err = read[store.Roots](ctx, c.kv, store.RootsKey()); err != nil {
		return g, err
	}
	g.secret, g.secretAt, err = read[store.JoinSecret](ctx, c.kv, store.JoinSecretKey())
	return g, err
}

// replaceLost replaces a key that no member has, and reports whether it did: who
// made it told the store, and lost its disk before another one had fetched it. The
// rest of the keys is with every member then, since who changes one has the others.
//
//   - A secret: another one is made.
//   - The newest authority while it spreads, under which nothing was signed: it is a
//     root no more, and the rotation has to begin again. Of an exposure that is done
//     by StepRoots; what was exposed stays noted.
//
// all says that every other member was asked and is behind itself; else those that
// did not answer are waited for. alone says that none of them answered: where all
// are learners that wait for their keys, this host is the only one that has any.
// Nothing is done harm to where one of them has the
// key after all.
func (c *Custodian) replaceLost(ctx context.Context, lost gap, all, alone bool) (bool, error) {
	custody, found, err := c.id.Custody()
	if err != nil || !found || lost.rootsAt == 0 {
		return false, err
	}
	over := c.waited(lost) >= lostPatience
	if !all && !over {
		return false, nil
	}
	if holds(custody, lost.roots) {
		if authority.Matches(custody.Secret, lost.secret.Digest) {
			return false, nil // InStep knows of it by now
		}
		if _, err := c.rotateSecret(ctx, lost.secret.Digest); err != nil {
			return false, fmt.Errorf("replace the secret that no member has: %w", err)
		}
		c.log.Warn("no member of the store has the secret of the token any more: another one was made, see 'gvlan token show'")
		return true, nil
	}
	stage, err := stageOf(lost.roots)
	if err != nil || stage != Spreading {
		return false, err
	}
	roots := lost.roots
	roots.PEM = roots.PEM[:len(roots.PEM)-1]
	// Where the secret is missing as well, one that has all authorities may be about
	// to make another: it goes first.
	if !holds(custody, roots) || !over && !alone && !authority.Matches(custody.Secret, lost.secret.Digest) {
		return false, nil
	}
	if err := putRoots(ctx, c.kv, roots, lost.rootsAt, store.Unchanged(store.JoinSecretKey(), lost.secretAt)); err != nil {
		return false, fmt.Errorf("drop the authority whose key no member has: %w", err)
	}
	c.log.Warn("no member of the store has the key of the authority that was to be the next one any more: it was dropped before it signed anything, and its rotation has to begin again", "exposed", roots.Exposed != nil)
	return true, nil
}

// waited is for how long this host has missed the same.
func (c *Custodian) waited(lost gap) time.Duration {
	c.lostMu.Lock()
	defer c.lostMu.Unlock()
	if c.since.IsZero() || c.lost.rootsAt != lost.rootsAt || c.lost.secretAt != lost.secretAt {
		c.lost, c.since = lost, c.now()
	}
	return c.now().Sub(c.since)
}
