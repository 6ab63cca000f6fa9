package join_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/join"
)

// ends takes a host's door away, as its host does that lost its disk.
func (h *host) ends() {
	h.c.t.Helper()
	h.must(h.close())
}

// behind has a host find no member with the cluster's keys.
func (h *host) behind() {
	h.c.t.Helper()
	wantErr(h.c.t, h.custodian.Refresh(h.c.t.Context(), h.asker, h.node), join.ErrBehind)
}

func (h *host) refreshes() {
	h.c.t.Helper()
	h.must(h.custodian.Refresh(h.c.t.Context(), h.asker, h.node))
}

// Who began a rotation is gone with the only key of the new authority.
func TestRotationWhoseKeyIsLost(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second, third := c.newMember("second", first), c.newMember("third", first)
	late := c.host("late") // asked to be a member, and has no custody yet
	late.join(first)
	late.member()
	before := c.roots()
	first.must(first.custodian.BeginRoots(t.Context()))
	first.ends()

	// While it may come back it is waited for.
	second.behind()
	c.clock.advance(9 * time.Minute)
	second.behind()
	if n := len(c.roots().PEM); n != 2 {
		t.Fatalf("%d roots after nine minutes, want 2", n)
	}
	c.clock.advance(time.Minute)
	late.behind()  // it has no say
	third.behind() // it has not waited for as long
	if n := len(c.roots().PEM); n != 2 {
		t.Fatalf("%d roots, want 2: dropped by one that should not", n)
	}
	second.refreshes()
	if roots := c.roots(); !slices.Equal(roots.PEM, before.PEM) || roots.Signing != before.Signing || !strings.Contains(c.log.String(), "it was dropped") {
		t.Fatalf("%d roots (said: %s), want the one that signs", len(roots.PEM), c.log)
	}
	for _, h := range []*host{second, third} {
		if ok, err := h.custodian.InStep(t.Context()); !ok || err != nil {
			t.Errorf("%s in step: %v, %v", h.node, ok, err)
		}
	}

	// It was no more than away: what it kept does no harm, and it begins again.
	first.open()
	late.refreshes()
	first.must(first.custodian.BeginRoots(t.Context()))
	for range 3 {
		for _, h := range []*host{first, second, third, late} {
			h.care(first)
			_, err := h.custodian.StepRoots(t.Context())
			h.must(err)
		}
	}
	if roots := c.roots(); len(roots.PEM) != 1 || roots.Signing == before.Signing {
		t.Errorf("the rotation did not come to its end: %+v", roots)
	}
}

// Where every member says that it is behind, nobody is waited for. An eviction of
// who had the key alone has the authority replaced all the same.
func TestRotationWhoseKeyIsLostToAnEviction(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second, third := c.newMember("second", first), c.newMember("third", first)
	old := first.token()
	first.must(first.custodian.BeginRoots(t.Context()))
	stolen, _, err := first.id.Custody()
	first.must(err)
	first.ends()
	c.evict("first")
	second.refreshes()
	if roots := c.roots(); len(roots.PEM) != 1 || roots.Signing != old.Fingerprint || roots.Exposed == nil || len(roots.Exposed.Roots) != 2 {
		t.Fatalf("%d roots, exposed %+v", len(roots.PEM), roots.Exposed)
	}
	c.settles(second, third)
	if _, has := stolen.Authority(second.token().Fingerprint); has || second.token().Secret == old.Secret {
		t.Error("what it has is good still")
	}
}

// A root that another member has the key of is fetched, whoever else is behind.
func TestRotationWhoseKeyAnotherHas(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second, third := c.newMember("second", first), c.newMember("third", first)
	first.must(first.custodian.BeginRoots(t.Context()))
	third.refreshes()
	first.ends()
	c.clock.advance(time.Hour)
	second.refreshes()
	if n := len(c.roots().PEM); n != 2 {
		t.Errorf("%d roots, want 2", n)
	}
}

// The authority that signs is never dropped, nor one that others go by.
func TestAuthorityInUseIsNotDropped(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second := c.newMember("second", first)
	roots := c.roots()
	other, err := authority.New(c.clock.Now())
	first.must(err)
	roots.PEM = append(roots.PEM, string(authority.CertificatePEM(other.Root())))
	roots.Signing = other.Fingerprint() // with its key at nobody's
	c.put(store.Put(store.RootsKey(), store.Encode(roots)))
	second.behind()
	c.clock.advance(time.Hour)
	second.behind()
	if now := c.roots(); len(now.PEM) != 2 || now.Signing != roots.Signing {
		t.Errorf("%d roots, or another signs", len(now.PEM))
	}
}

func TestSecretThatIsLost(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second, third := c.newMember("second", first), c.newMember("third", first)
	lost, err := first.custodian.RotateSecret(t.Context())
	first.must(err)
	first.ends()
	second.behind()
	c.clock.advance(9 * time.Minute)
	second.behind()
	c.clock.advance(time.Minute)
	second.refreshes()
	token := second.token()
	if token.Secret == lost.Secret || !strings.Contains(c.log.String(), "another one was made") {
		t.Errorf("no other secret, or it is not said: %s", c.log)
	}
	third.refreshes()
	if third.token() != token {
		t.Error("members have two tokens")
	}
	c.host("new").join(third)
}

// Both are lost to one disk: one after the other is replaced.
func TestAllNewKeysAreLost(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second, third := c.newMember("second", first), c.newMember("third", first)
	_, err := first.custodian.RotateSecret(t.Context())
	first.must(err)
	first.must(first.custodian.BeginRoots(t.Context()))
	first.ends()
	c.put(store.Delete(store.MemberKey("first")))
	second.behind() // one that has the authority may be about to replace the secret
	c.clock.advance(10 * time.Minute)
	second.refreshes()
	second.refreshes()
	third.refreshes()
	if n := len(c.roots().PEM); n != 1 || second.token() != third.token() {
		t.Errorf("%d roots, or two tokens", n)
	}
}

// Who had the newest key lost its place, and the one that is asked to take it needs
// the keys before it opens its door: nobody waits for the other.
func TestLearnerThatWaitsForTheKeys(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second := c.newMember("second", first)
	late := c.host("late")
	late.join(first)
	c.put(store.Put(store.MemberKey("late"), store.Encode(store.Member{Node: "late", Door: "127.0.0.1:1", Learner: true})))
	first.must(first.custodian.BeginRoots(t.Context()))
	first.ends()
	c.put(store.Delete(store.MemberKey("first")))
	second.refreshes()
	if n := len(c.roots().PEM); n != 1 {
		t.Errorf("%d roots, want that one signs", n)
	}
	late.refreshes()
}

// The same with both keys: the one host that has any waits for nobody.
func TestOnlyKeeperWaitsForNobody(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second := c.newMember("second", first)
	late := c.host("late")
	late.join(first)
	c.put(store.Put(store.MemberKey("late"), store.Encode(store.Member{Node: "late", Door: "127.0.0.1:1", Learner: true})))
	_, err := first.custodian.RotateSecret(t.Context())
	first.must(err)
	first.must(first.custodian.BeginRoots(t.Context()))
	first.ends()
	c.put(store.Delete(store.MemberKey("first")))
	second.refreshes()
	second.refreshes()
	if n := len(c.roots().PEM); n != 1 {
		t.Errorf("%d roots, want that one signs", n)
	}
	late.refreshes()
}
