package answer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster"
	"gvlan/cluster/events"
	"gvlan/cluster/events/eventstest"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/cmd/internal/api"
	"gvlan/dns/zone"
	"gvlan/driver/link"
	"gvlan/ipam"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
	"gvlan/ipam/survey"
)

// foreign is somebody on the LAN who is nobody of ours.
var foreign = net.HardwareAddr{2, 0, 0, 0, 0, 0x99}

// rarely is a store that may stop answering.
type rarely struct {
	*storetest.Mem
	away   bool
	breaks int // pages after which a scan ends; 0: none
}

func (r *rarely) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	if r.away {
		return 0, store.ErrUnavailable
	}
	pages := 0
	return r.Mem.Scan(ctx, span, parts, func(items []store.Item) error {
		if pages++; r.breaks > 0 && pages > r.breaks {
			return store.ErrUnavailable
		}
		return page(items)
	})
}

func (r *rarely) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	if r.away {
		return nil, 0, store.ErrUnavailable
	}
	return r.Mem.List(ctx, span)
}

// leases are the answers on h1 of two hosts with a network lan, of which h1 has a
// parent: web and db run on h2, idle is stopped there. 10.0.0.9 and 172.16.0.9 are
// foreign's.
func leases(t testing.TB) (Leases, *rarely, *eventstest.Heard) {
	t.Helper()
	kv := &rarely{Mem: storetest.NewMem()}
	kv.PageSize = 300
	lan := store.Network{UUID: "u1", Name: "lan", Scope: store.ScopeGlobal, State: store.NetworkActive, Created: store.Definition{
		Segment: pool.DefaultSegment,
		Pools:   []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1")}},
	}}
	endpoint := func(id, name, at, mac string) store.Op {
		return store.Put(store.EndpointKey("id2", id), store.Encode(store.Endpoint{
			Endpoint: id, Node: "id2", Network: "u1", Name: "lan", Segment: pool.DefaultSegment, IPv4: at, MAC: mac, Parent: "eth0", Since: 2000,
			Container: store.Container{ID: "0123456789abcdef", Name: name, Aliases: []string{"www-" + name}},
		}))
	}
	lease := func(at string, l store.Lease) store.Op {
		return store.Put(store.LeaseKey(pool.DefaultSegment, netip.MustParseAddr(at)), store.Encode(l))
	}
	told := store.Trail{Node: "id2", Events: []store.TrailEvent{
		{Kind: string(events.HostCame), At: 1000}, // from when on something is told
		{Kind: string(events.Given), At: 10_000, Network: "lan", Segment: pool.DefaultSegment, Address: netip.MustParseAddr("10.0.0.5"), Container: "old", Endpoint: "e0", MAC: "02:00:00:00:00:05"},
		{Kind: string(events.Released), At: 20_000, Network: "lan", Segment: pool.DefaultSegment, Address: netip.MustParseAddr("10.0.0.5"), Container: "old", Endpoint: "e0", MAC: "02:00:00:00:00:05"},
		{Kind: string(events.Given), At: 25_000, Network: "lan", Segment: pool.DefaultSegment, Address: netip.MustParseAddr("10.0.0.3"), Container: "web", Endpoint: "e1"},
	}}
	if _, err := kv.Commit(t.Context(), store.Txn{Then: []store.Op{
		store.Put(store.NetworkKey("lan"), store.Encode(lan)),
		store.Put(store.NodeKey("id1"), store.Encode(store.Node{Node: "id1", Host: "h1", Networks: []store.NodeNetwork{{UUID: "u1", Name: "lan", Parent: "eth1"}},
			Interfaces: []store.Interface{{Name: "eth2", Up: true, Addresses: []string{"172.16.0.1/24"}}}})),
		store.Put(store.NodeKey("id2"), store.Encode(store.Node{Node: "id2", Host: "h2", Address: "10.99.0.2"})),
		store.Put(store.LiveKey("id1"), store.Encode(store.Live{})), store.Put(store.LiveKey("id2"), store.Encode(store.Live{})),
		endpoint("e1", "web", "10.0.0.3/24", "02:00:00:00:00:03"), endpoint("e2", "db", "10.0.0.4/24", "02:00:00:00:00:04"),
		lease("10.0.0.1", store.Lease{State: store.Reserved, By: []string{"u1"}}),
		lease("10.0.0.3", store.Lease{State: store.Leased, Node: "id2", Network: "u1", Endpoint: "e1", Since: 2000}),
		lease("10.0.0.4", store.Lease{State: store.Leased, Node: "id2", Network: "u1", Endpoint: "e2", Since: 2000}),
		lease("10.0.0.6", store.Lease{State: store.Leased, Node: "id9", Network: "u1", Endpoint: "e9"}),
		store.Put(store.RefsKey("id2"), store.Encode(store.Refs{Kept: []store.Kept{{Segment: pool.DefaultSegment, Address: netip.MustParseAddr("10.0.0.7"), Network: "u1", Name: "idle"}}})),
		store.Put(store.TrailKey("id2", 30_000), store.Encode(told)),
	}}); err != nil {
		t.Fatal(err)
	}
	directory := cluster.NewDirectory(nil)
	records := NewRecords(kv, directory, slog.New(slog.DiscardHandler))
	names, err := zone.New(zone.Config{Node: "id1"})
	if err != nil {
		t.Fatal(err)
	}
	records.Networks.Tell(names.ApplyNetworks)
	records.Endpoints.Tell(names.ApplyEndpoints)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- directory.Run(ctx, kv.Mem) }()
	go func() { done <- records.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	for {
		v, known := records.last(directory.Known())
		if known && len(v.nodes) == 2 && len(v.endpoints) == 2 && len(v.networks) == 1 && len(names.Names(zone.Everything())) >= 6 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	heard := &eventstest.Heard{}
	return Leases{
		Roster: Roster{Self: "id1", Directory: directory}, Records: records, KV: kv, Zone: names, Events: heard,
		Conflicts:    func() []ipam.Conflict { return nil },
		Reservations: func() []reserve.Reservation { return nil },
		Holds:        func(pool.Place) bool { return false },
		Called:       func(endpoint string) string { return endpoint },
		Answers: func(_ context.Context, ifname string, addrs []netip.Addr) (map[netip.Addr][]net.HardwareAddr, error) {
			switch at := addrs[0].String() + " " + ifname; at {
			case "10.0.0.9 eth1", "172.16.0.9 eth2":
				return map[netip.Addr][]net.HardwareAddr{addrs[0]: {foreign}}, nil
			case "10.0.0.8 eth1":
				return nil, errors.New("the link is down")
			}
			return nil, nil
		},
		Neighbours: func(ifname string) ([]link.Neighbour, error) {
			if ifname == "eth1" {
				return []link.Neighbour{{Address: netip.MustParseAddr("10.0.0.9"), MAC: foreign}}, nil
			}
			return nil, nil
		},
		Learnt: func(context.Context) map[string][]netip.Prefix {
			return map[string][]netip.Prefix{"e1": {netip.MustParsePrefix("fd77::9/64")}}
		},
	}, kv, heard
}

// asked is the answer to a request of a route.
func asked[T any](t *testing.T, answer func(*http.Request) (any, error), route string) (T, error) {
	t.Helper()
	got, err := answer(httptest.NewRequestWithContext(t.Context(), http.MethodGet, route, nil))
	value, _ := got.(T)
	return value, err
}

// told is what was found in few words.
func told(f api.Found) string {
	words := []string{f.Kind}
	switch {
	case f.Lease != nil:
		words = append(words, f.Lease.Address.String(), string(f.Lease.State), f.Lease.Network, f.Lease.Container, f.Lease.Host)
		if r := f.Lease.Reservation; r != nil {
			words = append(words, "for", r.For, r.Note)
		}
	case f.Host != nil:
		words = append(words, f.Host.Host, fmt.Sprint(f.Host.Containers))
	case f.Network != nil:
		words = append(words, f.Network.Name, strings.Join(f.Network.Subnets, ","), fmt.Sprint(f.Network.Containers))
	}
	for _, w := range f.Wants {
		words = append(words, "wants", w.Address.String(), w.Network, w.Host)
	}
	if r := f.Reserved; r != nil {
		words = append(words, r.Address.String(), r.Network, r.For, r.MAC, r.Note, "now", r.Container, r.Host)
	}
	for _, m := range f.Met {
		words = append(words, "met", m.Address.String(), m.Parent)
	}
	if l := f.LAN; l != nil {
		words = append(words, "at", strings.Join(l.At, ","), strings.Join(l.Failed, ","))
		for _, m := range l.Answers {
			words = append(words, m.MAC, m.Parent, m.Of)
		}
	}
	for _, l := range f.Learnt {
		words = append(words, "learnt", l.Address.String(), l.Container, l.Host)
	}
	for _, h := range f.Last {
		words = append(words, "last", h.Container, h.Host)
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

// finds wants whois to find this, in words, of an address, MAC or name.
func finds(t *testing.T, a Leases, of string, want []string) api.WhoisAnswer {
	t.Helper()
	got, err := asked[api.WhoisAnswer](t, a.whois, api.Whois(of))
	if err != nil {
		t.Errorf("%s: %v", of, err)
	}
	var found []string
	for _, f := range got.Found {
		found = append(found, told(f))
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("whois %s (-want +got):\n%s", of, diff)
	}
	return got
}

func TestWhois(t *testing.T) {
	a, _, _ := leases(t)
	for _, test := range []struct {
		of   string
		want []string
	}{
		{"10.0.0.3", []string{"address 10.0.0.3 leased lan web h2"}},
		{"10.0.0.5", []string{"address 10.0.0.5 free lan at eth1 last old h2"}},
		{"10.0.0.7", []string{"address 10.0.0.7 free lan wants 10.0.0.7 lan h2 at eth1"}},
		{"10.0.0.9", []string{"address 10.0.0.9 free lan at eth1 02:00:00:00:00:99 eth1"}},
		{"10.0.0.8", []string{"address 10.0.0.8 free lan at the link is down"}},
		{"10.0.0.1", []string{"address 10.0.0.1 gateway lan at eth1"}},
		{"172.16.0.9", []string{"address 172.16.0.9 outside at eth2 02:00:00:00:00:99 eth2"}},
		{"192.0.2.1", []string{"address 192.0.2.1 outside at"}},
		{"fd77::9", []string{"address fd77::9 outside at learnt fd77::9 web h1"}},
		{"fd77::8", []string{"address fd77::8 outside at"}},
		{"::ffff:10.0.0.3", []string{"address 10.0.0.3 leased lan web h2"}},
		{"02:00:00:00:00:04", []string{"address 10.0.0.4 leased lan db h2"}},
		{"02-00-00-00-00-04", []string{"address 10.0.0.4 leased lan db h2"}},
		{"02:00:00:00:00:05", []string{"mac last old h2"}},
		{"02:00:00:00:00:99", []string{"mac met 10.0.0.9 eth1"}},
		{"02:00:00:00:00:77", nil},
		{"web", []string{"address 10.0.0.3 leased lan web h2"}},
		{"www-web", []string{"address 10.0.0.3 leased lan web h2"}},
		{"WWW-web.lan", []string{"address 10.0.0.3 leased lan web h2"}},
		{"db.lan.gvlan.internal.", []string{"address 10.0.0.4 leased lan db h2"}},
		{"01234567", []string{"address 10.0.0.3 leased lan web h2", "address 10.0.0.4 leased lan db h2"}},
		{"idle", []string{"container wants 10.0.0.7 lan h2"}},
		{"old", []string{"container last old h2"}},
		{"h2", []string{"host h2 1"}}, // both attachments are of one container
		{"lan", []string{"network lan 10.0.0.0/24 1"}},
		{"wev", nil},
	} {
		got := finds(t, a, test.of, test.want)
		if test.of == "wev" && (len(got.Near) != 1 || got.Near[0] != "web") {
			t.Errorf("near %s: %v, want web", test.of, got.Near)
		}
	}
}

// TestWhoisReserved: what is reserved is told by the container's name, by the MAC and
// by the address, with who has it now; and networks count it.
func TestWhoisReserved(t *testing.T) {
	a, _, _ := leases(t)
	place := func(addr string) pool.Place { return pool.At(pool.DefaultSegment, netip.MustParseAddr(addr)) }
	a.Reservations = func() []reserve.Reservation {
		return []reserve.Reservation{
			{At: place("10.0.0.3"), Reservation: store.Reservation{Network: "u1", Name: "lan", For: "web"}},
			{At: place("10.0.0.20"), Reservation: store.Reservation{Network: "u1", Name: "lan", For: "web", MAC: "02:00:00:00:00:66", Note: "rule 12"}},
			{At: place("10.0.0.21"), Reservation: store.Reservation{Network: "u1", Name: "lan", For: "nobody-yet"}},
			{At: place("10.0.0.22"), Reservation: store.Reservation{Network: "u2", Name: "other", Note: "printer"}},
		}
	}
	second := "reserved 10.0.0.20 lan web 02:00:00:00:00:66 rule 12 now"
	for _, test := range []struct {
		of   string
		want []string
	}{
		{"web", []string{"address 10.0.0.3 leased lan web h2", "reserved 10.0.0.3 lan web now web h2", second}},
		{"nobody-yet", []string{"reserved 10.0.0.21 lan nobody-yet now"}},
		{"02:00:00:00:00:66", []string{second}},
		{"10.0.0.20", []string{"address 10.0.0.20 reserved lan for web rule 12 at eth1"}},
		{"10.0.0.3", []string{"address 10.0.0.3 leased lan web h2 for web"}},
	} {
		finds(t, a, test.of, test.want)
	}
	for _, route := range []string{api.NetworksRoute, api.Known(api.NetworksRoute)} {
		networks, err := asked[[]api.NetworkView](t, Networks{Records: a.Records, Reservations: a.Reservations}.list, route)
		if err != nil || len(networks) != 1 || networks[0].Reserved != 3 {
			t.Errorf("GET %s: %v, %v, want 3 reserved", route, networks, err)
		}
	}
	network, err := asked[api.NetworkView](t, Networks{Records: a.Records, Reservations: a.Reservations}.inspect, api.Named(api.NetworkRoute, "lan"))
	if err != nil || network.Reserved != 3 {
		t.Errorf("inspect: %v, %v, want 3 reserved", network.Reserved, err)
	}
}

// list asks for a list as a command does.
func list(t *testing.T, a Leases, network, node string) ([]api.LeaseView, error) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	server, err := api.NewServer(socket, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a.Register(server)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	return api.AskLeases(t.Context(), api.NewClient(socket), network, node)
}

// TestALongListIsWhole, and one that breaks off is none.
func TestALongListIsWhole(t *testing.T) {
	a, kv, _ := leases(t)
	const many = 3*api.LeasePage + 7
	for i := range many {
		at := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		if _, err := kv.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.LeaseKey(pool.DefaultSegment, at), store.Encode(store.Lease{State: store.Leased, Node: "id2"}))}}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := list(t, a, "", "")
	if err != nil || len(all) != many+4 {
		t.Errorf("%d addresses, %v; want %d", len(all), err, many+4)
	}
	kv.breaks = 2
	if all, err := list(t, a, "", ""); err == nil {
		t.Errorf("a store that stops answering gives %d addresses", len(all))
	}
}

// addresses are those of views, with the container of each.
func addresses(views []api.LeaseView) (all []string) {
	for _, v := range views {
		all = append(all, strings.TrimSpace(v.Address.String()+" "+v.Container))
	}
	return all
}

func TestLeasesAreListed(t *testing.T) {
	a, _, _ := leases(t)
	for _, test := range []struct {
		network, node string
		want          []string
	}{
		{"", "", []string{"10.0.0.1", "10.0.0.3 web", "10.0.0.4 db", "10.0.0.6"}},
		{"lan", "h2", []string{"10.0.0.3 web", "10.0.0.4 db"}},
		{"", "h1", nil},
	} {
		got, err := list(t, a, test.network, test.node)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, addresses(got)); diff != "" {
			t.Errorf("of %s on %s (-want +got):\n%s", test.network, test.node, diff)
		}
	}
	for _, missing := range [][2]string{{"wan", ""}, {"", "h9"}} {
		if _, err := list(t, a, missing[0], missing[1]); err == nil {
			t.Errorf("%q names what there is not, and is answered", missing)
		}
	}
}

