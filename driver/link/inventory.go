package link

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"path"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interface is one entry of a namespace's inventory, with what the choice of a
// parent depends on. Names are kernel names.
type Interface struct {
	Name         string         // kernel name, at most 15 bytes
	AltNames     []string       // alternative names (`ip link property`)
	Index        int            // kernel index
	Kind         string         // IFLA_INFO_KIND: "vlan", "dummy", "bridge", ...; "device" for hardware and loopback
	MTU          int            // bytes
	Up           bool           // administratively up
	Loopback     bool           // IFF_LOOPBACK
	Wireless     bool           // driven by cfg80211
	Master       string         // name of the bond, bridge, team or VRF this interface is a port of
	Parent       string         // name of the link this one hangs from, "" when that is in another namespace
	VLAN         int            // 802.1Q id of a VLAN link, 0 for everything else (also for 802.1ad)
	Addresses    []netip.Prefix // address with the length of its prefix, sorted
	DefaultRoute bool           // holds the IPv4 or IPv6 default route of the lowest metric in the main table
}

// Interfaces gives every interface of the namespace, in the kernel's order.
func (k *Kernel) Interfaces(ctx context.Context) ([]Interface, error) {
	all, err := k.list(ctx)
	if err != nil {
		return nil, err
	}
	addresses, err := k.addresses(ctx)
	if err != nil {
		return nil, err
	}
	defaults, err := k.defaultRoutes(ctx)
	if err != nil {
		return nil, err
	}
	names := namesOf(all)
	inventory := make([]Interface, 0, len(all))
	for _, l := range all {
		a, link := l.Attrs(), observe(l)
		inventory = append(inventory, Interface{
			Name:         a.Name,
			AltNames:     a.AltNames,
			Index:        a.Index,
			Kind:         l.Type(),
			MTU:          a.MTU,
			Up:           link.Up,
			Loopback:     a.RawFlags&unix.IFF_LOOPBACK != 0,
			Wireless:     k.wireless(a.Name),
			Master:       names[a.MasterIndex],
			Parent:       names[localParent(l)],
			VLAN:         link.VLAN,
			Addresses:    addresses[a.Index],
			DefaultRoute: defaults[a.Index],
		})
	}
	return inventory, nil
}

// defaultRoutes gives the indexes of the interfaces that the default route of
// the lowest metric leaves by, for IPv4 and for IPv6; several where it is a
// multipath route.
func (k *Kernel) defaultRoutes(ctx context.Context) (map[int]bool, error) {
	holders := make(map[int]bool)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(ctx, func() ([]netlink.Route, error) {
			return k.handle.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, index := range bestDefaults(routes) {
			holders[index] = true
		}
	}
	return holders, nil
}

func bestDefaults(routes []netlink.Route) []int {
	var best []int
	lowest := -1
	for _, r := range routes {
		if !isDefault(r) || lowest >= 0 && r.Priority > lowest {
			continue
		}
		if r.Priority < lowest {
			best = nil
		}
		lowest = r.Priority
		best = append(best, exits(r)...)
	}
	return best
}

func isDefault(r netlink.Route) bool {
	if r.Type != unix.RTN_UNICAST {
		return false
	}
	if r.Dst == nil {
		return true
	}
	bits, _ := r.Dst.Mask.Size()
	return bits == 0
}

func exits(r netlink.Route) []int {
	if len(r.MultiPath) == 0 {
		return []int{r.LinkIndex}
	}
	var indexes []int
	for _, hop := range r.MultiPath {
		indexes = append(indexes, hop.LinkIndex)
	}
	return indexes
}

// wireless asks sysfs, which has either entry for a cfg80211 device. Sysfs
// shows the namespace it was mounted in.
func (k *Kernel) wireless(name string) bool {
	for _, entry := range []string{"wireless", "phy80211"} {
		if _, err := fs.Stat(k.sys, path.Join("class/net", name, entry)); err == nil {
			return true
		}
	}
	return false
}
