package option

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gvlan/driver/link"
	"gvlan/driver/visible"
)

// Route is one way that a network's containers have beside its gateway.
type Route struct {
	To  netip.Prefix `json:"to"`
	Via netip.Addr   `json:"via,omitzero"` // zero: by device, on a network that routes
}

// String is the route as it is given.
func (r Route) String() string {
	if !r.Via.IsValid() {
		return r.To.String()
	}
	return r.To.String() + " via " + r.Via.String()
}

// HostRoutes is whether hosts have routes to each other's containers.
type HostRoutes string

// What a network may say of it, among its routes; one that says nothing has them
// where it routes and is of the whole cluster.
const (
	HostRoutesOn  HostRoutes = "hosts"
	HostRoutesOff HostRoutes = "off"
)

// setRoutes reads "10.0.0.0/8 via 192.168.1.2, ...", and hosts or off among them.
func (o *Options) setRoutes(value string) error {
	for item := range strings.SplitSeq(value, ",") {
		if word := HostRoutes(strings.TrimSpace(item)); word == HostRoutesOn || word == HostRoutesOff {
			if o.HostRoutes != "" {
				return badRoute(value, "hosts and off are one choice: give one of them, once")
			}
			o.HostRoutes = word
			continue
		}
		r, why := parseRoute(strings.Fields(item))
		if why == "" {
			why = o.routeTwice(r)
		}
		if why != "" {
			return badRoute(strings.TrimSpace(item), why)
		}
		o.Routes = append(o.Routes, r)
	}
	return nil
}

func badRoute(given, why string) error {
	return fmt.Errorf("%w: -o routes=%s: %s", ErrInvalid, visible.Word(given), why)
}

// parseRoute says why the words are none, "" where they are.
func parseRoute(words []string) (r Route, why string) {
	if len(words) != 1 && (len(words) != 3 || words[1] != "via") {
		return Route{}, "want SUBNET via ADDRESS, several with commas, as \"10.0.0.0/8 via 192.168.1.2\"; on a network that routes also hosts or off"
	}
	to, err := netip.ParsePrefix(words[0])
	if addr, aerr := netip.ParseAddr(words[0]); aerr == nil && addr.Zone() == "" {
		to, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch {
	case err != nil:
		return Route{}, visible.Word(words[0]) + " is no subnet, as 10.0.0.0/8"
	case to.Bits() == 0:
		return Route{}, to.String() + " is the default route, which --gateway gives (-o gateway=none: none)"
	case to != to.Masked():
		return Route{}, fmt.Sprintf("%s has bits beyond its length: give %s", to, to.Masked())
	case to.Addr().IsMulticast() || to.Addr().IsLoopback() || to.Addr().IsLinkLocalUnicast() || to.Addr().Is4In6():
		return Route{}, to.String() + " is not routed: give a subnet of unicast addresses beyond the LAN"
	}
	if len(words) == 1 {
		return Route{To: to}, ""
	}
	via, err := netip.ParseAddr(words[2])
	switch {
	case err != nil || via.Zone() != "":
		return Route{}, visible.Word(words[2]) + " is no address of a router, as 192.168.1.2"
	case via.Is4() != to.Addr().Is4():
		return Route{}, fmt.Sprintf("%s and %s are of two IP versions", to, via)
	}
	return Route{To: to, Via: via}, ""
}

// routeTwice says what is wrong with a route beside those before.
func (o *Options) routeTwice(r Route) string {
	had := slices.IndexFunc(o.Routes, func(other Route) bool { return other.To == r.To })
	switch {
	case had < 0:
		return ""
	case o.Routes[had].Via == r.Via:
		return "it is given twice"
	}
	return fmt.Sprintf("contradicts %s: a subnet has one route", o.Routes[had])
}

// settleRoutes refuses routes by a router on a network that has none on its
// link, those without one elsewhere, and routes between hosts where the LAN itself
// leads to their containers.
func (o *Options) settleRoutes() error {
	if o.HostRoutes == HostRoutesOn && !o.Layer3() {
		return badRoute(string(o.HostRoutes), fmt.Sprintf("containers of an %s network are on the LAN, where every host finds them: leave it out, or give ipvlan_mode=l3 or l3s", o.Links()))
	}
	if o.HostRoutes == HostRoutesOn && o.Scope == ScopeLocal {
		return badRoute(string(o.HostRoutes), "a local network has containers of one host only: leave it out, or scope=local")
	}
	for _, r := range o.Routes {
		switch {
		case o.Layer3() && r.Via.IsValid():
			return badRoute(r.String(), fmt.Sprintf("an %s network routes by device and asks for no router: leave via out, as %s", o.Mode, r.To))
		case !o.Layer3() && !r.Via.IsValid():
			return badRoute(r.String(), fmt.Sprintf("say which router of the LAN it goes by, as %s via ADDRESS", r.To))
		}
	}
	return nil
}

// CheckSubnets refuses a route whose router is in no subnet of the network, and
// one to a subnet that the network itself has: containers could not start. Where
// the network has no IPv6 Docker turns that off in containers.
func (o Options) CheckSubnets(subnets []netip.Prefix) error {
	six := func(s netip.Prefix) bool { return s.Addr().Is6() }
	if o.Advertised == link.AdvertisedOn && !slices.ContainsFunc(subnets, six) {
		return fmt.Errorf("%w: -o ipv6-ra=on: the network has no IPv6: add --ipv6 (and --subnet of IPv6)", ErrInvalid)
	}
	for _, r := range o.Routes {
		if slices.Contains(subnets, r.To) {
			return badRoute(r.String(), "that is the network's own subnet: containers reach it without a router")
		}
		if r.Via.IsValid() && !slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Contains(r.Via) }) {
			return badRoute(r.String(), fmt.Sprintf("%s is in no subnet of the network: give a router of %s", r.Via, sentenceOf(subnets)))
		}
	}
	return nil
}

func sentenceOf(subnets []netip.Prefix) string {
	var all []string
	for _, s := range subnets {
		all = append(all, s.String())
	}
	return strings.Join(all, " or ")
}

// RouteUnheeded says that a container's route is another network's already.
func RouteUnheeded(r Route, network string) string {
	return fmt.Sprintf("the route %s has no effect: network %s of the same container leads there", r, visible.Word(network))
}
