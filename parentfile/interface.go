package parentfile

import (
	"net/netip"
	"slices"
)

// Kinds of container links, as Docker's options and the parent file spell them.
const (
	Macvlan = "macvlan"
	Ipvlan  = "ipvlan"
)

// Interface is what Resolve has to know about one network interface of the
// host. Names are kernel names, unique in the inventory.
type Interface struct {
	Name         string         // kernel name, at most 15 bytes
	AltNames     []string       // alternative names (`ip link property`), each up to 127 bytes
	Index        int            // kernel index
	Kind         string         // IFLA_INFO_KIND: "vlan", "dummy", "bridge", "bond", ...; "device" for hardware
	MTU          int            // bytes
	MAC          string         // "" without one
	Up           bool           // administratively up
	Loopback     bool           // IFF_LOOPBACK
	Wireless     bool           // driven by cfg80211
	Master       string         // name of the bond, bridge, team or VRF this interface is a port of
	Parent       string         // name of the link this one hangs from
	VLAN         int            // 802.1Q id of a VLAN link, 0 for everything else (also for 802.1ad)
	Addresses    []netip.Prefix // address with the length of its on-link prefix
	DefaultRoute bool           // holds the preferred IPv4 or IPv6 default route
}

// called reports whether name is the kernel name or an alternative name.
func (i Interface) called(name string) bool {
	return i.Name == name || slices.Contains(i.AltNames, name)
}

// inSubnet reports whether the interface has an address in p.
func (i Interface) inSubnet(p netip.Prefix) bool {
	return slices.ContainsFunc(i.Addresses, func(a netip.Prefix) bool { return p.Contains(a.Addr()) })
}

// hangsContainers reports whether the interface is itself a container's link:
// never what somebody looking for a parent means.
func (i Interface) hangsContainers() bool {
	return slices.Contains([]string{"macvlan", "macvtap", "ipvlan", "ipvtap"}, i.Kind)
}
