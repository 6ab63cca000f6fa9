package join_test

import (
	"testing"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/join"
)

// A door says which life its host is in, to every certificate of the cluster, also
// to one that a copy of the store does not know, and hears which life the asker is
// in.
func TestLife(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	h := c.host("second")
	h.join(first)
	c.put(store.Delete(store.CertificateKey("second", authority.Serial(h.id.Certificate()))))
	if _, err := h.asker.Members(t.Context(), first.door); err == nil {
		t.Fatal("the certificate is known still")
	}
	c.life.Store(&join.Standing{Life: store.Life{Number: 3, ID: "x"}, Members: []join.Place{{Node: "first", Client: "192.0.2.7:2379"}}})
	said, err := h.asker.Life(t.Context(), first.door, store.Life{Number: 2}, "192.0.2.8:2381")
	if err != nil || said.Life.Number != 3 || len(said.Members) != 1 {
		t.Errorf("%+v, %v", said, err)
	}
	if heard := c.heard.Load(); heard == nil || *heard != "192.0.2.8:2381" {
		t.Errorf("the door heard %v", heard)
	}
	other := newCluster(t).founder("first")
	if status, _ := knock(t, first.door, "POST", "/v1/life", other.nodeCertificate()); status != 401 {
		t.Errorf("a certificate of another cluster is answered with %d", status)
	}
	if status, _ := knock(t, first.door, "POST", "/v1/life", nil); status != 401 {
		t.Errorf("none is answered with %d", status)
	}
}

func TestLivesHaveAnOrder(t *testing.T) {
	older, a, b := store.Life{}, store.Life{Number: 1, ID: "a"}, store.Life{Number: 1, ID: "b"}
	for _, tt := range []struct {
		one, other store.Life
		want       bool
	}{{older, older, false}, {a, older, true}, {older, a, false}, {a, b, false}, {b, a, true}, {a, a, false}, {store.Life{Number: 2, ID: "a"}, b, true}} {
		if got := tt.one.Beats(tt.other); got != tt.want {
			t.Errorf("%+v beats %+v: %v", tt.one, tt.other, got)
		}
	}
}