// TestAddressesWhileEtcdIsAway: what containers had is shown, and how long ago.
func TestAddressesWhileEtcdIsAway(t *testing.T) {
	a, kv, _ := leases(t)
	kv.away = true
	all, err := list(t, a, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.0.0.3 web", "10.0.0.4 db"}, addresses(all)); diff != "" || all[0].AsOf.IsZero() {
		t.Errorf("as of %s (-want +got):\n%s", all[0].AsOf, diff)
	}
	who, err := asked[api.WhoisAnswer](t, a.whois, api.Whois("10.0.0.3"))
	if err != nil || len(who.Found) != 1 || told(who.Found[0]) != "address 10.0.0.3 leased lan web h2" || who.Found[0].Lease.AsOf.IsZero() {
		t.Errorf("whois: %+v, %v", who, err)
	}
	shown, err := asked[[]api.LeaseDetail](t, a.show, api.Lease("10.0.0.3", "", ""))
	if err != nil || len(shown) != 1 || shown[0].AsOf.IsZero() {
		t.Errorf("show: %+v, %v", shown, err)
	}
	for of, want := range map[string]string{
		"10.0.0.9":  "address 10.0.0.9 free lan at eth1 02:00:00:00:00:99 eth1",
		"10.0.0.1":  "address 10.0.0.1 gateway lan at eth1",
		"192.0.2.1": "address 192.0.2.1 outside at",
	} {
		who, err := asked[api.WhoisAnswer](t, a.whois, api.Whois(of))
		if err != nil || len(who.Found) != 1 || told(who.Found[0]) != want || who.Found[0].Lease.AsOf.IsZero() {
			t.Errorf("whois %s: %+v, %v", of, who, err)
		}
	}
	pools, err := asked[[]api.PoolView](t, a.pools, api.PoolsRoute)
	if err != nil || len(pools) != 1 || pools[0].Used != 2 || pools[0].ByHost["h2"] != 2 || pools[0].AsOf.IsZero() {
		t.Errorf("pools: %+v, %v", pools, err)
	}
}

