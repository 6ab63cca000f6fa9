package link

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"gvlan/driver/rtnetlink"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Current is the descriptor that stands for the calling thread's own network
// namespace in Open.
const Current = rtnetlink.Current

// Kernel makes and removes links in one network namespace. Its methods may be
// called concurrently; those that change links run one at a time.
type Kernel struct {
	driver string
	net    *rtnetlink.Namespace
	sys    fs.FS

	sysctls string // the folder that is /proc/sys

	mu sync.Mutex // makes look-then-change of Ensure, Remove and RemoveStale one step
}

// Open gives the Kernel of the namespace with descriptor fd (Current for this
// one), which the caller may close afterwards. Only links marked with driver,
// the plugin's own name such as "gvlan", count as ours. Close releases it.
func Open(fd int, driver string) (*Kernel, error) {
	net, err := rtnetlink.Open(fd)
	if err != nil {
		return nil, err
	}
	return &Kernel{driver: driver, net: net, sys: os.DirFS("/sys"), sysctls: "/proc/sys"}, nil
}

// SysctlsAt has the settings of interfaces written below another folder than
// /proc/sys: a managed plugin may only read its own.
func (k *Kernel) SysctlsAt(folder string) { k.sysctls = folder }

// Close releases the namespace and the netlink socket. Links stay.
func (k *Kernel) Close() error { return k.net.Close() }

// byName finds a link; the error wraps ErrNotFound when there is none.
func (k *Kernel) byName(name string) (netlink.Link, error) {
	l, err := k.net.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("find link %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", name, err)
	}
	return l, nil
}

func (k *Kernel) list(ctx context.Context) ([]netlink.Link, error) {
	links, err := rtnetlink.Dump(ctx, k.net.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

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
			link.Owned, link.Owner, link.Shim = true, m.owner, m.kind == shimKind
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
	all, err := rtnetlink.Dump(ctx, func() ([]netlink.Addr, error) {
		return k.net.AddrList(nil, netlink.FAMILY_ALL)
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

// unfinished is the interface group (IFLA_GROUP) of a link between its making
// and its mark. The kernel takes a group in the very message that makes a
// link, but an alias only after it: an agent that dies between the two leaves
// a link that the next one knows by this number. It is "gvln" in ASCII.
const unfinished = 0x67766c6e

const markPrefix = "gvlan:"

// mark is the content of a link's alias (IFLA_IFALIAS, at most 255 bytes):
// gvlan:<driver>:<kind>:<owner>. It stays when the link is renamed or moved
// to another namespace, and when the agent ends.
type mark struct {
	driver string // may hold colons: "gvlan-swarm:latest"
	kind   Kind
	owner  string
}

func (m mark) String() string {
	return markPrefix + m.driver + ":" + string(m.kind) + ":" + m.owner
}

func parseMark(alias string) (mark, bool) {
	rest, ok := strings.CutPrefix(alias, markPrefix)
	if !ok {
		return mark{}, false
	}
	last := strings.LastIndexByte(rest, ':')
	if last < 0 {
		return mark{}, false
	}
	middle := strings.LastIndexByte(rest[:last], ':')
	if middle < 0 {
		return mark{}, false
	}
	return mark{driver: rest[:middle], kind: Kind(rest[middle+1 : last]), owner: rest[last+1:]}, true
}
