package route_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
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
func (w world) Other(r route.Route) {
	w.t.Helper()
	dst := &net.IPNet{IP: r.Dst.Addr().AsSlice(), Mask: net.CIDRMask(r.Dst.Bits(), r.Dst.Addr().BitLen())}
	w.must(w.handle.RouteAdd(&netlink.Route{LinkIndex: w.link(r.Link).Attrs().Index, Dst: dst, Priority: r.Metric, Scope: netlink.SCOPE_LINK}))
}

// subject is a Kernel under test, in memory or real, with the links "shim" and "card".
type subject interface {
	Set(ctx context.Context, reach func(link string) bool, want route.State) error
	Ours(ctx context.Context) (route.State, error)
	Other(r route.Route)
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
		if !errors.As(err, &refused) || refused.To != netip.MustParseAddr("192.0.2.77") {
			t.Errorf("Set = %v, want what leaves by no link refused", err)
		}
		has(t, k, whole)
	}},
	{"another's route is in the way, and stays", func(t *testing.T, k subject) {
		k.Other(route.Route{Dst: route4.Dst, Link: "card", Metric: 300})
		err := k.Set(t.Context(), byShim, whole)
		var refused *route.Refused
		if !errors.Is(err, route.ErrInTheWay) || !errors.As(err, &refused) || refused.To != v4 {
			t.Errorf("Set = %v, want %v for %s", err, route.ErrInTheWay, v4)
		}
		has(t, k, route.State{Routes: []route.Route{route6}, Neighbours: whole.Neighbours})
	}},
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

func TestStrict(t *testing.T) {
	w := newWorld(t)
	for value, want := range map[string]bool{"0": false, "1": true, "2": false} {
		w.must(w.ns.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/card/rp_filter", []byte(value), 0) }))
		if got, err := w.Strict("card"); got != want || err != nil {
			t.Errorf("Strict with rp_filter=%s = %t, %v, want %t", value, got, err, want)
		}
	}
}
