package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gvlan/driver/netns"
	"gvlan/driver/netns/netnstest"
	"gvlan/driver/route"
)

// kernelRoutes is how many routes kernel makes of a family.
const kernelRoutes = 10_000

// kernel measures what driver/route costs of a host with the routes of ten thousand
// containers of others, IPv4 and IPv6 each, in a namespace of its own. CPU is of this
// process, the kernel's part for it included.
//
//	routes_kernel_4, _6                       routes a second by Set into an empty table
//	routes_kernel_4_cpu_us, _6_cpu_us         CPU of each of them
//	routes_kernel_rebuild_ms, _cpu_ms         Set of all 20,000 after a reboot
//	routes_kernel_same_ms, _same_cpu_ms       Set when all are there
//	routes_kernel_set_us, _set_cpu_us         Set of one more or less
//	routes_kernel_change_us, _change_cpu_us   Change of one more or less
//	routes_kernel_move_us, _move_cpu_us       Change of one to another next hop
//	routes_kernel_table_us, _table_cpu_us     Change of one more or less of 10,000 in a table of its own
func kernel() error {
	ctx := context.Background()
	ns, err := netnstest.New()
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := card(ns); err != nil {
		return err
	}
	k, err := route.Open(ns.Fd(), route.Protocol)
	if err != nil {
		return err
	}
	defer k.Close()
	reach := func(link string) bool { return link == "card" }
	set := func(_, want route.State) error { return k.Set(ctx, reach, want) }
	change := func(had, want route.State) error { return k.Change(ctx, had, want) }
	nothing := route.State{}

	four, six := others("10.1.0.0", "192.0.2.9", 0), others("2001:db8:1::", "2001:db8::9", 0)
	for i, want := range []route.State{four, six} {
		name := []string{"4", "6"}[i]
		took, cpu, err := spent(func() error { return set(nothing, want) })
		if err != nil {
			return err
		}
		figure("routes_kernel_"+name, fmt.Sprintf("%.0f", kernelRoutes/took.Seconds()))
		figure("routes_kernel_"+name+"_cpu_us", fmt.Sprintf("%.1f", micro(cpu)/kernelRoutes))
		if err := set(want, nothing); err != nil {
			return err
		}
	}

	all := route.State{Routes: append(four.Routes, six.Routes...)}
	for _, name := range []string{"rebuild", "same"} {
		took, cpu, err := spent(func() error { return set(nothing, all) })
		if err != nil {
			return err
		}
		figure("routes_kernel_"+name+"_ms", fmt.Sprintf("%.1f", micro(took)/1e3))
		figure("routes_kernel_"+name+"_cpu_ms", fmt.Sprintf("%.1f", micro(cpu)/1e3))
	}

	own := others("10.2.0.0", "192.0.2.9", 77)
	for _, step := range []struct {
		name       string
		times      int
		make       func(had, want route.State) error
		one, other route.State
	}{
		{"set", 10, set, all, without(all)},
		{"change", 500, change, all, without(all)},
		{"move", 500, change, all, elsewhere(all)},
		{"table", 100, change, own, without(own)},
	} {
		if err := step.make(nothing, step.one); err != nil {
			return err
		}
		took, cpu, err := spent(func() error {
			for range step.times {
				if err := step.make(step.one, step.other); err != nil {
					return err
				}
				if err := step.make(step.other, step.one); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		figure("routes_kernel_"+step.name+"_us", fmt.Sprintf("%.0f", micro(took)/float64(2*step.times)))
		figure("routes_kernel_"+step.name+"_cpu_us", fmt.Sprintf("%.0f", micro(cpu)/float64(2*step.times)))
	}
	return nil
}

// without is a state without one of its routes, and elsewhere is it with that one by
// another host.
func without(s route.State) route.State {
	return route.State{Routes: slices.Delete(slices.Clone(s.Routes), kernelRoutes/2, kernelRoutes/2+1)}
}

func elsewhere(s route.State) route.State {
	routes := slices.Clone(s.Routes)
	routes[kernelRoutes/2].Via = netip.MustParseAddr("192.0.2.10")
	return route.State{Routes: routes}
}

// card is a link whose LAN has the next hops.
func card(ns *netns.Namespace) error {
	handle, err := netlink.NewHandleAt(vnetns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "card"
	if err := handle.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far"}); err != nil {
		return err
	}
	for _, name := range []string{"far", "card"} {
		l, err := handle.LinkByName(name)
		if err != nil {
			return err
		}
		if err := handle.LinkSetUp(l); err != nil {
			return err
		}
		for _, text := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
			addr, err := netlink.ParseAddr(text)
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD
			if err := handle.AddrAdd(l, addr); name == "card" && err != nil {
				return err
			}
		}
	}
	return nil
}

// others is a route to each of kernelRoutes addresses from one on, by a host.
func others(first, via string, table int) (s route.State) {
	addr, by := netip.MustParseAddr(first), netip.MustParseAddr(via)
	for range kernelRoutes {
		s.Routes = append(s.Routes, route.Route{Dst: netip.PrefixFrom(addr, addr.BitLen()), Link: "card", Via: by, Table: table})
		addr = addr.Next()
	}
	return s
}

// spent is the time and the CPU that something took.
func spent(f func() error) (took, cpu time.Duration, err error) {
	before, began := used(), time.Now()
	err = f()
	return time.Since(began), used() - before, err
}

// used is this process's CPU time, getrusage(2).
func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func micro(d time.Duration) float64 { return float64(d.Microseconds()) }