// TestANameIsOfOneNetwork: another network, in a segment of its own, may have the
// same address for somebody else.
func TestANameIsOfOneNetwork(t *testing.T) {
	a, kv, _ := leases(t)
	lab := store.Network{UUID: "u2", Name: "lab", State: store.NetworkActive, Created: store.Definition{Segment: "lab", Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24")}}}}
	if _, err := kv.Commit(t.Context(), store.Txn{Then: []store.Op{
		store.Put(store.NetworkKey("lab"), store.Encode(lab)),
		store.Put(store.EndpointKey("id2", "e3"), store.Encode(store.Endpoint{
			Endpoint: "e3", Node: "id2", Network: "u2", Name: "lab", Segment: "lab", IPv4: "10.0.0.3/24", Container: store.Container{ID: "ffff", Name: "other"},
		})),
	}}); err != nil {
		t.Fatal(err)
	}
	for len(a.Zone.Called("other")) == 0 {
		time.Sleep(time.Millisecond)
	}
	for name, want := range map[string]string{"www-web": "address 10.0.0.3 leased lan web h2", "other.lab": "address 10.0.0.3 leased lab other h2"} {
		got, err := asked[api.WhoisAnswer](t, a.whois, api.Whois(name))
		if err != nil || len(got.Found) != 1 || told(got.Found[0]) != want {
			t.Errorf("whois %s: %+v, %v; want %s", name, got, err, want)
		}
	}
}

// TestWhoAnswersIsOfTheSegment: who has the same MAC in another is not on that LAN.
func TestWhoAnswersIsOfTheSegment(t *testing.T) {
	a, kv, _ := leases(t)
	for id, segment := range map[string]string{"e3": "a-lab", "e4": pool.DefaultSegment, "e5": "lab"} {
		if _, err := kv.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.EndpointKey("id2", id), store.Encode(store.Endpoint{
			Endpoint: id, Node: "id2", Network: "u-" + segment, Segment: segment, IPv4: "10.0.1.9/24", MAC: foreign.String(), Container: store.Container{Name: "in-" + segment},
		}))}}); err != nil {
			t.Fatal(err)
		}
	}
	for rows, _ := a.Records.Endpoints.Rows(); len(rows) < 5; rows, _ = a.Records.Endpoints.Rows() {
		time.Sleep(time.Millisecond)
	}
	got, err := asked[api.WhoisAnswer](t, a.whois, api.Whois("10.0.0.9"))
	if err != nil || len(got.Found) != 1 || got.Found[0].LAN.Answers[0].Of != "in-default on h2" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestHostsOfOneName are all told of: which is meant is not known.
