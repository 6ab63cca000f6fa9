package route_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/netns/netnstest"
	"gvlan/driver/route"
	"gvlan/driver/route/routetest"
)

// world is a namespace with a link "shim" and a link "card", which has addresses.
type world struct {
	*route.Kernel
	ns     *netns.Namespace
	handle *netlink.Handle
	t      *testing.T
}

func newWorld(t *testing.T) world {
	t.Helper()
	ns, handle := netnstest.Open(t)
	k, err := route.Open(ns.Fd(), route.Protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	w := world{k, ns, handle, t}
	card := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "far"}
	card.Name = "card"
	w.must(handle.LinkAdd(card))
	shim := link.Shim("gvlan", "n", "card", link.Macvlan, link.Bridge, "")
	links, err := link.Open(ns.Fd(), "gvlan")
	if err != nil {
		t.Fatal(err)
	}
	defer links.Close()
	for _, name := range []string{"card", "far"} {
		l, err := handle.LinkByName(name)
		w.must(err)
		w.must(handle.LinkSetUp(l))
	}
	shim.Name = "shim"
	_, err = links.Ensure(t.Context(), shim)
	w.must(err)
	for _, text := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		addr, err := netlink.ParseAddr(text)
		w.must(err)
		addr.Flags = unix.IFA_F_NODAD
		w.must(handle.AddrAdd(w.link("card"), addr))
	}
	return w
}

func (w world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w world) link(name string) netlink.Link {
	w.t.Helper()
	l, err := w.handle.LinkByName(name)
	w.must(err)
	return l
}

// Other makes a route as a person does.
func (w world) Other(r route.Route) (forget func()) {
	w.t.Helper()
	dst := &net.IPNet{IP: r.Dst.Addr().AsSlice(), Mask: net.CIDRMask(r.Dst.Bits(), r.Dst.Addr().BitLen())}
	made := &netlink.Route{Dst: dst, Priority: r.Metric, Table: r.Table}
	if r.Unreachable {
		made.Type = unix.RTN_UNREACHABLE
	} else {
		made.LinkIndex, made.Scope = w.link(r.Link).Attrs().Index, netlink.SCOPE_LINK
	}
	w.must(w.handle.RouteAdd(made))
	return func() {
		w.t.Helper()
		if made.LinkIndex == 0 && r.Dst.Addr().Is6() {
			made.LinkIndex = 1
		}
		w.must(w.handle.RouteDel(made))
	}
}

// subject is a Kernel under test, in memory or real, with the links "shim" and "card".
type subject interface {
	Set(ctx context.Context, reach func(link string) bool, want route.State) error
	Change(ctx context.Context, had, want route.State) error
	Ours(ctx context.Context) (route.State, error)
	// Other makes a route as a person does, who takes it away with forget.
	Other(r route.Route) (forget func())
}

var (
	v4, v6         = netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	host4, host6   = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	mac1, mac2     = net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	byShim, byAny  = func(link string) bool { return link == "shim" }, func(string) bool { return true }
	route4, route6 = route.Route{Dst: netip.PrefixFrom(v4, 32), Link: "shim", Src: host4}, route.Route{Dst: netip.PrefixFrom(v6, 128), Link: "shim", Src: host6}
	whole          = route.State{
		Routes:     []route.Route{route4, route6},
		Neighbours: []route.Neighbour{{"shim", v4, mac1}, {"shim", v6, mac1}},
	}
)

