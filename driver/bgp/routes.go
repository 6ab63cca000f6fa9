package bgp

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"gvlan/driver/route"
)

// Announce makes all of these what peers are told, each destination by way of its Via,
// an address of this host; what was told before and is not among them is withdrawn. Of
// a destination that is there twice the first counts. A route without Via is left out.
func (s *Speaker) Announce(all []route.Route) {
	want := map[netip.Prefix]netip.Addr{}
	for _, r := range all {
		if _, twice := want[r.Dst]; !twice && r.Via.IsValid() {
			want[r.Dst] = r.Via.WithZone("")
		}
	}
	s.mu.Lock()
	same := s.told && maps.Equal(want, s.want)
	s.told, s.want = true, want
	s.mu.Unlock()
	if !same {
		tell(s.wake)
	}
}

// announce brings the server from what it announces to what is wanted.
func (s *Speaker) announce(b *server.BgpServer, announced map[netip.Prefix]netip.Addr) {
	s.mu.Lock()
	want := s.want
	s.mu.Unlock()
	var add, drop []*apiutil.Path
	for dst, via := range want {
		if announced[dst] == via {
			continue
		}
		if p, err := path(dst, via); err != nil {
			s.cfg.Log.Warn("a route is not announced", "route", route.Route{Dst: dst, Via: via}, "err", err)
		} else {
			add = append(add, p)
		}
	}
	for dst, via := range announced {
		if _, wanted := want[dst]; wanted {
			continue
		}
		if p, err := path(dst, via); err == nil {
			drop = append(drop, p)
		}
	}
	// What moved is told before what goes: a smaller route may be in the place of a larger.
	if len(add) > 0 {
		if _, err := b.AddPath(apiutil.AddPathRequest{Paths: add}); err != nil {
			s.cfg.Log.Error("routes are not announced", "n", len(add), "err", err)
		}
	}
	if len(drop) > 0 {
		if err := b.DeletePath(apiutil.DeletePathRequest{Paths: drop}); err != nil {
			s.cfg.Log.Error("routes are not withdrawn", "n", len(drop), "err", err)
		}
	}
	clear(announced)
	maps.Copy(announced, want)
}

// withdraw takes everything back that was announced.
func withdraw(b *server.BgpServer) {
	_ = b.DeletePath(apiutil.DeletePathRequest{DeleteAll: true}) // the session ends in any case
}

// errNextHop: no peer could send anything by way of it.
var errNextHop = errors.New("its next hop is of no use")

// path is a route of this host's own as the library wants it. A next hop of the other
// family is told as RFC 8950 has it.
func path(dst netip.Prefix, via netip.Addr) (*apiutil.Path, error) {
	nlri, err := bgp.NewIPAddrPrefix(dst)
	if err != nil {
		return nil, err
	}
	family, attrs := bgp.RF_IPv4_UC, []bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(bgp.BGP_ORIGIN_ATTR_TYPE_IGP)}
	if dst.Addr().Is6() {
		family = bgp.RF_IPv6_UC
	}
	var hop bgp.PathAttributeInterface
	switch {
	case dst.Addr().Is4() && via.Is4():
		hop, err = bgp.NewPathAttributeNextHop(via)
	case via.Is4(): // no peer would know it
		return nil, errNextHop
	default:
		hop, err = bgp.NewPathAttributeMpReachNLRI(family, []bgp.PathNLRI{{NLRI: nlri}}, via)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNextHop, err)
	}
	return &apiutil.Path{Family: family, Nlri: nlri, Attrs: append(attrs, hop), Age: time.Now().Unix()}, nil
}

// bestIs is told by the server that best paths changed.
func (s *Speaker) bestIs([]*apiutil.Path, time.Time) { tell(s.heard) }

// Learned are the best routes that peers told of, inside of the prefixes of Import, in
// the order of their destinations.
func (s *Speaker) Learned() []route.Route {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.learned)
}

// learn looks what peers told.
func (s *Speaker) learn(b *server.BgpServer) {
	var all []route.Route
	takes := map[netip.Addr]int{} // by peer
	for _, family := range []bgp.Family{bgp.RF_IPv4_UC, bgp.RF_IPv6_UC} {
		within := s.within(family)
		if len(within) == 0 {
			continue
		}
		request := apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: family, Prefixes: within}
		err := b.ListPath(request, func(nlri bgp.NLRI, paths []*apiutil.Path) {
			if r, is := s.learnt(nlri, paths); is {
				all = append(all, r)
			}
			for _, p := range paths {
				takes[p.PeerAddress]++
			}
		})
		if err != nil {
			s.cfg.Log.Error("routes of BGP peers are not read", "err", err)
			return
		}
	}
	slices.SortFunc(all, func(a, b route.Route) int {
		return cmp.Or(a.Dst.Addr().Compare(b.Dst.Addr()), a.Dst.Bits()-b.Dst.Bits())
	})
	s.mu.Lock()
	same := slices.Equal(all, s.learned)
	s.learned = all
	for addr, one := range s.peers {
		one.takes = takes[addr]
	}
	s.mu.Unlock()
	if !same {
		s.cfg.Changed()
	}
}

// within are the prefixes of Import of one family, for a look at what is inside.
func (s *Speaker) within(family bgp.Family) (all []*apiutil.LookupPrefix) {
	for _, p := range s.cfg.Import {
		if p.Addr().Is4() == (family == bgp.RF_IPv4_UC) {
			all = append(all, &apiutil.LookupPrefix{Prefix: p.String(), LookupOption: apiutil.LOOKUP_LONGER})
		}
	}
	return all
}

// learnt is the route that a destination's best path is, unless that is this host's own.
func (s *Speaker) learnt(nlri bgp.NLRI, paths []*apiutil.Path) (r route.Route, is bool) {
	prefix, ok := nlri.(*bgp.IPAddrPrefix)
	if !ok || len(paths) == 0 || !paths[0].PeerAddress.IsValid() || !inside(s.cfg.Import, prefix.Prefix) {
		return r, false
	}
	r.Dst = prefix.Prefix
	for _, attr := range paths[0].Attrs {
		switch attr := attr.(type) {
		case *bgp.PathAttributeNextHop:
			r.Via = attr.Value
		case *bgp.PathAttributeMpReachNLRI:
			r.Via = attr.Nexthop
		}
	}
	r.Via = r.Via.Unmap()
	return r, r.Via.IsValid() && !r.Via.IsUnspecified()
}