func TestHostsOfOneName(t *testing.T) {
	a, kv, _ := leases(t)
	if _, err := kv.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.NodeKey("id3"), store.Encode(store.Node{Node: "id3", Host: "h2"}))}}); err != nil {
		t.Fatal(err)
	}
	for len(a.Roster.Directory.Known().Nodes) < 3 {
		time.Sleep(time.Millisecond)
	}
	got, err := asked[api.WhoisAnswer](t, a.whois, api.Whois("h2"))
	var found []string
	for _, f := range got.Found {
		found = append(found, told(f))
	}
	if diff := cmp.Diff([]string{"host id2 1", "host id3 0"}, found); diff != "" || err != nil {
		t.Errorf("whois h2: %v (-want +got):\n%s", err, diff)
	}
}

func TestALeaseIsShownAndReleased(t *testing.T) {
	a, kv, heard := leases(t)
	for at, why := range map[string]string{"10.0.0.3": "container web on host h2 has it", "10.0.0.1": "gvlan network rm lan", "10.0.0.6": ""} {
		shown, err := asked[[]api.LeaseDetail](t, a.show, api.Lease(at, "", ""))
		if err != nil || len(shown) != 1 || shown[0].Record == nil || shown[0].Key == "" {
			t.Fatalf("show %s: %+v, %v", at, shown, err)
		}
		if _, err := asked[any](t, a.release, api.LeaseAt(shown[0].Entry, false)); (err == nil) != (why == "") || err != nil && !strings.Contains(err.Error(), why) {
			t.Errorf("release %s: %v, want %q", at, err, why)
		}
		if _, err := kv.Get(t.Context(), shown[0].Key); errors.Is(err, store.ErrNotFound) != (why == "") {
			t.Errorf("the record of %s: %v", at, err)
		}
	}
	if got := heard.Of(); len(got) != 1 || got[0].Kind != events.Released || got[0].Address.String() != "10.0.0.6" {
		t.Errorf("told %+v, want the release", got)
	}
}