// conformance is what holds for the real Kernel and for the one in memory.
var conformance = []struct {
	name string
	run  func(t *testing.T, k subject)
}{
	{"what is wanted is there, once and again", func(t *testing.T, k subject) {
		sets(t, k, byShim, whole)
		sets(t, k, byShim, whole)
		has(t, k, whole)
		sets(t, k, byShim, route.State{})
		has(t, k, route.State{})
	}},
	{"what differs is made anew", func(t *testing.T, k subject) {
		sets(t, k, byShim, whole)
		other := route.State{
			Routes:     []route.Route{{Dst: route4.Dst, Link: "shim"}, {Dst: route6.Dst, Link: "shim", Metric: 50}},
			Neighbours: []route.Neighbour{{"shim", v4, mac2}},
		}
		sets(t, k, byShim, other)
		has(t, k, other)
	}},
	{"what is out of reach stays", func(t *testing.T, k subject) {
		far := route.State{Routes: []route.Route{{Dst: netip.MustParsePrefix("198.51.100.0/24"), Via: netip.MustParseAddr("192.0.2.9"), Link: "card", Table: 77}}}
		sets(t, k, byAny, far)
		sets(t, k, byShim, whole)
		has(t, k, route.State{Routes: append([]route.Route{route4}, append(far.Routes, route6)...), Neighbours: whole.Neighbours})
		sets(t, k, byShim, route.State{})
		has(t, k, far)
	}},
	{"what leaves by a link that is not there is refused, and the rest made", func(t *testing.T, k subject) {
		want := route.State{
			Routes:     append([]route.Route{{Dst: netip.MustParsePrefix("192.0.2.77/32"), Link: "gone"}}, whole.Routes...),
			Neighbours: append([]route.Neighbour{{"gone", netip.MustParseAddr("192.0.2.77"), mac2}}, whole.Neighbours...),
		}
		err := k.Set(t.Context(), byAny, want)
		var refused *route.Refused
		if !errors.As(err, &refused) || refused.To != netip.MustParsePrefix("192.0.2.77/32") {
			t.Errorf("Set = %v, want what leaves by no link refused", err)
		}
		has(t, k, whole)
	}},
	{"another's route is in the way, and stays", func(t *testing.T, k subject) {
		k.Other(route.Route{Dst: route4.Dst, Link: "card", Metric: 300})
		err := k.Set(t.Context(), byShim, whole)
		var refused *route.Refused
		if !errors.Is(err, route.ErrInTheWay) || !errors.As(err, &refused) || refused.To != route4.Dst {
			t.Errorf("Set = %v, want %v for %s", err, route.ErrInTheWay, v4)
		}
		has(t, k, route.State{Routes: []route.Route{route6}, Neighbours: whole.Neighbours})
	}},
	{"what is unreachable has no link", func(t *testing.T, k subject) {
		sets(t, k, byNone, nobody)
		sets(t, k, byNone, nobody)
		sets(t, k, byShim, whole)
		has(t, k, route.State{Routes: []route.Route{route4, nobody.Routes[0], route6, nobody.Routes[1]}, Neighbours: whole.Neighbours})
		sets(t, k, byNone, route.State{})
		has(t, k, whole)
	}},
	{"a route takes another's place", func(t *testing.T, k subject) {
		for _, to := range ways {
			for _, from := range ways {
				sets(t, k, byAny, from)
				sets(t, k, byAny, to)
				has(t, k, to)
				changes(t, k, to, from)
				has(t, k, from)
				changes(t, k, from, route.State{})
				has(t, k, route.State{})
			}
		}
	}},
	{"a change that was cut short is finished", func(t *testing.T, k subject) {
		for _, to := range ways[:7] {
			for _, from := range ways[:7] {
				changes(t, k, route.State{}, from)
				changes(t, k, route.State{}, to) // and the old one has not gone
				sets(t, k, byAny, to)
				has(t, k, to)
				sets(t, k, byAny, route.State{})
			}
		}
	}},
	{"a change is of what differs", func(t *testing.T, k subject) {
		sets(t, k, byAny, nobody)
		changes(t, k, route.State{}, whole)
		changes(t, k, route.State{}, whole) // as of one that forgot
		changes(t, k, whole, whole)
		one := route.State{Routes: whole.Routes[:1], Neighbours: whole.Neighbours[:1]}
		changes(t, k, whole, one)
		changes(t, k, whole, one) // somebody did it
		sets(t, k, byNone, route.State{})
		has(t, k, one)
		changes(t, k, whole, route.State{})
		has(t, k, route.State{})
	}},
	{"a change leaves the routes of others, and names them", func(t *testing.T, k subject) {
		for _, table := range []int{0, 77} {
			for _, dst := range []string{"203.0.113.7/32", "203.0.113.64/26", "2001:db8:7::7/128", "2001:db8:7::/122"} {
				for _, other := range []route.Route{{Link: "card", Metric: 300}, {Link: "card"}, {Unreachable: true, Metric: 2000}} {
					other.Dst, other.Table = netip.MustParsePrefix(dst), table
					// What hides it from a lookup of the address.
					within := route.Route{Dst: netip.PrefixFrom(other.Dst.Addr(), other.Dst.Addr().BitLen()), Link: "card", Table: table}
					hidden := route.State{}
					if within.Dst != other.Dst {
						hidden.Routes = append(hidden.Routes, within)
					}
					changes(t, k, route.State{}, hidden)
					forget := k.Other(other)
					want := route.Route{Dst: other.Dst, Table: table, Link: "shim"}
					err := k.Change(t.Context(), hidden, route.State{Routes: append([]route.Route{want}, hidden.Routes...)})
					var refused *route.Refused
					if !errors.Is(err, route.ErrInTheWay) || !errors.As(err, &refused) || refused.To != want.Dst || !strings.Contains(err.Error(), ": "+other.String()) {
						t.Errorf("Change = %v, want %v for %s", err, route.ErrInTheWay, other)
					}
					has(t, k, hidden)
					forget()
					changes(t, k, hidden, route.State{})
				}
			}
		}
	}},
	{"what cannot move goes", func(t *testing.T, k subject) {
		sets(t, k, byAny, ways[0])
		k.Other(route.Route{Dst: ways[0].Routes[0].Dst, Link: "card", Metric: 300})
		if err := k.Set(t.Context(), byAny, ways[1]); !errors.Is(err, route.ErrInTheWay) {
			t.Errorf("Set = %v, want %v", err, route.ErrInTheWay)
		}
		has(t, k, route.State{Routes: ways[1].Routes[1:]})
	}},
	{"two callers hand one destination over", func(t *testing.T, k subject) {
		far := ways[0] // by "card"
		sets(t, k, byAny, far)
		near := route.State{}
		for _, r := range far.Routes {
			near.Routes = append(near.Routes, route.Route{Dst: r.Dst, Link: "shim"})
		}
		sets(t, k, byShim, near)
		sets(t, k, func(link string) bool { return link == "card" }, route.State{})
		has(t, k, near)
		changes(t, k, route.State{}, far)
		changes(t, k, near, route.State{})
		has(t, k, far)
	}},
}

