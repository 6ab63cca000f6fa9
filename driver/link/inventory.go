package link

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"

	"gvlan/driver/rtnetlink"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
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
	MAC          string         // "" without one
	Up           bool           // administratively up
	Loopback     bool           // IFF_LOOPBACK
	Wireless     bool           // driven by cfg80211
	Master       string         // name of the bond, bridge, team or VRF this interface is a port of
	Parent       string         // name of the link this one hangs from, "" when that is in another namespace
	VLAN         int            // 802.1Q id of a VLAN link, 0 for everything else (also for 802.1ad)
	Addresses    []netip.Prefix // address with the length of its prefix, sorted
	DefaultRoute bool           // holds the IPv4 or IPv6 default route of the lowest metric in the main table
}

// Interfaces gives every interface of the namespace, in the kernel's order, but for
// shims, from which nothing may hang.
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
		if isShim(l) {
			continue
		}
		a, link := l.Attrs(), observe(l)
		inventory = append(inventory, Interface{
			Name:         a.Name,
			AltNames:     a.AltNames,
			Index:        a.Index,
			Kind:         l.Type(),
			MTU:          a.MTU,
			MAC:          a.HardwareAddr.String(),
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
		routes, err := rtnetlink.Dump(ctx, func() ([]netlink.Route, error) {
			return k.net.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
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

// Event is one change of the namespace's links.
type Event struct {
	Name   string // kernel name
	Index  int
	Up     bool // administratively up
	Gone   bool // the link was removed or left the namespace
	Resync bool // changes were lost: look at everything anew; the other fields are zero
}

// Watch calls changed with every link that appears, changes or goes in the
// namespace, one at a time, until ctx ends; then it returns ctx's error. The
// first event is a Resync: from then on nothing is missed, so what was there
// before is found by looking then. When changes come faster than changed takes
// them, the kernel drops some, and another Resync says so.
func (k *Kernel) Watch(ctx context.Context, changed func(Event)) error {
	resync := func() { changed(Event{Resync: true}) }
	err := k.net.Watch(ctx, []uint{unix.RTNLGRP_LINK}, resync, func(header unix.NlMsghdr, data []byte) {
		if event, ok := eventOf(header, data); ok {
			changed(event)
		}
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("watch links: %w", err)
}

func eventOf(header unix.NlMsghdr, data []byte) (Event, bool) {
	if header.Type != unix.RTM_NEWLINK && header.Type != unix.RTM_DELLINK {
		return Event{}, false
	}
	// A bridge reports that a port left it as RTM_DELLINK of its own family.
	if len(data) == 0 || data[0] != unix.AF_UNSPEC {
		return Event{}, false
	}
	l, err := netlink.LinkDeserialize(&header, data)
	if err != nil {
		return Event{Resync: true}, true
	}
	a := l.Attrs()
	return Event{
		Name:  a.Name,
		Index: a.Index,
		Up:    a.RawFlags&unix.IFF_UP != 0,
		Gone:  header.Type == unix.RTM_DELLINK,
	}, true
}

// InUse gives the macvlan and ipvlan links (and their tap forms) that hang
// from parent, in the parent's namespace and in the namespaces with the
// descriptors elsewhere. The kernel tells of nobody who hangs from a link, so
// links that were moved to other namespaces are not seen: pass those of the
// running sandboxes. Our shims are left out: they are in nobody's way. The mode and
// flag of an ipvlan link are what its parent runs now. The error wraps ErrNotFound when there is no such parent.
func (k *Kernel) InUse(ctx context.Context, parent string, elsewhere ...int) ([]Usage, error) {
	on, err := k.byName(parent)
	if err != nil {
		return nil, err
	}
	all, err := k.list(ctx)
	if err != nil {
		return nil, err
	}
	use := k.usages(all, func(l netlink.Link) bool { return localParent(l) == underlying(on) }, parent, Current)
	for _, fd := range elsewhere {
		moved, err := k.movedTo(ctx, fd, parent, underlying(on))
		if err != nil {
			return nil, err
		}
		use = append(use, moved...)
	}
	return use, nil
}

// movedTo finds the links in namespace fd whose parent is in k's namespace.
func (k *Kernel) movedTo(ctx context.Context, fd int, parent string, parentIndex int) ([]Usage, error) {
	there, err := netlink.NewHandleAt(netns.NsHandle(fd), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("look for links on %s in another namespace: %w", parent, err)
	}
	defer there.Close()
	all, err := rtnetlink.Dump(ctx, there.LinkList)
	if err != nil {
		return nil, fmt.Errorf("look for links on %s in another namespace: %w", parent, err)
	}
	// Asked last: the kernel names a namespace when it first has to, as in the dump.
	home, err := there.GetNetNsIdByFd(int(k.net.NS))
	if err != nil {
		return nil, fmt.Errorf("look for links on %s in another namespace: %w", parent, err)
	}
	hangs := func(l netlink.Link) bool {
		return home >= 0 && l.Attrs().NetNsID == home && l.Attrs().ParentIndex == parentIndex
	}
	return k.usages(all, hangs, parent, fd), nil
}

func (k *Kernel) usages(all []netlink.Link, hangs func(netlink.Link) bool, parent string, fd int) []Usage {
	var use []Usage
	for _, l := range all {
		if family(Kind(l.Type())) == "" || !hangs(l) || isShim(l) && k.owns(l) {
			continue
		}
		u := Usage{Spec: observe(l).Spec, Owned: k.owns(l), Namespace: fd}
		u.Parent = parent
		if m, ok := parseMark(l.Attrs().Alias); ok && u.Owned {
			u.Owner = m.owner
		}
		use = append(use, u)
	}
	slices.SortFunc(use, func(a, b Usage) int { return compareNames(a.Name, b.Name) })
	return use
}