func TestPoolsAreCounted(t *testing.T) {
	a, _, _ := leases(t)
	got, err := asked[[]api.PoolView](t, a.pools, api.PoolsRoute)
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if diff := cmp.Diff(map[string]int{"h2": 2, "id9": 1}, got[0].ByHost); diff != "" {
		t.Errorf("by host (-want +got):\n%s", diff)
	}
	if got[0].Used != 3 || got[0].Reserved != 3 || got[0].Free != 250 {
		t.Errorf("used %v, reserved %v, free %v", got[0].Used, got[0].Reserved, got[0].Free)
	}
}

// TestGrowth: when a pool is full is said by what is known of the last day.
func TestGrowth(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	p := survey.Pool{Segment: "s", Subnet: netip.MustParsePrefix("10.0.0.0/24"), Free: 100}
	event := func(kind events.Kind, ago time.Duration, at string) events.Event {
		e := events.Event{Kind: kind, Time: now.Add(-ago), Segment: "s"}
		if at != "" {
			e.Address = netip.MustParseAddr(at)
		}
		return e
	}
	const hour = time.Hour
	for _, test := range []struct {
		name string
		told []events.Event
		full time.Duration // 0: not known, or never
	}{
		{"nothing", nil, 0},
		{"a day", []events.Event{event(events.Given, 24*hour, "10.0.0.5"), event(events.Given, hour, "10.0.0.6")}, 50 * 24 * hour},
		{"another subnet", []events.Event{event(events.Given, 24*hour, "10.0.1.5")}, 0},
		{"as many came as went", []events.Event{event(events.Given, 24*hour, "10.0.0.5"), event(events.Released, hour, "10.0.0.5")}, 0},
		{"it empties", []events.Event{event(events.Released, 24*hour, "10.0.0.5")}, 0},
		{"since the cluster began", []events.Event{event(events.HostCame, 12*hour, ""), event(events.Given, hour, "10.0.0.5")}, 50 * 24 * hour},
		{"since a minute", []events.Event{event(events.HostCame, time.Minute, ""), event(events.Given, time.Minute, "10.0.0.5")}, 0},
		{"since what was left out", []events.Event{event(events.Given, 24*hour, "10.0.0.4"), event(events.LeftOut, 12*hour, ""), event(events.Given, hour, "10.0.0.5")}, 50 * 24 * hour},
	} {
		_, full := growth(p, test.told, now)
		var in time.Duration
		if !full.IsZero() {
			in = full.Sub(now)
		}
		if in != test.full {
			t.Errorf("%s: full in %s, want %s", test.name, in, test.full)
		}
	}
}

