package route_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/driver/route"
)

func TestBetween(t *testing.T) {
	prefix := netip.MustParsePrefix
	via := func(dst, via string) route.Route {
		return route.Route{Dst: prefix(dst), Link: "card", Via: netip.MustParseAddr(via)}
	}
	block := route.Route{Dst: prefix("10.0.0.0/26"), Unreachable: true}
	a, b, moved := via("10.0.0.1/32", "192.0.2.1"), via("10.0.0.2/32", "192.0.2.1"), via("10.0.0.1/32", "192.0.2.2")
	metric, table := a, a
	metric.Metric, table.Table = 5, 77
	near := func(mac ...byte) route.Neighbour { return route.Neighbour{Link: "shim", Address: v4, MAC: mac} }
	far := route.Neighbour{Link: "card", Address: v4, MAC: mac1}
	for name, tt := range map[string]struct {
		there, want route.State
		changes     route.Changes
	}{
		"the same": {
			route.State{Routes: []route.Route{a, block}, Neighbours: []route.Neighbour{far}},
			route.State{Routes: []route.Route{block, a, a}, Neighbours: []route.Neighbour{far}},
			route.Changes{},
		},
		"a block comes after its addresses and goes before them": {
			route.State{Routes: []route.Route{via("10.0.1.1/32", "192.0.2.1"), via("10.0.1.0/26", "192.0.2.1")}},
			route.State{Routes: []route.Route{block, a, b, b}},
			route.Changes{Make: []route.Route{a, b, block}, Drop: []route.Route{via("10.0.1.0/26", "192.0.2.1"), via("10.0.1.1/32", "192.0.2.1")}},
		},
		"another way": {
			route.State{Routes: []route.Route{a, b}},
			route.State{Routes: []route.Route{moved, b}},
			route.Changes{Move: []route.Move{{From: a, To: moved}}},
		},
		"both ways, as of one that ended in between": {
			route.State{Routes: []route.Route{a, moved}},
			route.State{Routes: []route.Route{moved}},
			route.Changes{Drop: []route.Route{a}},
		},
		"two of one place": {
			route.State{Routes: []route.Route{a, moved}},
			route.State{Routes: []route.Route{via("10.0.0.1/32", "192.0.2.3"), via("10.0.0.1/32", "192.0.2.4")}},
			route.Changes{Move: []route.Move{{From: a, To: via("10.0.0.1/32", "192.0.2.3")}, {From: moved, To: via("10.0.0.1/32", "192.0.2.4")}}},
		},
		"another table or metric is another place": {
			route.State{Routes: []route.Route{a}},
			route.State{Routes: []route.Route{metric, table}},
			route.Changes{Make: []route.Route{metric, table}, Drop: []route.Route{a}},
		},
		"neighbours by link and address": {
			route.State{Neighbours: []route.Neighbour{near(2), far}},
			route.State{Neighbours: []route.Neighbour{near(4)}},
			route.Changes{Know: []route.Neighbour{near(4)}, DropNeighbours: []route.Neighbour{far}},
		},
	} {
		got := route.Between(tt.there, tt.want)
		if diff := cmp.Diff(tt.changes, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.IsZero() != (name == "the same") {
			t.Errorf("%s: IsZero = %t", name, got.IsZero())
		}
	}
}

func TestRouteIsWritten(t *testing.T) {
	for want, r := range map[string]route.Route{
		"192.0.2.7/32 dev shim src 192.0.2.1": route4,
		"unreachable 203.0.113.0/26":          nobody.Routes[0],
		"2001:db8:1::7/128 via 2001:db8::9 dev card table 77 metric 5": {
			Dst: netip.MustParsePrefix("2001:db8:1::7/128"), Via: netip.MustParseAddr("2001:db8::9"), Link: "card", Table: 77, Metric: 5,
		},
	} {
		if got := r.String(); got != want {
			t.Errorf("%#v is %q, want %q", r, got, want)
		}
	}
}