// nobody is unreachable, and ways are what leads to one IPv4 and one IPv6 destination.
var (
	byNone = func(link string) bool { return link == "" }
	nobody = route.State{Routes: []route.Route{
		{Dst: netip.MustParsePrefix("203.0.113.0/26"), Unreachable: true},
		{Dst: netip.MustParsePrefix("2001:db8:1::/122"), Unreachable: true},
	}}
	ways = []route.State{
		way(route.Route{Link: "card", Via: netip.MustParseAddr("192.0.2.9")}, route.Route{Link: "card", Via: netip.MustParseAddr("2001:db8::9")}),
		way(route.Route{Link: "card", Via: netip.MustParseAddr("192.0.2.10")}, route.Route{Link: "card", Via: netip.MustParseAddr("2001:db8::a")}),
		way(route.Route{Link: "card", Via: netip.MustParseAddr("192.0.2.9"), Src: host4}, route.Route{Link: "card", Via: netip.MustParseAddr("2001:db8::9"), Src: host6}),
		way(route.Route{Link: "card"}, route.Route{Link: "card"}),
		way(route.Route{Link: "card", Src: host4}, route.Route{Link: "card", Src: host6}),
		way(route.Route{Link: "shim"}, route.Route{Link: "shim"}),
		way(route.Route{Unreachable: true}, route.Route{Unreachable: true}),
		way(route.Route{Link: "shim", Metric: 50}, route.Route{Link: "shim", Metric: 50}),
		way(route.Route{Link: "shim", Table: 77}, route.Route{Link: "shim", Table: 777}),
	}
)

func way(four, six route.Route) route.State {
	four.Dst, six.Dst = netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("2001:db8:1::7/128")
	return route.State{Routes: []route.Route{four, six}}
}

func changes(t *testing.T, k subject, had, want route.State) {
	t.Helper()
	if err := k.Change(t.Context(), had, want); err != nil {
		t.Fatal(err)
	}
}

func sets(t *testing.T, k subject, reach func(string) bool, want route.State) {
	t.Helper()
	if err := k.Set(t.Context(), reach, want); err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, k subject, want route.State) {
	t.Helper()
	got, err := k.Ours(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("ours (-want +got):\n%s", diff)
	}
}