// TestClearOfAContainers: what a container has is not cleared by hand, and it is said
// how that ends.
func TestClearOfAContainers(t *testing.T) {
	a, kv, _ := leases(t)
	addr := netip.MustParseAddr("10.0.0.3")
	if _, err := kv.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.ConflictKey(pool.DefaultSegment, addr), store.Encode(store.Conflict{
		Segment: pool.DefaultSegment, Address: addr, MAC: "02:00:00:00:00:99", Node: "id1", Endpoint: "e1", Container: "web", Holder: "id2",
	}))}}); err != nil {
		t.Fatal(err)
	}
	conflicts := Conflicts{Roster: a.Roster, Leases: a}
	for _, test := range []struct{ address, want string }{
		{"10.0.0.3", "container web on h2 has address 10.0.0.3 by right, and MAC 02:00:00:00:00:99 uses it too"},
		{"10.0.0.4", ""}, {"", ""},
	} {
		got, err := asked[[]netip.Addr](t, conflicts.clear, api.ConflictsOf(test.address, ""))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) || len(got) > 0 {
			t.Errorf("clear %s: %v, %v, want %q", test.address, got, err, test.want)
		}
	}
}

// TestWhatIsAskedWrongly is the asker's fault, who is told so, and never this
// host's.
func TestWhatIsAskedWrongly(t *testing.T) {
	a, _, _ := leases(t)
	for _, test := range []struct {
		answer func(*http.Request) (any, error)
		route  string
		status int
	}{
		{a.show, api.Lease("10.0.0", "", ""), http.StatusBadRequest},
		{a.show, api.Lease("fe80::1%eth0", "", ""), http.StatusBadRequest},
		{a.show, api.LeaseRoute, http.StatusBadRequest},
		{a.show, api.Lease("10.0.0.3", "nowhere", ""), http.StatusNotFound},
		{a.whois, api.Whois(" "), http.StatusBadRequest},
		{a.leasesOf, api.LeasesRoute + "?network=nowhere", http.StatusNotFound},
		{a.leasesOf, api.LeasesRoute + "?node=h9", http.StatusNotFound},
	} {
		if _, err := asked[any](t, test.answer, test.route); err == nil || api.StatusOf(err) != test.status {
			t.Errorf("%s: %v, answered %d and not %d", test.route, err, api.StatusOf(err), test.status)
		}
	}
}

// leasesOf is the list as one answer.
func (a Leases) leasesOf(r *http.Request) (any, error) {
	return nil, a.list(r, func(any) error { return nil })
}
