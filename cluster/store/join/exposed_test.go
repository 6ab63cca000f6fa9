package join_test

import (
	"errors"
	"slices"
	"testing"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/join"
)

func (c *cluster) roots() store.Roots {
	c.t.Helper()
	it, err := c.mem.Get(c.t.Context(), store.RootsKey())
	if err != nil {
		c.t.Fatal(err)
	}
	roots, err := store.Decode[store.Roots](it)
	if err != nil {
		c.t.Fatal(err)
	}
	return roots
}

// evict fences a node and revokes what it has; it reports whether the node had
// the cluster's keys.
func (c *cluster) evict(node string) bool {
	c.t.Helper()
	c.put(store.Put(store.EpochKey(node), store.Encode(store.Epoch{Epoch: 2, Evicted: true})), store.Delete(store.MemberKey(node)))
	keeper, err := join.Revoke(c.t.Context(), c.mem, node)
	if err != nil {
		c.t.Fatal(err)
	}
	return keeper
}

// settles has all hosts do what their agents do, until nothing is exposed.
func (c *cluster) settles(hosts ...*host) {
	c.t.Helper()
	for range 10 {
		for _, h := range hosts {
			h.care(hosts[0])
			if h.door != "" {
				_, err := h.custodian.StepRoots(c.t.Context())
				h.must(err)
			}
		}
		if c.roots().Exposed == nil {
			for _, h := range hosts {
				h.care(hosts[0])
			}
			return
		}
	}
	c.t.Fatalf("still exposed: %+v", c.roots())
}

func TestKeysOfAnEvictedMemberAreReplaced(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second := c.newMember("second", first)
	third := c.newMember("third", first)
	client := c.host("client")
	client.join(first)
	old := first.token()
	stolen, _, err := second.id.Custody()
	first.must(err)

	if !c.evict("second") {
		t.Error("nobody is told that it had the authority")
	}
	if exposed := c.roots().Exposed; exposed == nil || !slices.Equal(exposed.Roots, []string{old.Fingerprint}) || exposed.Secret != authority.Digest(old.Secret) {
		t.Fatalf("exposed is %+v", exposed)
	}
	// Members do it by themselves, two of them at once.
	first.must(first.custodian.Refresh(t.Context(), first.asker, "first"))
	_, err = first.custodian.StepRoots(t.Context())
	first.must(err)
	if first.token().Secret == old.Secret {
		t.Error("the secret it knows is good still")
	}
	third.must(third.custodian.Refresh(t.Context(), third.asker, "third"))
	c.settles(first, third, client)
	token := first.token()
	if third.token() != token || slices.ContainsFunc(stolen.Authorities, func(a *authority.Authority) bool { return a.Fingerprint() == token.Fingerprint }) {
		t.Errorf("the token is of an authority that it has, or members differ: %v, %v", token, third.token())
	}
	for _, h := range []*host{first, third, client} {
		if roots := h.id.RootCertificates(); len(roots) != 1 || authority.Fingerprint(roots[0]) != token.Fingerprint {
			t.Errorf("%s trusts %d authorities, or another", h.node, len(roots))
		}
	}

	// An eviction that is finished by another exposes nothing anew.
	if !c.evict("second") || c.roots().Exposed != nil || first.token() != token {
		t.Error("keys it never had are replaced")
	}
}

func TestKeysAreReplacedAgainAfterARotation(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second := c.newMember("second", first)
	first.must(first.custodian.BeginRoots(t.Context()))
	second.care(nil) // has the new one
	stolen, _, err := second.id.Custody()
	first.must(err)
	c.evict("second")
	if n := len(c.roots().Exposed.Roots); n != 2 {
		t.Errorf("%d authorities exposed, want both", n)
	}
	c.settles(first)
	if _, has := stolen.Authority(first.token().Fingerprint); has {
		t.Error("the one it has signs")
	}
}

// An authority that lies in this host's custody alone may have been handed over
// with it.
func TestUnpublishedAuthorityIsNotUsedAfterAnEviction(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	c.mem.DropRequests(1)
	wantErr(t, first.custodian.BeginRoots(t.Context()), store.ErrUnavailable)
	second := c.newMember("second", first)
	stolen, _, err := second.id.Custody()
	first.must(err)
	if len(stolen.Authorities) != 2 {
		t.Fatalf("%d authorities handed over: this test is of no use", len(stolen.Authorities))
	}
	c.evict("second")
	c.settles(first)
	if _, has := stolen.Authority(first.token().Fingerprint); has {
		t.Error("the one it has signs")
	}
}

func TestWhoWasHandedTheKeys(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	client, asked := c.host("client"), c.host("asked")
	client.join(first)
	asked.join(first)
	asked.member()
	asked.must(asked.custodian.Refresh(t.Context(), asked.asker, "asked")) // and no more than that
	if c.evict("client") || c.roots().Exposed != nil {
		t.Error("a host without the authority exposes it")
	}
	if !c.evict("asked") || c.roots().Exposed == nil {
		t.Error("a host that took the authority over exposes nothing")
	}
}

// A store that nobody joins has no keys to expose.
func TestRevokeWithoutRoots(t *testing.T) {
	c := newCluster(t)
	c.put(store.Put(store.CertificateKey("a", "1"), store.Encode(store.Certificate{Node: "a", Serial: "1", Member: true})))
	if !c.evict("a") {
		t.Error("not told")
	}
	if _, err := c.mem.Get(t.Context(), store.RootsKey()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the store has roots now: %v", err)
	}
}
