package answer

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/ipam/pool"
	"gvlan/ipam/survey"
)

// notFree is a line for each address of a view that is anything but free.
func notFree(v api.SubnetView) (lines []string) {
	for _, a := range v.Addresses {
		if a.State != survey.Free {
			lines = append(lines, a.Address.String()+" "+string(a.State)+" "+a.Container+" "+a.Host)
		}
	}
	return lines
}

func TestASubnet(t *testing.T) {
	a, kv, _ := leases(t)
	put := func(key string, record []byte) {
		t.Helper()
		if _, err := kv.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(key, record)}}); err != nil {
			t.Fatal(err)
		}
	}
	db, spare := netip.MustParseAddr("10.0.0.4"), netip.MustParseAddr("10.0.0.9")
	put(store.ConflictKey(pool.DefaultSegment, db), store.Encode(store.Conflict{
		Segment: pool.DefaultSegment, Address: db, MAC: foreign.String(), Node: "id1", Endpoint: "e2", Holder: "id2", Container: "db",
	}))
	put(store.ConflictKey(pool.DefaultSegment, netip.MustParseAddr("10.0.0.10")), []byte("what a newer gvlan wrote"))
	put(store.ConflictKey(pool.DefaultSegment, spare), store.Encode(store.Conflict{Segment: pool.DefaultSegment, Address: spare, MAC: foreign.String(), Node: "id1"}))
	put(store.LeaseKey(pool.DefaultSegment, spare), store.Encode(store.Lease{State: store.Conflicted, Node: "id1", MAC: foreign.String()}))
	s := Subnets{Leases: a}
	whole := api.Subnet("lan", "", netip.MustParsePrefix("10.0.0.0/24"), netip.Prefix{})
	v, err := asked[api.SubnetView](t, s.show, whole)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"10.0.0.0 unusable  ", "10.0.0.1 gateway  ", "10.0.0.3 leased web h2", "10.0.0.4 conflict db h2", "10.0.0.6 leased  id9", "10.0.0.7 awaited idle h2",
		"10.0.0.9 foreign  h1", "10.0.0.255 unusable  ",
	}
	if diff := cmp.Diff(want, notFree(v)); diff != "" || len(v.Addresses) != 256 {
		t.Errorf("%d addresses, but for free ones (-want +got):\n%s", len(v.Addresses), diff)
	}
	if v.Counts[survey.Leased] != 2 || v.Counts[survey.Free] != 248 || !v.AsOf.IsZero() || v.At != v.Subnet {
		t.Errorf("it counts %v, of %s, as of %s", v.Counts, v.At, v.AsOf)
	}
	shown, err := asked[[]api.LeaseDetail](t, a.show, api.Lease(db.String(), "", ""))
	if err != nil || len(shown) != 1 || shown[0].State != survey.Conflict || shown[0].Why != "MAC "+foreign.String()+" on the LAN uses it too, seen by host h1" {
		t.Errorf("the address in conflict by itself: %+v, %v", shown, err)
	}
	part, err := asked[api.SubnetView](t, s.show, api.Subnet("lan", "", v.Subnet, netip.MustParsePrefix("10.0.0.4/31")))
	if err != nil || len(part.Addresses) != 2 || part.Addresses[0].Container != "db" {
		t.Errorf("a part: %+v, %v", part, err)
	}
	if only, err := asked[api.SubnetView](t, s.show, api.Subnet("lan", "", netip.Prefix{}, netip.Prefix{})); err != nil || only.Subnet != v.Subnet {
		t.Errorf("of the only subnet: %+v, %v", only, err)
	}

	kv.away = true
	v, err = asked[api.SubnetView](t, s.show, whole)
	if diff := cmp.Diff([]string{"10.0.0.0 unusable  ", "10.0.0.1 gateway  ", "10.0.0.3 leased web h2", "10.0.0.4 leased db h2", "10.0.0.255 unusable  "}, notFree(v)); diff != "" || err != nil || v.AsOf.IsZero() {
		t.Errorf("while etcd is away: as of %s, %v (-want +got):\n%s", v.AsOf, err, diff)
	}
}

// TestNoSuchSubnet: what cannot be shown is the asker's fault, and says what can.
func TestNoSuchSubnet(t *testing.T) {
	a, _, _ := leases(t)
	for _, c := range []struct {
		query  string
		status int
		says   string
	}{
		{"", http.StatusNotFound, "no such network:  (gvlan network ls lists them)"},
		{"?network=none", http.StatusNotFound, "no such network: none (gvlan network ls lists them)"},
		{"?network=lan&subnet=10.1.0.0/24", http.StatusNotFound, `network lan has no subnet "10.1.0.0/24": it has 10.0.0.0/24`},
		{"?network=lan&subnet=10.0.0.0/24&at=10.0.1.0/25", http.StatusBadRequest, "at=10.0.1.0/25 is no part of subnet 10.0.0.0/24: give a prefix within it, or leave it out"},
		{"?network=lan&subnet=10.0.0.0/24&at=10.0.0.0/8", http.StatusBadRequest, "at=10.0.0.0/8 is no part of subnet 10.0.0.0/24: give a prefix within it, or leave it out"},
		{"?network=lan&subnet=10.0.0.0/24&at=10.0.0.1/30", http.StatusBadRequest, "at=10.0.0.1/30 is no part of subnet 10.0.0.0/24: give a prefix within it, or leave it out"},
		{"?network=lan&subnet=10.0.0.0/24&at=x", http.StatusBadRequest, "at=x is no part of subnet 10.0.0.0/24: give a prefix within it, or leave it out"},
	} {
		_, err := asked[api.SubnetView](t, Subnets{Leases: a}.show, api.SubnetRoute+c.query)
		if err == nil || err.Error() != c.says || api.StatusOf(err) != c.status {
			t.Errorf("%s: %v, %d", c.query, err, api.StatusOf(err))
		}
	}
}
