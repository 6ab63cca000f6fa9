package join_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/join"
)

// care is what a host's agent does all the time.
func (h *host) care(at *host) {
	h.c.t.Helper()
	ctx := h.c.t.Context()
	if h.door != "" {
		h.must(h.custodian.Refresh(ctx, h.asker, h.node))
	}
	_, err := join.TakeRoots(ctx, h.c.mem, h.id)
	h.must(err)
	due, err := join.Due(ctx, h.c.mem, h.id, h.c.clock.Now())
	h.must(err)
	switch {
	case h.door != "" && (due.Node || due.Member):
		h.must(h.custodian.Own(ctx, authority.Subject{Node: h.node}))
	case due.Node:
		h.must(h.asker.Renew(ctx, at.door))
	}
	h.must(join.Settle(ctx, h.c.mem, h.id))
}

func (h *host) step(want join.Rotation) {
	h.c.t.Helper()
	got, err := h.custodian.StepRoots(h.c.t.Context())
	h.must(err)
	if diff := cmp.Diff(want, got); diff != "" {
		h.c.t.Errorf("rotation (-want +got):\n%s", diff)
	}
}

func TestRootRotation(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second := c.newMember("second", first)
	third := c.host("third")
	third.join(first)
	old := first.token()
	first.step(join.Rotation{Stage: join.Settled})

	first.must(first.custodian.BeginRoots(t.Context()))
	wantErr(t, second.custodian.BeginRoots(t.Context()), join.ErrRotating)
	all := []string{"first", "second", "third"}
	first.step(join.Rotation{Stage: join.Spreading, Waiting: all})
	if first.token() != old {
		t.Error("the new authority is in tokens before it signs")
	}
	first.care(nil)
	first.step(join.Rotation{Stage: join.Spreading, Waiting: all[1:]})
	second.care(nil)
	if ok, err := second.custodian.InStep(t.Context()); !ok || err != nil {
		t.Errorf("second in step: %v, %v", ok, err)
	}
	first.step(join.Rotation{Stage: join.Spreading, Waiting: all[2:]})
	third.care(second)
	// The other member goes on with it.
	second.step(join.Rotation{Stage: join.Replacing, Waiting: all})
	token := first.token()
	if token.Fingerprint == old.Fingerprint || token.Secret != old.Secret {
		t.Error("the token does not follow the authority")
	}

	// Old certificates are good all the while, with doors old and new.
	_, err := third.asker.Members(t.Context(), first.door)
	third.must(err)
	first.care(nil)
	_, err = third.asker.Members(t.Context(), first.door)
	third.must(err)
	late := c.host("late")
	late.join(first)
	second.care(nil)
	first.step(join.Rotation{Stage: join.Replacing, Waiting: all[2:]})
	// An answer that got lost is no renewal.
	csr, err := third.id.Request(false)
	third.must(err)
	_, err = first.custodian.Issue(t.Context(), csr, authority.Subject{Node: "third"})
	third.must(err)
	first.step(join.Rotation{Stage: join.Replacing, Waiting: all[2:]})
	third.care(first)
	first.step(join.Rotation{Stage: join.Settled})

	for _, h := range []*host{first, second, third, late} {
		h.care(first)
		roots := h.id.RootCertificates()
		if len(roots) != 1 || authority.Fingerprint(roots[0]) != token.Fingerprint {
			t.Errorf("%s has %d roots, or another", h.node, len(roots))
		}
		if _, err := h.asker.Members(t.Context(), second.door); err != nil {
			t.Errorf("%s: %v", h.node, err)
		}
	}
	for _, h := range []*host{first, second} {
		if custody, _, err := h.id.Custody(); err != nil || len(custody.Authorities) != 1 {
			t.Errorf("%s keeps %d authorities (%v)", h.node, len(custody.Authorities), err)
		}
	}
	_, err = c.host("new").asker.Join(t.Context(), first.door, old, join.Applicant{Node: "new"})
	wantErr(t, err, join.ErrWrongToken)
}