func TestConformance(t *testing.T) {
	for _, tt := range conformance {
		t.Run(tt.name+", in memory", func(t *testing.T) {
			tt.run(t, routetest.New(func() []string { return []string{"shim", "card"} }))
		})
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newWorld(t)) })
	}
}

// TestOthersAreKept: a neighbour that a person made is not ours, nor is a route of
// theirs; and ours is known by its number alone.
func TestOthersAreKept(t *testing.T) {
	w := newWorld(t)
	w.must(w.handle.NeighAdd(&netlink.Neigh{LinkIndex: w.link("shim").Attrs().Index, State: unix.NUD_PERMANENT, IP: v4.AsSlice(), HardwareAddr: mac2}))
	w.Other(route.Route{Dst: netip.MustParsePrefix("203.0.113.0/24"), Link: "shim"})
	sets(t, w, byAny, route.State{})
	neighbours, err := w.handle.NeighList(w.link("shim").Attrs().Index, netlink.FAMILY_V4)
	if err != nil || len(neighbours) != 1 {
		t.Errorf("neighbours %v, %v, want the person's", neighbours, err)
	}
	routes, err := w.handle.RouteList(w.link("shim"), netlink.FAMILY_V4)
	if err != nil || len(routes) != 1 {
		t.Errorf("routes %v, %v, want the person's", routes, err)
	}
}

