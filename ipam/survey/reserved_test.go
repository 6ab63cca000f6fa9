package survey_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
	"gvlan/ipam/survey"
)

// TestWhatOperatorsReserve is told of where it comes, of what has a record beside
// that, and counts as reserved while nobody has it.
func TestWhatOperatorsReserve(t *testing.T) {
	k := kept{storetest.NewMem(), t}
	k.lease(segment, "10.0.0.3", store.Lease{State: store.Leased, Node: "h1", Endpoint: "e1", Network: "u1"})
	k.lease(segment, "10.0.0.5", store.Lease{State: store.Leased, Node: "h1", Endpoint: "e2", Network: "u1"})
	lan := store.Network{UUID: "u1", Name: "lan", Created: store.Definition{Segment: segment, Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/28")}}}}
	s := &survey.Survey{Networks: survey.NewNetworks([]store.Network{lan}, nil), Endpoint: func(string, string) (store.Endpoint, bool) { return store.Endpoint{}, false }}
	for _, r := range []struct{ at, container string }{{"10.0.0.2", "web"}, {"10.0.0.4", ""}, {"10.0.0.5", "db"}, {"10.0.0.9", ""}} {
		s.Reservations = append(s.Reservations, reserve.Reservation{At: pool.At(segment, addr(r.at)), Reservation: store.Reservation{Network: "u1", Name: "lan", For: r.container, Since: 1000}})
	}
	told := func(tell func(func(survey.Entry) error) error) (all []string) {
		t.Helper()
		err := tell(func(a survey.Entry) error {
			words := fmt.Sprintf("%s %s", a.Address, a.State)
			if a.Reservation != nil {
				words += " for:" + a.Reservation.For
			}
			all = append(all, words)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	got := told(func(tell func(survey.Entry) error) error { return s.Each(t.Context(), k, store.AllLeasesSpan(), tell) })
	if want := []string{"10.0.0.2 reserved for:web", "10.0.0.3 leased", "10.0.0.4 reserved for:", "10.0.0.5 leased for:db", "10.0.0.9 reserved for:"}; !slices.Equal(got, want) {
		t.Errorf("told are %q, want %q", got, want)
	}
	for at, want := range map[string]string{"10.0.0.2": "reserved", "10.0.0.5": "leased", "10.0.0.6": "free"} {
		if all, err := s.At(t.Context(), k, addr(at)); err != nil || len(all) != 1 || string(all[0].State) != want {
			t.Errorf("of %s is told %+v, %v, want %s", at, all, err, want)
		}
	}
	pools, err := s.Pools(t.Context(), k)
	if err != nil || len(pools) != 1 {
		t.Fatal(pools, err)
	}
	if p := pools[0]; p.Size != 16 || p.Used != 2 || p.Reserved != 5 || p.Free != 9 { // with the network and broadcast address
		t.Errorf("counted are %+v", p)
	}
	if vacant, err := s.Vacant(t.Context(), k, &s.Networks.All()[0].Subnets[0], 2); err != nil || !slices.Equal(vacant, []netip.Addr{addr("10.0.0.1"), addr("10.0.0.6")}) {
		t.Errorf("vacant are %v, %v", vacant, err)
	}
}