func TestBeginRootsAfterACrash(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	c.mem.DropRequests(1)
	wantErr(t, first.custodian.BeginRoots(t.Context()), store.ErrUnavailable)
	first.must(first.custodian.Refresh(t.Context(), first.asker, "first"))
	first.must(first.custodian.BeginRoots(t.Context()))
	custody, _, err := first.id.Custody()
	if err != nil || len(custody.Authorities) != 2 {
		t.Errorf("%d authorities (%v), want the one that was made", len(custody.Authorities), err)
	}
}

func TestNextOfARotation(t *testing.T) {
	now := time.Unix(5000, 0)
	var roots []string
	var signing []string
	for range 2 {
		a, err := authority.New(now)
		if err != nil {
			t.Fatal(err)
		}
		roots, signing = append(roots, string(authority.CertificatePEM(a.Root()))), append(signing, a.Fingerprint())
	}
	given := func(created store.Revision, c store.Certificate) join.Given {
		if c.Ends == 0 {
			c.Ends = 9000
		}
		return join.Given{Certificate: c, Created: created}
	}
	spreading := store.Roots{PEM: roots, Signing: signing[0], Since: 1}
	replacing := store.Roots{PEM: roots, Signing: signing[1], Since: 2}
	tests := []struct {
		name  string
		roots store.Roots
		given []join.Given
		want  []string // waited for; "-" for a settled one
		next  store.Roots
	}{
		{"none", store.Roots{PEM: roots[:1], Signing: signing[0]}, []join.Given{given(1, store.Certificate{Node: "a"})}, []string{"-"}, store.Roots{}},
		{"spreads", spreading, []join.Given{given(10, store.Certificate{Node: "b"}), given(11, store.Certificate{Node: "c"}), given(9, store.Certificate{Node: "a"}), given(8, store.Certificate{Node: "a", Member: true})}, []string{"a", "b"}, store.Roots{}},
		{"has spread", spreading, []join.Given{given(11, store.Certificate{Node: "a"})}, nil, store.Roots{PEM: roots, Signing: signing[1], Since: 5000}},
		{"waits for none that ended, was revoked, replaced or evicted", spreading, []join.Given{
			given(1, store.Certificate{Node: "a", Ends: 4999}), given(1, store.Certificate{Node: "b", Revoked: true}),
			given(1, store.Certificate{Node: "c", Replaced: true}), given(1, store.Certificate{Node: "evicted"}),
		}, nil, store.Roots{PEM: roots, Signing: signing[1], Since: 5000}},
		{"replaces", replacing, []join.Given{given(11, store.Certificate{Node: "a", Root: signing[0]}), given(1, store.Certificate{Node: "b", Root: signing[1]})}, []string{"a"}, store.Roots{}},
		{"has replaced", replacing, []join.Given{given(1, store.Certificate{Node: "b", Root: signing[1]})}, nil, store.Roots{PEM: roots[1:], Signing: signing[1], Since: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is, next, step, err := join.Ground{Roots: tt.roots, At: 10, Given: tt.given, Evicted: map[string]bool{"evicted": true}, Now: now}.Next()
			if err != nil {
				t.Fatal(err)
			}
			if slices.Equal(tt.want, []string{"-"}) {
				if step || is.Stage != join.Settled {
					t.Errorf("%+v", is)
				}
				return
			}
			if !slices.Equal(is.Waiting, tt.want) || step != (len(tt.want) == 0) {
				t.Errorf("%+v (step %v), want to wait for %v", is, step, tt.want)
			}
			if diff := cmp.Diff(tt.next, next); step && diff != "" {
				t.Errorf("next (-want +got):\n%s", diff)
			}
		})
	}
	_, _, _, err := join.Ground{Roots: store.Roots{PEM: []string{roots[0], "?"}}}.Next()
	if err == nil || errors.Is(err, join.ErrRotating) {
		t.Errorf("a root nobody can read: %v", err)
	}
}
