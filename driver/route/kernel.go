package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	gvnetns "gvlan/driver/netns"
	"gvlan/driver/rtnetlink"
)

// Kernel has the routes and neighbours of one network namespace.
type Kernel struct {
	protocol int
	net      *rtnetlink.Namespace
	socket   *nl.SocketHandle // for routes and neighbours
	port     uint32           // its own (nlmsg_pid), by which the kernel says whose doing something was
}

// Open gives the Kernel of the namespace with a descriptor, which the caller may
// close afterwards; rtnetlink.Current is the calling thread's own. What it makes has the
// protocol number.
func Open(fd, protocol int) (*Kernel, error) {
	net, err := rtnetlink.Open(fd)
	if err != nil {
		return nil, err
	}
	k := &Kernel{protocol: protocol, net: net}
	socket, err := nl.GetNetlinkSocketAt(net.NS, netns.None(), unix.NETLINK_ROUTE)
	if err == nil {
		k.socket = &nl.SocketHandle{Socket: socket}
		// A kernel before 4.20 filters nothing, and what it lists is filtered here.
		_ = unix.SetsockoptInt(socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
		var unnamed error
		k.port, unnamed = socket.GetPid()
		err = errors.Join(unnamed, socket.SetReceiveTimeout(timeval()), socket.SetSendTimeout(timeval()))
	}
	if err != nil {
		k.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return k, nil
}

func timeval() *unix.Timeval {
	tv := unix.NsecToTimeval(rtnetlink.RequestTimeout.Nanoseconds())
	return &tv
}

// Close releases the namespace. What was made stays.
func (k *Kernel) Close() error {
	if k.socket != nil {
		k.socket.Close()
	}
	return k.net.Close()
}

// links are a namespace's, at one moment.
type links struct {
	name  map[int]string
	index map[string]int
}

// loopback is the index of a namespace's own (LOOPBACK_IFINDEX), by which the kernel
// has unreachable IPv6 routes leave.
const loopback = 1

func (k *Kernel) links(ctx context.Context) (links, error) {
	all, err := rtnetlink.Dump(ctx, k.net.LinkList)
	if err != nil {
		return links{}, fmt.Errorf("list links: %w", err)
	}
	l := links{make(map[int]string, len(all)), make(map[string]int, len(all))}
	for _, one := range all {
		l.name[one.Attrs().Index], l.index[one.Attrs().Name] = one.Attrs().Name, one.Attrs().Index
	}
	return l, nil
}

// Addresses lists the namespace's own.
func (k *Kernel) Addresses(ctx context.Context) ([]Address, error) {
	l, err := k.links(ctx)
	if err != nil {
		return nil, err
	}
	all, err := rtnetlink.Dump(ctx, func() ([]netlink.Addr, error) { return k.net.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var own []Address
	for _, a := range all {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		ip = ip.Unmap()
		bits, _ := a.Mask.Size()
		own = append(own, Address{
			Link: l.name[a.LinkIndex], Prefix: netip.PrefixFrom(ip, bits),
			Local:     ip.IsLoopback() || ip.IsLinkLocalUnicast() || a.Scope == unix.RT_SCOPE_HOST || a.Scope == unix.RT_SCOPE_LINK,
			Tentative: a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0,
			Passing:   a.Flags&unix.IFA_F_DEPRECATED != 0 || ip.Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0,
			Secondary: ip.Is4() && a.Flags&unix.IFA_F_SECONDARY != 0,
		})
	}
	return own, nil
}

// Strict reports whether a link drops what its answers would not leave by
// (net.ipv4.conf.LINK.rp_filter=1), which the setting for all links may say.
func (k *Kernel) Strict(link string) (strict bool, err error) {
	err = gvnetns.Do("/proc/self/fd/"+strconv.Itoa(int(k.net.NS)), func() error {
		most := 0
		for _, of := range []string{"all", link} {
			text, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + of + "/rp_filter")
			if err != nil {
				return err
			}
			value, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				return err
			}
			most = max(most, value)
		}
		strict = most == 1 // 2 is loose, and the greater counts
		return nil
	})
	return strict, err
}

// Ours lists what carries the protocol number.
func (k *Kernel) Ours(ctx context.Context) (State, error) {
	s, _, err := k.ours(ctx)
	return s, err
}

// ours is Ours, with the links there were.
func (k *Kernel) ours(ctx context.Context) (s State, l links, err error) {
	var all []entry
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		some, err := rtnetlink.Dump(ctx, func() ([]entry, error) {
			return dump(k.socket, family, unix.RT_TABLE_UNSPEC, k.protocol, func(head header, _ netip.Prefix) bool { return head.protocol == k.protocol })
		})
		if err != nil {
			return State{}, links{}, fmt.Errorf("list routes: %w", err)
		}
		all = append(all, some...)
	}
	neighbours, err := rtnetlink.Dump(ctx, k.neighbours)
	if err != nil {
		return State{}, links{}, err
	}
	// After all that leaves by them: what a link is not listed of went with it.
	if l, err = k.links(ctx); err != nil {
		return State{}, links{}, err
	}
	for _, e := range all {
		if r, ok := e.described(l); ok {
			s.Routes = append(s.Routes, r)
		}
	}
	for index, some := range neighbours {
		for _, n := range some {
			if n.Link = l.name[index]; n.Link != "" {
				s.Neighbours = append(s.Neighbours, n)
			}
		}
	}
	s.Sort()
	return s, l, nil
}

// neighbours lists, by link, the permanent ones that carry the protocol number, which
// the kernel keeps since Linux 5.0.
func (k *Kernel) neighbours() (map[int][]Neighbour, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: k.socket}
	req.AddData(&netlink.Ndmsg{Family: unix.AF_UNSPEC})
	ours := map[int][]Neighbour{}
	err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH, func(m []byte) bool {
		n, index, protocol, ok := parseNeighbour(m)
		if ok && protocol == k.protocol {
			ours[index] = append(ours[index], n)
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	return ours, nil
}
