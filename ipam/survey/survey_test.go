package survey_test

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/pool"
	"gvlan/ipam/survey"
)

const segment = pool.DefaultSegment

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// kept is a store with some records.
type kept struct {
	*storetest.Mem
	t *testing.T
}

func (k kept) lease(in, at string, l store.Lease) {
	k.t.Helper()
	k.put(store.LeaseKey(in, addr(at)), store.Encode(l))
}

func (k kept) put(key string, value []byte) {
	k.t.Helper()
	if _, err := k.Commit(k.t.Context(), store.Txn{Then: []store.Op{store.Put(key, value)}}); err != nil {
		k.t.Fatal(err)
	}
}

// cluster is a network lan of two subnets, one that excludes some, one of another
// segment with the same subnet, and one of h2 alone.
func cluster(t *testing.T) (kept, *survey.Survey) {
	lan := store.Network{UUID: "u1", Name: "lan", Created: store.Definition{
		Segment: segment, IPAMOptions: map[string]string{"exclude": "10.0.0.40-10.0.0.47"},
		Pools: []store.Pool{
			{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Range: netip.MustParsePrefix("10.0.0.0/26"), Gateway: addr("10.0.0.1"), Aux: map[string]netip.Addr{"nas": addr("10.0.0.2")}},
			{Subnet: netip.MustParsePrefix("fd00::/64"), Gateway: addr("fd00::1")},
		},
	}, Overrides: store.Overrides{Ranges: []netip.Prefix{netip.MustParsePrefix("10.0.0.128/30")}, Exclude: []string{"10.0.0.129"}}}
	dmz := store.Network{UUID: "u2", Name: "dmz", Created: store.Definition{Segment: "default-2", Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24")}}}}
	h2 := store.Node{Node: "id2", Host: "h2", Networks: []store.NodeNetwork{
		{UUID: "u1", Name: "lan", Parent: "eth1"},
		{UUID: "", Name: "own", Engine: "abc", Segment: segment, Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.9.0.0/30")}}},
	}}
	k := kept{storetest.NewMem(), t}
	k.lease(segment, "10.0.0.1", store.Lease{State: store.Reserved, By: []string{"u1"}, Since: 1000})
	k.lease(segment, "10.0.0.2", store.Lease{State: store.Reserved, By: []string{"u1"}})
	k.lease(segment, "10.0.0.3", store.Lease{State: store.Leased, Kind: store.Dynamic, Node: "id1", Network: "u1", Endpoint: "e1", Since: 2000})
	k.lease(segment, "10.0.0.4", store.Lease{State: store.Leased, Kind: store.Static, Node: "id2", Network: "u1"})
	k.lease(segment, "10.0.0.5", store.Lease{State: store.Quarantined, Node: "id3", Network: "u1", Endpoint: "e3", Since: 3000})
	k.lease(segment, "10.0.0.6", store.Lease{State: store.Leased, Network: "u1", Claims: &store.Claims{Manager: true}})
	k.put(store.CooldownKey(segment, addr("10.0.0.7")), store.Encode(store.Cooldown{Since: 4000}))
	k.put(store.CooldownKey(segment, addr("10.0.0.3")), store.Encode(store.Cooldown{Since: 1500})) // it was given since
	k.put(store.LeaseKey(segment, addr("10.0.0.8")), []byte{9, 9})
	k.lease(segment, "10.0.0.9", store.Lease{State: store.Leased, Node: "id1", Network: "u1", Endpoint: "gone"})
	k.lease(segment, "10.0.0.200", store.Lease{State: store.Leased, Kind: store.Static, Node: "id1", Network: "u1", Endpoint: "e1"})
	k.lease(segment, "10.0.0.41", store.Lease{State: store.Leased, Node: "id1", Network: "u1", Endpoint: "e1"})
	k.lease(segment, "10.9.0.2", store.Lease{State: store.Leased, Node: "id2", Network: store.EngineNetwork("abc"), Endpoint: "e2"})
	k.lease("default-2", "10.0.0.3", store.Lease{State: store.Leased, Node: "id2", Network: "u2", Endpoint: "e2"})
	k.lease(segment, "172.16.0.1", store.Lease{State: store.Reserved, By: []string{"gone", store.PoolEntry("ab", "id2")}})
	k.lease(segment, "fd00::10", store.Lease{State: store.Leased, Node: "id1", Network: "u1", Endpoint: "e1"})
	endpoints := map[string]store.Endpoint{
		"id1/e1": {Container: store.Container{ID: "c1", Name: "web"}, MAC: "02:00:00:00:00:03", Parent: "eth0"},
		"id2/e2": {Container: store.Container{ID: "c2", Name: "db"}},
	}
	return k, &survey.Survey{
		Networks: survey.NewNetworks([]store.Network{lan, dmz}, []store.Node{h2}),
		Hosts:    map[netip.Addr]string{addr("10.0.0.10"): "h1", addr("10.77.0.1"): "h2"},
		Endpoint: func(node, endpoint string) (store.Endpoint, bool) {
			e, known := endpoints[node+"/"+endpoint]
			return e, known
		},
		Conflicts: map[pool.Place]string{pool.At(segment, addr("fd00::10")): "two have it"},
	}
}

// line is an address in few words.
func line(a survey.Entry) string {
	words := []string{a.Segment, a.Address.String(), string(a.State)}
	for _, more := range []string{a.Network, a.Container, a.Node, a.MAC} {
		if more != "" {
			words = append(words, more)
		}
	}
	if !a.Since.IsZero() {
		words = append(words, fmt.Sprint(a.Since.Unix()))
	}
	return strings.Join(words, " ")
}

func TestEveryRecordIsTold(t *testing.T) {
	kv, s := cluster(t)
	kv.PageSize = 2
	var got []string
	if err := s.Each(t.Context(), kv, store.AllLeasesSpan(), func(a survey.Entry) error {
		got = append(got, line(a))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"default-2 10.0.0.3 leased dmz db id2",
		"default 10.0.0.1 gateway lan 1000",
		"default 10.0.0.2 aux lan",
		"default 10.0.0.3 leased lan web id1 02:00:00:00:00:03 2000",
		"default 10.0.0.4 starting lan id2",
		"default 10.0.0.5 quarantined lan id3 3000",
		"default 10.0.0.6 swarm lan",
		"default 10.0.0.7 resting lan 4000",
		"default 10.0.0.8 unreadable",
		"default 10.0.0.9 leased lan id1",
		"default 10.0.0.41 leased lan web id1 02:00:00:00:00:03",
		"default 10.0.0.200 leased lan web id1 02:00:00:00:00:03",
		"default 10.9.0.2 leased own db id2",
		"default 172.16.0.1 reserved id2",
		"default fd00::10 conflict lan web id1 02:00:00:00:00:03",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOneAddress(t *testing.T) {
	kv, s := cluster(t)
	for _, test := range []struct {
		at   string
		want []string
		why  string // of the first
	}{
		{at: "10.0.0.3", want: []string{"default leased", "default-2 leased"}},
		{at: "10.0.0.9", want: []string{"default leased", "default-2 free"}, why: "its endpoint has no record"},
		{at: "10.0.0.20", want: []string{"default free", "default-2 free"}},
		{at: "10.0.0.45", want: []string{"default excluded", "default-2 free"}, why: "network lan never gives it (exclude=)"},
		{at: "10.0.0.129", want: []string{"default excluded", "default-2 free"}, why: "network lan never gives it (exclude=)"},
		{at: "10.0.0.130", want: []string{"default free", "default-2 free"}},
		{at: "10.0.0.201", want: []string{"default free", "default-2 free"}, why: "it is given to who asks for it (--ip) only: it lies outside the network's --ip-range"},
		{at: "10.0.0.255", want: []string{"default unusable", "default-2 unusable"}, why: "it is the broadcast address of 10.0.0.0/24"},
		{at: "10.0.0.10", want: []string{"default host", "default-2 host"}, why: "it is of an interface of host h1"},
		{at: "10.77.0.1", want: []string{"default host"}, why: "it is of an interface of host h2"},
		{at: "10.78.0.1", want: []string{"default outside"}},
		{at: "172.16.0.1", want: []string{"default reserved"}, why: "for a network that is being made, or that is gone"},
		{at: "fd00::10", want: []string{"default conflict"}, why: "two have it"},
	} {
		all, err := s.At(t.Context(), kv, addr(test.at))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range all {
			got = append(got, a.Segment+" "+string(a.State))
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.at, diff)
		}
		if all[0].Why != test.why {
			t.Errorf("%s: %q, want %q", test.at, all[0].Why, test.why)
		}
	}
}

// TestRecordsOfNoNetwork: what a network left behind, in whatever segment it was, is
// found by its address, since that is how it is released.
func TestRecordsOfNoNetwork(t *testing.T) {
	kv, s := cluster(t)
	kv.lease("a/b", "10.0.0.20", store.Lease{State: store.Leased, Node: "id9", Network: "gone"})
	kv.lease("zone", "fd99::1", store.Lease{State: store.Leased, Node: "id9", Network: "gone"})
	for at, want := range map[string][]string{"10.0.0.20": {"a/b starting", "default free", "default-2 free"}, "fd99::1": {"zone starting"}} {
		all, err := s.At(t.Context(), kv, addr(at))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range all {
			got = append(got, a.Segment+" "+string(a.State))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", at, diff)
		}
	}
}

// TestTheRecordOfAnAttachment tells of its addresses without a look at the store.
func TestTheRecordOfAnAttachment(t *testing.T) {
	_, s := cluster(t)
	all := s.Of(store.Endpoint{Endpoint: "e", Node: "id1", Network: "u1", Segment: segment, IPv4: "10.0.0.3/24", IPv6: "fd00::10/64", Since: 50, Container: store.Container{Name: "web"}})
	want := []string{"default 10.0.0.3 leased lan web id1 50", "default fd00::10 conflict lan web id1 50"}
	if got := []string{line(all[0]), line(all[1])}; len(all) != 2 || !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestHowFull(t *testing.T) {
	kv, s := cluster(t)
	pools, err := s.Pools(t.Context(), kv)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range pools {
		got = append(got, fmt.Sprintf("%s %s: %v used %v resting %v reserved %v free %v beside %d by %v", p.Network, p.Subnet, p.Ranges, p.Used, p.Resting, p.Reserved, p.Free, p.Beside, p.ByNode))
	}
	want := []string{
		// 64 and 4; kept are .0, .1, .2, .10, .40 to .47 but for .41, which is given, and .129
		"lan 10.0.0.0/24: [10.0.0.0/26 10.0.0.128/30] used 6 resting 2 reserved 12 free 48 beside 1 by map[:2 id1:4 id2:1]",
		"lan fd00::/64: [fd00::/64] used 1 resting 0 reserved 2 free 1.8446744073709552e+19 beside 0 by map[id1:1]",
		"dmz 10.0.0.0/24: [10.0.0.0/24] used 1 resting 0 reserved 3 free 252 beside 0 by map[id2:1]",
		"own 10.9.0.0/30: [10.9.0.0/30] used 1 resting 0 reserved 2 free 1 beside 0 by map[id2:1]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := pools[1].Size; got != math.Exp2(64) {
		t.Errorf("a /64 has %v addresses", got)
	}
	if diff := cmp.Diff([]string{"10.0.0.40/29", "10.0.0.129"}, pools[0].Excluded); diff != "" {
		t.Errorf("excluded (-want +got):\n%s", diff)
	}
}

// TestHowFullByWhatIsKnown counts what is known of, as if the store had no more.
func TestHowFullByWhatIsKnown(t *testing.T) {
	_, s := cluster(t)
	known := s.Of(store.Endpoint{Endpoint: "e", Node: "id1", Network: "u1", Segment: segment, IPv4: "10.0.0.3/24", IPv6: "fd00::11/64"})
	pools := s.PoolsOf(known)
	if len(pools) != 4 || pools[0].Used != 1 || pools[0].ByNode["id1"] != 1 || pools[1].Used != 1 || pools[2].Used != 0 {
		t.Errorf("%+v", pools)
	}
}

// TestAWalkThatFails is no survey.
func TestAWalkThatFails(t *testing.T) {
	kv, s := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	if _, err := s.Pools(ctx, kv); err == nil {
		t.Error("a store that does not answer has pools")
	}
}

// TestVacant: what could be given and has no record, the lowest first.
func TestVacant(t *testing.T) {
	k, s := cluster(t)
	lan := s.Networks.Named("lan")[0]
	got, err := s.Vacant(t.Context(), k, &lan.Subnets[0], 4)
	if want := []netip.Addr{addr("10.0.0.11"), addr("10.0.0.12"), addr("10.0.0.13"), addr("10.0.0.14")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	all, err := s.Vacant(t.Context(), k, &lan.Subnets[0], 1000)
	if err != nil || len(all) != 48 || all[len(all)-1] != addr("10.0.0.131") || slices.Contains(all, addr("10.0.0.129")) {
		t.Errorf("%d, %v: %v", len(all), err, all)
	}
	own := s.Networks.Named("own")[0]
	if got, err := s.Vacant(t.Context(), k, &own.Subnets[0], 1000); err != nil || !slices.Equal(got, []netip.Addr{addr("10.9.0.1")}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := s.Vacant(t.Context(), k, &lan.Subnets[1], 3); err != nil || !slices.Equal(got, []netip.Addr{addr("fd00::2"), addr("fd00::3"), addr("fd00::4")}) {
		t.Errorf("%v, %v", got, err)
	}
}
