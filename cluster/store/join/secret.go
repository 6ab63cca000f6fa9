package join

import (
	"context"
	"fmt"

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
	custody.Secret = authority.NewSecret()
	if err := c.id.SetCustody(custody); err != nil {
		return authority.Token{}, err
	}
	res, err := c.kv.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(store.JoinSecretKey(), at), store.Unchanged(store.RootsKey(), rootsAt)},
		Then: []store.Op{store.Put(store.JoinSecretKey(), store.Encode(store.JoinSecret{Digest: authority.Digest(custody.Secret), Since: c.now().Unix()}))},
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