func TestAddresses(t *testing.T) {
	w := newWorld(t)
	own, err := w.Addresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []route.Address
	for _, a := range own {
		if !a.Local {
			got = append(got, a)
		}
	}
	want := []route.Address{{Link: "card", Prefix: netip.MustParsePrefix("192.0.2.1/24")}, {Link: "card", Prefix: netip.MustParsePrefix("2001:db8::1/64")}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

// TestWatch: it tells of an address, and of the end of what is ours, not of others'.
func TestWatch(t *testing.T) {
	w := newWorld(t)
	sets(t, w, byShim, whole)
	told := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- w.Watch(ctx, func() {
			select {
			case told <- struct{}{}:
			default:
			}
		})
	}()
	<-told // it watches
	for _, change := range []func() error{
		func() error {
			addr, err := netlink.ParseAddr("192.0.2.2/24")
			return errors.Join(err, w.handle.AddrAdd(w.link("card"), addr))
		},
		func() error {
			return w.handle.RouteDel(&netlink.Route{LinkIndex: w.link("shim").Attrs().Index, Dst: netlink.NewIPNet(v4.AsSlice()), Scope: netlink.SCOPE_LINK})
		},
		func() error {
			return w.handle.NeighDel(&netlink.Neigh{LinkIndex: w.link("shim").Attrs().Index, IP: v6.AsSlice()})
		},
		func() error { return w.handle.LinkSetDown(w.link("shim")) },
	} {
		w.must(change())
		select {
		case <-told:
		case <-time.After(time.Minute):
			t.Fatal("nothing was told of a change within a minute")
		}
		for len(told) > 0 {
			<-told
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch = %v", err)
	}
}

// TestWatchOfItself: of routes that a Kernel drops itself, it does not tell.
func TestWatchOfItself(t *testing.T) {
	w := newWorld(t)
	both := route.State{Routes: append(slices.Clone(whole.Routes), nobody.Routes...)}
	sets(t, w, byAny, both)
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan struct{}, 99)
	ended := make(chan error, 1)
	go func() { ended <- w.Watch(ctx, func() { told <- struct{}{} }) }()
	<-told // it watches
	sets(t, w, byAny, route.State{})
	addr, err := netlink.ParseAddr("192.0.2.2/24")
	w.must(err)
	w.must(w.handle.AddrAdd(w.link("card"), addr))
	<-told
	w.must(w.handle.AddrDel(w.link("card"), addr))
	<-told
	cancel()
	<-ended
	if len(told) > 0 {
		t.Errorf("told %d times more than of the address", len(told))
	}
}

func TestStrict(t *testing.T) {
	w := newWorld(t)
	for value, want := range map[string]bool{"0": false, "1": true, "2": false} {
		w.must(w.ns.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/card/rp_filter", []byte(value), 0) }))
		if got, err := w.Strict("card"); got != want || err != nil {
			t.Errorf("Strict with rp_filter=%s = %t, %v, want %t", value, got, err, want)
		}
	}
}

// TestReachIsAskedLast: a caller whose reach is all but some links may list those as it
// is asked: what leaves by one that another caller made meanwhile was not listed.
func TestReachIsAskedLast(t *testing.T) {
	w := newWorld(t)
	sets(t, w, byAny, ways[0])
	late := whole
	late.Neighbours = nil
	sets(t, w, func(string) bool {
		changes(t, w, route.State{}, late)
		return true
	}, route.State{})
	has(t, w, late)
}

// TestMoves: while a route takes another's place a thousand times, there is always one,
// as the kernel itself tells it; and whoever looks an IPv4 destination up finds one. An
// IPv6 lookup that runs while the kernel deletes what it found may fail (DESIGN.md).
func TestMoves(t *testing.T) {
	w := newWorld(t)
	ns := vnetns.NsHandle(w.ns.Fd())
	updates, done := make(chan netlink.RouteUpdate, 64), make(chan struct{})
	w.must(netlink.RouteSubscribeWithOptions(updates, done, netlink.RouteSubscribeOptions{
		Namespace: &ns, ReceiveBufferSize: 16 << 20, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) {
			if t.Context().Err() == nil { // it ends with an error
				t.Error(err)
			}
		},
	}))
	t.Cleanup(func() { close(done) })
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	w.must(err)
	t.Cleanup(handle.Close)
	first, last := netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("198.51.101.0/24")
	for _, through := range [][]route.State{ways[:6], {ways[6], ways[0], ways[3]}} {
		had := through[0]
		dst4 := had.Routes[0].Dst
		told := had.Routes[0].Unreachable // senders may be told so, but not that there is no route
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var all sync.WaitGroup
		there, ends := map[string]int{}, 0
		all.Go(func() {
			for u := range updates {
				switch dst, made := u.Dst.String(), u.Type == unix.RTM_NEWROUTE; {
				case dst == first.String() && made:
					clear(there)
					ends = 0
				case dst == last.String() && made:
					return
				case u.Protocol != route.Protocol:
				case made && u.NlFlags&unix.NLM_F_REPLACE == 0:
					there[dst]++
				case !made:
					there[dst]--
					if there[dst] == 0 {
						ends++
					}
				}
			}
		})
		w.Other(route.Route{Dst: first, Link: "card"})()
		sets(t, w, byAny, had)
		looked, lost := 0, 0
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := handle.RouteGet(dst4.Addr().AsSlice()); err != nil && !(told && errors.Is(err, unix.EHOSTUNREACH)) {
					lost++
				}
				looked++
			}
		})
		for i := range 1000 {
			want := through[(i+1)%len(through)]
			if i%2 == 0 {
				changes(t, w, had, want)
			} else {
				sets(t, w, byAny, want)
			}
			had = want
		}
		w.Other(route.Route{Dst: last, Link: "card"})()
		cancel()
		all.Wait()
		if len(there) != 2 || ends > 0 {
			t.Errorf("%d times there was no route, in the end there are %v", ends, there)
		}
		if lost > 0 {
			t.Errorf("%d of %d lookups of %s found nothing", lost, looked, dst4)
		}
		has(t, w, had)
		sets(t, w, byAny, route.State{})
	}
}

// TestHoles: the one in memory tells of a destination that lost its route and has one
// again, and of none that something wider led to.
func TestHoles(t *testing.T) {
	k := routetest.New(func() []string { return []string{"shim", "card"} })
	sets(t, k, byAny, nobody)
	for _, s := range ways[:6] {
		sets(t, k, byAny, s)
	}
	wide := route.State{Routes: []route.Route{{Dst: netip.MustParsePrefix("203.0.113.0/24"), Link: "card"}, {Dst: netip.MustParsePrefix("2001:db8::/32"), Link: "card"}}}
	sets(t, k, byAny, wide)
	sets(t, k, byAny, ways[0])
	if holes := k.Holes(); len(holes) > 0 {
		t.Errorf("holes %v, want none", holes)
	}
	sets(t, k, byAny, route.State{})
	sets(t, k, byAny, ways[0])
	want := []netip.Prefix{ways[0].Routes[0].Dst, ways[0].Routes[1].Dst}
	if diff := cmp.Diff(want, k.Holes(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("holes (-want +got):\n%s", diff)
	}
}
