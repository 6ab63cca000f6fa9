package link

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Read gives the link of that name with its addresses, for instance eth0 of a
// sandbox that a restarted agent adopts. The error wraps ErrNotFound.
func (k *Kernel) Read(ctx context.Context, name string) (Link, error) {
	found, err := k.byName(name)
	if err != nil {
		return Link{}, err
	}
	all, err := k.list(ctx)
	if err != nil {
		return Link{}, err
	}
	index := found.Attrs().Index
	links, err := k.describe(ctx, all, func(l netlink.Link) bool { return l.Attrs().Index == index })
	if err != nil {
		return Link{}, err
	}
	if len(links) == 0 {
		return Link{}, fmt.Errorf("read link %s: %w", name, ErrNotFound)
	}
	return links[0], nil
}

// Owned gives every link in the namespace that carries this driver's mark, by
// name, with its addresses. A link whose making was cut short counts: its
// Owner is empty.
func (k *Kernel) Owned(ctx context.Context) ([]Link, error) {
	// A link that Ensure is making has no owner yet: it must not be taken for
	// one whose making was cut short.
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.owned(ctx)
}

func (k *Kernel) owned(ctx context.Context) ([]Link, error) {
	all, err := k.list(ctx)
	if err != nil {
		return nil, err
	}
	return k.describe(ctx, all, k.owns)
}

// owns reports whether the link is this driver's: marked, or left unmarked by
// an agent that died while making it.
func (k *Kernel) owns(l netlink.Link) bool {
	if m, ok := parseMark(l.Attrs().Alias); ok {
		return m.driver == k.driver
	}
	return halfMade(l)
}

func halfMade(l netlink.Link) bool {
	return l.Attrs().Alias == "" && l.Attrs().Group == unfinished
}

// describe turns the kernel's links that are wanted into ours, sorted by name.
// Parents that are in another namespace have no name here.
func (k *Kernel) describe(ctx context.Context, all []netlink.Link, wanted func(netlink.Link) bool) ([]Link, error) {
	found := slices.DeleteFunc(slices.Clone(all), func(l netlink.Link) bool { return !wanted(l) })
	if len(found) == 0 {
		return nil, nil
	}
	names := namesOf(all)
	addresses, err := k.addresses(ctx)
	if err != nil {
		return nil, err
	}
	links := make([]Link, 0, len(found))
	for _, l := range found {
		link := observe(l)
		link.Parent = names[localParent(l)]
		link.Addresses = addresses[link.Index]
		if k.owns(l) {
			m, _ := parseMark(l.Attrs().Alias)
			link.Owned, link.Owner = true, m.owner
		}
		links = append(links, link)
	}
	slices.SortFunc(links, func(a, b Link) int { return compareNames(a.Name, b.Name) })
	return links, nil
}

// localParent gives the index of the link that l hangs from in l's own
// namespace, 0 when there is none or it is in another. A veth's other end is
// no parent.
func localParent(l netlink.Link) int {
	a := l.Attrs()
	if a.NetNsID >= 0 || l.Type() == "veth" {
		return 0
	}
	return a.ParentIndex
}

// observe reads everything that is in the link's own message.
func observe(l netlink.Link) Link {
	a := l.Attrs()
	link := Link{
		Spec:        Spec{Name: a.Name, Kind: Kind(l.Type()), MAC: a.HardwareAddr, MTU: a.MTU},
		Index:       a.Index,
		ParentIndex: a.ParentIndex,
		Up:          a.RawFlags&unix.IFF_UP != 0,
	}
	switch l := l.(type) {
	case *netlink.Vlan:
		link.VLAN = vlanID(l)
	case *netlink.Macvlan:
		link.Mode = macvlanModes[l.Mode]
	case *netlink.Macvtap:
		link.Mode = macvlanModes[l.Mode]
	case *netlink.IPVlan:
		link.Mode, link.Flag = ipvlanModes[l.Mode], ipvlanFlags[l.Flag]
	case *netlink.IPVtap:
		link.Mode, link.Flag = ipvlanModes[l.Mode], ipvlanFlags[l.Flag]
	}
	return link
}

// vlanID is 0 for 802.1ad tags: the same number there is another VLAN.
func vlanID(l *netlink.Vlan) int {
	if l.VlanProtocol == netlink.VLAN_PROTOCOL_8021AD {
		return 0
	}
	return l.VlanId
}

// namesOf gives the names of links by index.
func namesOf(all []netlink.Link) map[int]string {
	names := make(map[int]string, len(all))
	for _, l := range all {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	return names
}

// addresses gives the addresses of every link by index, sorted, each with the
// length of its prefix.
func (k *Kernel) addresses(ctx context.Context) (map[int][]netip.Prefix, error) {
	all, err := dump(ctx, func() ([]netlink.Addr, error) {
		return k.handle.AddrList(nil, netlink.FAMILY_ALL)
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	byIndex := make(map[int][]netip.Prefix)
	for _, a := range all {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		bits, _ := a.Mask.Size()
		byIndex[a.LinkIndex] = append(byIndex[a.LinkIndex], netip.PrefixFrom(ip.Unmap(), bits))
	}
	for _, prefixes := range byIndex {
		slices.SortFunc(prefixes, netip.Prefix.Compare)
	}
	return byIndex, nil
}
